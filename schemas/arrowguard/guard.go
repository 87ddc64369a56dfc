package arrowguard

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"github.com/adastream/adastream/schemas"
)

// Limits bound what a stream or file may claim. The zero value works, and is for messages.
type Limits struct {
	// Table is for tables of whatever columns, instead of messages: of all types that Arrow has, with dictionaries of any of them, which
	// may grow, and numbers of either byte order. Each batch is bounded for itself, and there may be any number of them.
	Table bool

	MaxMessage      int   // bytes of a stream, or of each body where they are read one by one; 0 is 64 MiB, 2 GiB of tables
	MaxMetadata     int   // bytes of the metadata of a schema, batch, dictionary or file; 0 is 1 MiB, 64 MiB of tables
	MaxUncompressed int64 // bytes of all buffers after decompression, of a batch of a table what is beyond 64 times its body; 0 is 256 MiB
	MaxRows         int   // 0 is 1,048,576, of a batch of a table 2^31 - 1
	MaxColumns      int   // fields of the schema, the fields inside others included; 0 is 256, 32,768 of tables
	MaxBatches      int   // record and dictionary batches of a stream; 0 is 1,024. Not of tables
}

// expansion is how many bytes a byte of a table's batch may be after decompression, beyond what each batch may have anyway.
const expansion = 64

// WithDefaults has the default for each limit that is 0.
func (l Limits) WithDefaults() Limits {
	d := Limits{MaxMessage: 64 << 20, MaxMetadata: 1 << 20, MaxUncompressed: 256 << 20, MaxRows: 1 << 20, MaxColumns: 256, MaxBatches: 1024}
	if l.Table {
		d = Limits{MaxMessage: math.MaxInt32 &^ 7, MaxMetadata: 64 << 20, MaxUncompressed: 256 << 20, MaxRows: math.MaxInt32, MaxColumns: 1 << 15}
	}
	l.MaxMessage = cmp.Or(l.MaxMessage, d.MaxMessage)
	l.MaxMetadata = cmp.Or(l.MaxMetadata, d.MaxMetadata)
	l.MaxUncompressed = cmp.Or(l.MaxUncompressed, d.MaxUncompressed)
	l.MaxRows = cmp.Or(l.MaxRows, d.MaxRows)
	l.MaxColumns = cmp.Or(l.MaxColumns, d.MaxColumns)
	l.MaxBatches = cmp.Or(l.MaxBatches, d.MaxBatches)
	return l
}

// Check says what is wrong with a stream. The error is a *[schemas.Fault] or nil.
func Check(stream []byte, limits Limits) error {
	if _, fault := scan(stream, limits.WithDefaults(), nil); fault != nil {
		return fault
	}
	return nil
}

// Scan is [Check] that appends the messages of the stream to frames, without the end-of-stream mark. They alias the stream, or a copy
// that begins at a multiple of 8 bytes as the numbers in it need.
func Scan(stream []byte, limits Limits, frames []Frame) ([]Frame, *schemas.Fault) {
	limits = limits.WithDefaults()
	if len(stream) <= limits.MaxMessage {
		stream = aligned(stream)
	}
	return scan(stream, limits, frames)
}

// Frame is one message: its flatbuffer and its body.
type Frame struct {
	Metadata, Body []byte
}

const (
	magic        = "ARROW1"   // at both ends of a file
	continuation = 0xffffffff // before the length of the metadata, since Arrow 0.15
	prefixBytes  = 8          // continuation and length
	alignment    = 8          // of metadata, bodies and buffers, in bytes
)

// Values of MessageHeader, MetadataVersion and CompressionType in Arrow's Message.fbs and Schema.fbs.
const (
	headerSchema      = 1
	headerDictionary  = 2
	headerRecordBatch = 3

	metadataV4 = 3
	metadataV5 = 4

	codecLZ4Frame = 0
	codecZSTD     = 1
	stored        = -1 // no compression: a value of ours
)

func scan(stream []byte, limits Limits, frames []Frame) ([]Frame, *schemas.Fault) {
	if len(stream) > limits.MaxMessage {
		return nil, schemas.Faultf(schemas.ReasonTooLarge, "message has %d bytes, allowed: %d", len(stream), limits.MaxMessage)
	}
	if fault := recognise(stream); fault != nil {
		return nil, fault
	}
	g := newGuard(limits)
	for at := 0; ; {
		next, end, fault := g.frame(stream, at)
		if fault != nil {
			return nil, fault
		}
		if next.Metadata == nil {
			if end != len(stream) {
				return nil, schemas.Faultf(schemas.ReasonMalformed, "%d bytes after the end of the stream", len(stream)-end)
			}
			if len(frames) == 0 {
				return nil, schemas.Faultf(schemas.ReasonMalformed, "stream has no schema")
			}
			return frames, nil
		}
		frames, at = append(frames, next), end
	}
}

// recognise gives the commonest mistakes their name.
func recognise(stream []byte) *schemas.Fault {
	switch {
	case len(stream) == 0:
		return schemas.Faultf(schemas.ReasonMalformed, "message is empty, needed: an Arrow IPC stream; to remove an item send its id with op %q", schemas.OpDelete)
	case bytes.HasPrefix(stream, []byte(magic)):
		return schemas.Faultf(schemas.ReasonMalformed, "message is an Arrow IPC file, needed: an Arrow IPC stream")
	case len(stream) < prefixBytes || binary.LittleEndian.Uint32(stream) != continuation:
		return schemas.Faultf(schemas.ReasonMalformed, "message is no Arrow IPC stream of Arrow 0.15 or later: it does not begin with ff ff ff ff and a length")
	}
	return nil
}

// guard is what is known of a stream or file so far.
type guard struct {
	limits       Limits
	schema       bool // seen
	columns      int  // fields, nested ones included
	shape        shape
	dictionaries map[int64]shape // of their values, by id
	whole        map[int64]bool  // of a file: ids of dictionaries that were there already; nil of a stream, where another one takes its place
	batches      int             // record and dictionary batches
	rows         int64           // of all record batches
	allowed      int64           // bytes that buffers may have after decompression
	uncompressed int64           // what is left of them
}

// shape is what a batch has of some fields.
type shape struct {
	nodes   int // fields, nested ones included
	buffers int
	views   int // fields with as many more buffers as the batch says
	unions  int // fields with a buffer more in metadata V4
}

func newGuard(limits Limits) guard {
	return guard{limits: limits, allowed: limits.MaxUncompressed, uncompressed: limits.MaxUncompressed}
}

// frame checks the message at an offset of the stream and returns where it ends. A frame without metadata is the
// end-of-stream mark.
func (g *guard) frame(stream []byte, at int) (Frame, int, *schemas.Fault) {
	rest := stream[at:]
	if len(rest) < prefixBytes {
		return Frame{}, 0, schemas.Faultf(schemas.ReasonMalformed, "stream of %d bytes is cut: no end-of-stream mark", len(stream))
	}
	length, fault := g.length(rest, int64(at))
	if fault != nil {
		return Frame{}, 0, fault
	}
	if length == 0 {
		return Frame{}, at + prefixBytes, nil
	}
	rest = rest[prefixBytes:]
	if length > int64(len(rest)) {
		return Frame{}, 0, schemas.Faultf(schemas.ReasonMalformed, "metadata at %d claims %d bytes, there are %d", at, length, len(rest))
	}
	m := newMetadata(rest[:length:length])
	rest = rest[length:]
	message := m.root()
	bodyLength := message.int64(3)
	if m.fault == nil && (bodyLength < 0 || bodyLength%alignment != 0 || bodyLength > int64(len(rest))) {
		m.fail(schemas.ReasonMalformed, "body at %d claims %d bytes, there are %d", len(stream)-len(rest), bodyLength, len(rest))
	}
	if m.fault != nil {
		return Frame{}, 0, m.fault
	}
	body := rest[:bodyLength:bodyLength]
	g.message(message, body)
	return Frame{m.bytes, body}, len(stream) - len(rest) + len(body), m.fault
}

// length is how long the metadata at an offset are, by their prefix.
func (g *guard) length(prefix []byte, at int64) (int64, *schemas.Fault) {
	if binary.LittleEndian.Uint32(prefix) != continuation {
		return 0, schemas.Faultf(schemas.ReasonMalformed, "no message begins at %d: found %x", at, prefix[:4])
	}
	length := int64(int32(binary.LittleEndian.Uint32(prefix[4:])))
	switch {
	case length > int64(g.limits.MaxMetadata):
		return 0, schemas.Faultf(schemas.ReasonTooLarge, "metadata at %d has %d bytes, allowed: %d", at, length, g.limits.MaxMetadata)
	case length < 0 || length%alignment != 0:
		return 0, schemas.Faultf(schemas.ReasonMalformed, "metadata at %d claims %d bytes", at, length)
	}
	return length, nil
}

// message checks a Message table: version, header type, header, body length, custom metadata.
func (g *guard) message(t table, body []byte) {
	m := t.m
	version := t.int16(0)
	if version != metadataV4 && version != metadataV5 {
		m.fail(schemas.ReasonMalformed, "metadata version %d, allowed: V4 and V5", version+1)
	}
	kind := t.uint8(1)
	header, ok := t.child(2)
	if !ok {
		m.fail(schemas.ReasonMalformed, "message of kind %d has no header", kind)
	}
	t.pairs(4)
	if m.fault != nil {
		return
	}
	if kind != headerSchema && !g.schema {
		m.fail(schemas.ReasonMalformed, "stream begins with a message of kind %d, needed: a schema", kind)
		return
	}
	switch kind {
	case headerSchema:
		if g.schema {
			m.fail(schemas.ReasonMalformed, "stream has a second schema")
			return
		}
		g.schema = true
		g.schemaTable(header)
	case headerDictionary:
		g.countBatch(m, body)
		g.dictionary(header, body, version)
	case headerRecordBatch:
		g.countBatch(m, body)
		g.rows += g.batch(header, body, g.shape, version)
		if g.rows > int64(g.limits.MaxRows) && !g.limits.Table {
			m.fail(schemas.ReasonTooLarge, "message has %d rows or more, allowed: %d", g.rows, g.limits.MaxRows)
		}
	default:
		m.fail(schemas.ReasonMalformed, "message of kind %d, allowed: schema, dictionary and record batches", kind)
	}
}

func (g *guard) countBatch(m *metadata, body []byte) {
	if g.limits.Table {
		g.allowed = g.limits.MaxUncompressed + expansion*int64(len(body))
		g.uncompressed = g.allowed
		return
	}
	if g.batches++; g.batches > g.limits.MaxBatches {
		m.fail(schemas.ReasonTooLarge, "message has more than %d batches", g.limits.MaxBatches)
	}
}

// dictionary checks a DictionaryBatch table: id, data, is delta.
func (g *guard) dictionary(t table, body []byte, version int64) {
	m := t.m
	id := t.int64(0)
	delta := t.uint8(2) != 0
	if delta && !g.limits.Table {
		m.fail(schemas.ReasonSchema, "dictionary is a delta, needed: whole dictionaries, or one record batch in a message")
	}
	if g.whole != nil && !delta {
		if g.whole[id] {
			m.fail(schemas.ReasonMalformed, "dictionary %d is there twice", id)
		}
		g.whole[id] = true
	}
	data, ok := t.child(1)
	if !ok {
		m.fail(schemas.ReasonMalformed, "dictionary batch has no data")
		return
	}
	values, ok := g.dictionaries[id]
	if !ok {
		m.fail(schemas.ReasonMalformed, "dictionary %d is of no column", id)
		return
	}
	g.batch(data, body, values, version)
}

// batch checks a RecordBatch table: length, nodes, buffers, compression, counts of the buffers of views. It returns the number of rows.
func (g *guard) batch(t table, body []byte, of shape, version int64) int64 {
	m := t.m
	rows := t.int64(0)
	if rows < 0 || rows > int64(g.limits.MaxRows) {
		m.fail(schemas.ReasonTooLarge, "batch claims %d rows, allowed: %d", rows, g.limits.MaxRows)
	}
	const pair = 16 // bytes of a FieldNode and of a Buffer: two int64
	at, n := t.vector(1, pair)
	if m.fault == nil && n != int64(of.nodes) {
		m.fail(schemas.ReasonMalformed, "batch has %d field nodes, its schema needs %d", n, of.nodes)
	}
	// No value takes less than a bit.
	most := 8 * g.allowed
	for i := int64(0); i < n && m.fault == nil; i++ {
		length, nulls := m.int64(at+pair*i), m.int64(at+pair*i+8)
		if length < 0 || length > most || nulls < 0 || nulls > length {
			m.fail(schemas.ReasonMalformed, "field node %d claims %d values of which %d are null", i, length, nulls)
		}
	}
	compression, compressed := t.child(3)
	codec := int64(stored)
	if compressed {
		if codec = compression.uint8(0); codec != codecLZ4Frame && codec != codecZSTD {
			m.fail(schemas.ReasonMalformed, "compression codec %d, allowed: LZ4_FRAME and ZSTD", codec)
		}
		if method := compression.uint8(1); method != 0 {
			m.fail(schemas.ReasonMalformed, "compression method %d, allowed: 0", method)
		}
	}
	buffers := int64(of.buffers)
	if version == metadataV4 {
		buffers += int64(of.unions)
	}
	if of.views > 0 {
		buffers += t.viewBuffers(of.views)
	}
	at, n = t.vector(2, pair)
	if m.fault == nil && n != buffers {
		m.fail(schemas.ReasonMalformed, "batch has %d buffers, its schema needs %d", n, buffers)
	}
	claimed := int64(0)
	for i := int64(0); i < n && m.fault == nil; i++ {
		offset, length := m.int64(at+pair*i), m.int64(at+pair*i+8)
		if offset < 0 || length < 0 || length > int64(len(body)) || offset > int64(len(body))-length || offset%alignment != 0 {
			m.fail(schemas.ReasonMalformed, "buffer %d claims %d bytes at %d of a body of %d", i, length, offset, len(body))
			break
		}
		if claimed += length; claimed > int64(len(body)) {
			m.fail(schemas.ReasonMalformed, "buffers claim more than the %d bytes of their body", len(body))
			break
		}
		g.spend(m, body[offset:offset+length], codec)
	}
	return rows
}

// viewBuffers is how many buffers a batch says that its views have beside their own.
func (t table) viewBuffers(views int) (all int64) {
	m := t.m
	at, n := t.vector(4, 8)
	if m.fault == nil && n != int64(views) {
		m.fail(schemas.ReasonMalformed, "batch has %d counts of buffers of views, its schema needs %d", n, views)
	}
	for i := int64(0); i < n && m.fault == nil; i++ {
		count := m.int64(at + 8*i)
		if count < 0 || count > int64(len(m.bytes)) {
			m.fail(schemas.ReasonMalformed, "view claims %d buffers", count)
			return 0
		}
		all += count
	}
	return all
}

// spend takes what a buffer has after decompression from what is left of the budget.
func (g *guard) spend(m *metadata, buffer []byte, codec int64) {
	size := int64(len(buffer))
	if codec != stored && size > 0 {
		if size < 8 {
			m.fail(schemas.ReasonMalformed, "compressed buffer of %d bytes has no length", size)
			return
		}
		size -= 8
		if claim := int64(binary.LittleEndian.Uint64(buffer)); claim != -1 { // -1: stored as it is
			size = claim
			if codec == codecZSTD {
				g.zstdFrames(m, buffer[8:], claim)
			}
		}
	}
	if size < 0 {
		m.fail(schemas.ReasonMalformed, "compressed buffer claims %d bytes", size)
		return
	}
	if size > g.uncompressed {
		m.fail(schemas.ReasonTooLarge, "buffers claim %d bytes more than the %d allowed after decompression", size-g.uncompressed, g.allowed)
		return
	}
	g.uncompressed -= size
}

package ingest

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/twmb/avro"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
)

// Message is one record of a topic.
type Message struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp int64  // ms since the epoch: the record's own
	Watermark int64  // ms since the epoch: the largest timestamp of the partition up to this record, its own included
	Key       []byte // nil for none; of a record without a value it may say which id is deleted
	Value     []byte // nil for none; must stay as it is for as long as it may be quarantined
}

// Decoder reads messages into rows. It keeps buffers between calls and is not safe for concurrent use.
//
// A message is read in two steps. The first one judges it: every access that can fail is made, vectors and ids are
// appended, and a fault of the message takes them back. The second one appends attributes, which cannot be taken back,
// from rows that the first has accepted.
type Decoder struct {
	spec   *schemas.Spec
	level  avx.Level
	limits Limits

	ignored   map[string]struct{}
	onIgnored func(column string)
	probes    []*segment.Column // one for each attribute: whether a value fits
	single    *single           // reads messages that are one row; nil for Arrow streams

	// Of the current message.
	frames   []arrowguard.Frame
	accepted []position
	faults   []rowFault
}

// maxIgnored bounds how many names of undeclared columns are remembered.
const maxIgnored = 1024

// position is a row of a message.
type position struct {
	batch, row int32
}

// rowFault is a bad row of a message; index counts the rows of all its batches.
type rowFault struct {
	position
	index int32
	fault *schemas.Fault
}

// NewDecoder returns a decoder for messages of an index. onIgnored, unless nil, is told each undeclared column once.
func NewDecoder(spec *schemas.Spec, level avx.Level, limits Limits, onIgnored func(column string)) (*Decoder, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	if onIgnored == nil {
		onIgnored = func(string) {}
	}
	d := &Decoder{spec: spec, level: level, limits: limits.withDefaults(), ignored: map[string]struct{}{}, onIgnored: onIgnored}
	for _, a := range spec.Attributes {
		d.probes = append(d.probes, segment.NewColumn(a.Type))
	}
	if !spec.ReadsArrow() {
		var err error
		if d.single, err = newSingle(d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Ask has schemas of Avro messages asked for that the spec does not have. Without it such messages are refused. What ask returns may
// wrap registry.ErrUnusable.
func (d *Decoder) Ask(ask func(schema uint32) (*avro.Schema, error)) {
	if d.single == nil {
		return
	}
	if a, ok := d.single.reader.(*avroReader); ok {
		a.ask = ask
	}
}

func (d *Decoder) ignore(column string) {
	if _, known := d.ignored[column]; known || len(d.ignored) >= maxIgnored {
		return
	}
	d.ignored[column] = struct{}{}
	d.onIgnored(column)
}

// Decode appends the upserts of a message to rows and its deletes to deletes, and tells bad what is to be quarantined:
// the rows that cannot be indexed, or the whole message, of which then nothing was appended. Only a quarantined message
// refers to the message after that.
//
// An error that wraps schemas.ErrTransient says that the schema of the message cannot be had now: nothing was appended, and the same
// message can be decoded later. Any other is a fault of this program and leaves rows unusable; no message causes one.
func (d *Decoder) Decode(m Message, rows *segment.Rows, deletes *[]segment.Tombstone, bad func(Quarantined)) error {
	if d.single != nil {
		return d.single.decode(m, rows, deletes, bad)
	}
	n, nd := rows.Len(), len(*deletes)
	batches, refused, fault := d.judge(m, rows, deletes)
	if fault != nil {
		clear(rows.IDs[n:])
		rows.IDs, rows.Orders, rows.Vectors = rows.IDs[:n], rows.Orders[:n], rows.Vectors[:n*d.spec.VectorBytes()]
		*deletes = (*deletes)[:nd]
		bad(m.quarantine(WholeMessage, *fault, m.Value))
		return nil
	}
	for j, to := range rows.Attributes {
		if err := d.appendAttribute(to, batches, j); err != nil {
			return fmt.Errorf("message %s/%d at %d: attribute %q: %w", m.Topic, m.Partition, m.Offset, d.spec.Attributes[j].Name, err)
		}
	}
	for _, q := range refused {
		bad(q)
	}
	return nil
}

func (m *Message) quarantine(row int32, fault schemas.Fault, payload []byte) Quarantined {
	return Quarantined{
		Topic:     m.Topic,
		Partition: m.Partition,
		Offset:    m.Offset,
		Row:       row,
		Fault:     fault,
		Timestamp: m.Timestamp,
		Payload:   payload,
	}
}

// judge does everything with a message that can fail, and appends everything but attributes. A panic in reading it, of
// this code or of Arrow's, is a fault of the message.
func (d *Decoder) judge(m Message, rows *segment.Rows, deletes *[]segment.Tombstone) (batches []columns, refused []Quarantined, fault *schemas.Fault) {
	d.accepted, d.faults = d.accepted[:0], d.faults[:0]
	defer func() {
		clear(d.frames) // lets go of the message
		if r := recover(); r != nil {
			fault = schemas.Faultf(schemas.ReasonMalformed, "reading the message panicked: %v", r)
		}
	}()
	if d.frames, fault = arrowguard.Scan(m.Value, d.limits.guard(), d.frames[:0]); fault != nil {
		return nil, nil, fault
	}
	schema, records, fault := readStream(d.frames)
	if fault != nil {
		return nil, nil, fault
	}
	b, fault := d.bind(schema)
	if fault != nil {
		return nil, nil, fault
	}
	for _, record := range records {
		batches = append(batches, b.columns(record))
	}
	if fault = d.checkDictionaries(batches); fault != nil {
		return nil, nil, fault
	}
	index := int32(0)
	for at := range batches {
		if fault = d.judgeBatch(m, &batches[at], position{int32(at), 0}, index, rows, deletes); fault != nil {
			return nil, nil, fault
		}
		index += int32(batches[at].rows)
	}
	if refused, fault = d.refuse(m, records, b); fault != nil {
		return nil, nil, fault
	}
	return batches, refused, nil
}

// checkDictionaries bounds what columns take without their dictionaries: a long text can stand for a million rows.
func (d *Decoder) checkDictionaries(batches []columns) *schemas.Fault {
	left := d.limits.MaxUncompressed
	for _, batch := range batches {
		for _, column := range append(batch.attributes[:len(batch.attributes):len(batch.attributes)], batch.op) {
			dictionary, ok := column.(*array.Dictionary)
			if !ok {
				continue
			}
			for row := range batch.rows {
				text, _ := textAt(dictionary, row)
				if left -= int64(len(text)); left < 0 {
					return schemas.Faultf(schemas.ReasonTooLarge, "columns without their dictionaries have more than %d bytes", d.limits.MaxUncompressed)
				}
			}
		}
	}
	return nil
}

// judgeBatch judges the rows of a batch, whose first row is at here and has an index in the message.
func (d *Decoder) judgeBatch(m Message, batch *columns, here position, index int32, rows *segment.Rows, deletes *[]segment.Tombstone) *schemas.Fault {
	rows.IDs, rows.Orders = slices.Grow(rows.IDs, batch.rows), slices.Grow(rows.Orders, batch.rows)
	ids, vectors := newIDs(batch.id), newVectors(batch.vector)
	for row := range batch.rows {
		here.row = int32(row)
		order := segment.Order{Timestamp: m.Watermark, Partition: m.Partition, Offset: m.Offset, Row: index + here.row}
		if batch.version != nil && batch.version.IsValid(row) {
			order.Version = batch.version.(*array.Int64).Value(row)
		}
		id, deleted, fault := identify(&ids, batch.op, row)
		if fault == nil && !deleted {
			fault = d.judgeAttributes(batch, row)
		}
		if fault == nil && !deleted {
			fault = vectors.appendTo(rows, row, d.spec, d.level)
		}
		switch {
		case fault != nil:
			if d.faults = append(d.faults, rowFault{here, order.Row, fault}); len(d.faults) > d.limits.MaxRowFaults {
				first := d.faults[0]
				return schemas.Faultf(first.fault.Reason, "more than %d rows are bad, the first is row %d: %s", d.limits.MaxRowFaults, first.index, first.fault.Detail)
			}
		case deleted:
			*deletes = append(*deletes, segment.Tombstone{ID: id, Order: order})
		default:
			rows.IDs, rows.Orders = append(rows.IDs, id), append(rows.Orders, order)
			d.accepted = append(d.accepted, here)
		}
	}
	return nil
}

// identify reads what every row has: its id and what is to be done.
func identify(ids *ids, op arrow.Array, row int) (id string, deleted bool, fault *schemas.Fault) {
	if ids.column.IsNull(row) {
		return "", false, schemas.Faultf(schemas.ReasonNullID, "id is null")
	}
	switch id = ids.at(row); {
	case id == "":
		return "", false, schemas.Faultf(schemas.ReasonNullID, "id is empty")
	case len(id) > schemas.MaxIDBytes:
		return "", false, schemas.Faultf(schemas.ReasonIDLength, "id has %d bytes, allowed: %d", len(id), schemas.MaxIDBytes)
	}
	if op == nil {
		return id, false, nil
	}
	switch text, ok := textAt(op, row); {
	case !ok, text == schemas.OpUpsert:
		return id, false, nil
	case text == schemas.OpDelete:
		return id, true, nil
	default:
		return "", false, schemas.Faultf(schemas.ReasonOp, "op is %.100q, allowed: %s, %s, null", text, schemas.OpUpsert, schemas.OpDelete)
	}
}

// judgeAttributes makes sure that appendAttribute will not fail for a row.
func (d *Decoder) judgeAttributes(batch *columns, row int) *schemas.Fault {
	for j, attribute := range batch.attributes {
		if attribute == nil {
			continue
		}
		probe := d.probes[j]
		probe.Reset()
		if err := probe.AppendFrom(attribute, row); err != nil {
			return schemas.Faultf(schemas.ReasonAttribute, "attribute %q: %v", d.spec.Attributes[j].Name, err)
		}
	}
	return nil
}

// appendAttribute appends attribute j of the accepted rows.
func (d *Decoder) appendAttribute(to *segment.Column, batches []columns, j int) error {
	for _, at := range d.accepted {
		if attribute := batches[at.batch].attributes[j]; attribute == nil {
			to.AppendNull()
		} else if err := to.AppendFrom(attribute, int(at.row)); err != nil {
			return err
		}
	}
	return nil
}

package ingest

import (
	"fmt"
	"unicode/utf8"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// maxSingle is the largest message that is one row, in bytes: the widest vector in JSON takes a 50th of it, and the names of an object take
// several times their bytes while they are looked at for one that is there twice.
const maxSingle = 16 << 20

// Fields of Debezium's envelope, and its operations.
const (
	envelopeOp     = "op"
	envelopeBefore = "before"
	envelopeAfter  = "after"

	debeziumCreate = "c"
	debeziumRead   = "r"
	debeziumUpdate = "u"
	debeziumDelete = "d"
)

// rowReader reads the values of a plan out of the value or the key of a record. They may alias it, and are good until the next call. An
// error is no fault of the message: it can be read later.
type rowReader interface {
	read(message []byte, p *plan, into []value) (*schemas.Fault, error)
}

// single reads messages that are one row.
type single struct {
	*Decoder
	m       *schemas.Messages
	reader  rowReader
	plan    *plan
	keyPlan *plan // nil: a key is the id
	values  []value
	key     [1]value
	cells   []cell    // of the attributes
	scratch []byte    // of a vector's bytes
	floats  []float32 // of its values
}

func newSingle(d *Decoder) (*single, error) {
	s := &single{
		Decoder: d,
		m:       d.spec.Messages,
		plan:    rowPlan(d.spec),
		keyPlan: keyPlan(d.spec.Messages),
		values:  make([]value, slotAttributes+len(d.spec.Attributes)),
		cells:   make([]cell, len(d.spec.Attributes)),
	}
	if s.m.Format == schemas.MessagesAvro {
		avro, err := newAvroReader(s.m, d.ignoreField)
		s.reader = avro
		return s, err
	}
	s.reader = &jsonReader{framed: s.m.Framing == schemas.FramingConfluent, ignore: d.ignoreField}
	return s, nil
}

// ignoreField is ignore of a name that is copied only if it is not known yet.
func (d *Decoder) ignoreField(name []byte) {
	if _, known := d.ignored[string(name)]; !known {
		d.ignore(string(name))
	}
}

// action is what a message does.
type action int

const (
	nothing action = iota
	upsert
	remove
)

// decode is Decode of a message that is one row. It is quarantined as it is, so that it can be sent again.
func (s *single) decode(m Message, rows *segment.Rows, deletes *[]segment.Tombstone, bad func(Quarantined)) error {
	n := len(rows.Vectors)
	id, order, act, fault, err := s.judge(m, rows)
	switch {
	case err != nil:
		rows.Vectors = rows.Vectors[:n]
	case fault != nil:
		rows.Vectors = rows.Vectors[:n]
		bad(m.quarantine(WholeMessage, *fault, m.Value))
	case act == remove:
		*deletes = append(*deletes, segment.Tombstone{ID: id, Order: order})
	case act == upsert:
		rows.IDs, rows.Orders = append(rows.IDs, id), append(rows.Orders, order)
		for j, c := range s.cells {
			c.appendTo(rows.Attributes[j], s.spec.Attributes[j].Type)
		}
	}
	clear(s.values) // lets go of the message
	clear(s.cells)
	return err
}

// judge does everything with a message that can fail, and appends the vector of an upsert. A panic in reading it, of this code or of a
// library's, is a fault of the message.
func (s *single) judge(m Message, rows *segment.Rows) (id string, order segment.Order, act action, fault *schemas.Fault, err error) {
	defer func() {
		if r := recover(); r != nil {
			fault = schemas.Faultf(schemas.ReasonMalformed, "reading the message panicked: %v", r)
		}
	}()
	order = segment.Order{Timestamp: m.Watermark, Partition: m.Partition, Offset: m.Offset}
	if most := min(s.limits.MaxMessage, maxSingle); len(m.Value) > most || len(m.Key) > most {
		return "", order, nothing, schemas.Faultf(schemas.ReasonTooLarge, "message has %d bytes and a key of %d, allowed: %d of each", len(m.Value), len(m.Key), most), nil
	}
	if m.Value == nil {
		if s.m.Tombstones == schemas.TombstonesIgnore {
			return "", order, nothing, nil, nil
		}
		id, fault, err = s.idOfKey(m.Key)
		return id, order, remove, fault, err
	}
	clear(s.values)
	if fault, err = s.reader.read(m.Value, s.plan, s.values); fault != nil || err != nil {
		return "", order, nothing, fault, err
	}
	if act, fault = s.action(); fault != nil {
		return "", order, nothing, fault, nil
	}
	idAt, versionAt := &s.values[slotID], &s.values[slotVersion]
	if act == remove && s.m.Envelope != "" {
		idAt, versionAt = &s.values[slotOldID], &s.values[slotOldVersion]
	}
	if order.Version, fault = s.version(versionAt); fault != nil {
		return "", order, nothing, fault, nil
	}
	if act == remove && idAt.absent() && m.Key != nil && s.m.Envelope != "" {
		id, fault, err = s.idOfKey(m.Key)
	} else {
		id, fault = idOf(idAt, s.m.IDPath())
	}
	if fault == nil && err == nil && act == upsert {
		fault = s.judgeUpsert(rows)
	}
	return id, order, act, fault, err
}

// action is what a message says that is to be done.
func (s *single) action() (action, *schemas.Fault) {
	op := &s.values[slotOp]
	switch {
	case s.m.Envelope == schemas.EnvelopeDebezium:
		return s.debezium(op)
	case s.m.Op == "" || op.absent():
		return upsert, nil
	}
	word, ok := op.word()
	if !ok {
		return nothing, schemas.Faultf(schemas.ReasonOp, "op is %v at %q, allowed: a text, a number, true, false, null", op, s.m.Op)
	}
	if len(s.m.Deletes) > 0 {
		for _, d := range s.m.Deletes {
			if string(word) == d {
				return remove, nil
			}
		}
		return upsert, nil
	}
	switch string(word) {
	case schemas.OpUpsert:
		return upsert, nil
	case schemas.OpDelete:
		return remove, nil
	}
	return nothing, schemas.Faultf(schemas.ReasonOp, "op is %v at %q, allowed: %s, %s, null; deletes in messages of the index spec can name others", op, s.m.Op, schemas.OpUpsert, schemas.OpDelete)
}

// debezium is what an envelope says that is to be done. A truncate is no delete of rows that are known, and a logical message none at all.
func (s *single) debezium(op *value) (action, *schemas.Fault) {
	word, _ := op.word()
	switch string(word) {
	case debeziumCreate, debeziumRead, debeziumUpdate:
		return upsert, nil
	case debeziumDelete:
		return remove, nil
	}
	return nothing, schemas.Faultf(schemas.ReasonOp, "op of the envelope is %v, allowed: %s, %s, %s, %s", op, debeziumCreate, debeziumRead, debeziumUpdate, debeziumDelete)
}

// judgeUpsert reads what only an upsert has to have: encoder, attributes and vector.
func (s *single) judgeUpsert(rows *segment.Rows) (fault *schemas.Fault) {
	if s.m.Encoder != "" {
		if v := &s.values[slotEncoder]; v.kind != kindText || string(v.bytes) != s.spec.Encoder {
			return schemas.Faultf(schemas.ReasonEncoder, "encoder is %v at %q, the index is for %q", v, s.m.Encoder, s.spec.Encoder)
		}
	}
	for j, a := range s.spec.Attributes {
		unit := s.m.Units[a.Name]
		if s.cells[j], fault = s.values[slotAttributes+j].cell(a, unit); fault != nil {
			return fault
		}
	}
	v := &s.values[slotVector]
	n := len(rows.Vectors)
	if fault = s.appendVector(rows, v); fault != nil {
		return fault
	}
	if reason, detail := segment.Check(s.spec, s.level, rows.Vectors[n:]); reason != "" {
		return schemas.Faultf(reason, "%s", detail)
	}
	return nil
}

// version reads one; absent and null are none.
func (s *single) version(v *value) (int64, *schemas.Fault) {
	if s.m.Version == "" || v.absent() {
		return 0, nil
	}
	if n, ok := v.integer(); ok {
		return n, nil
	}
	return 0, schemas.Faultf(schemas.ReasonSchema, "version is %v at %q, allowed: an integer of 64 bits", v, s.m.Version)
}

// idOfKey reads the id of a record that has nothing but a key.
func (s *single) idOfKey(key []byte) (string, *schemas.Fault, error) {
	const at = "the key"
	switch {
	case key == nil:
		return "", schemas.Faultf(schemas.ReasonNullID, "the record has neither a value nor a key"), nil
	case s.keyPlan == nil && !utf8.Valid(key):
		return "", schemas.Faultf(schemas.ReasonMalformed, "key is %.100q, allowed: UTF-8", key), nil
	case s.keyPlan == nil:
		id, fault := checkID(string(key), at)
		return id, fault, nil
	}
	clear(s.key[:])
	fault, err := s.reader.read(key, s.keyPlan, s.key[:])
	if err != nil {
		return "", nil, fmt.Errorf("key: %w", err)
	}
	if fault != nil {
		return "", schemas.Faultf(fault.Reason, "key: %s", fault.Detail), nil
	}
	id, fault := idOf(&s.key[0], at)
	return id, fault, nil
}

// idOf is the canonical text of an id. At says where it was looked for.
func idOf(v *value, at string) (string, *schemas.Fault) {
	if v.absent() {
		return "", schemas.Faultf(schemas.ReasonNullID, "id is %v at %q", v, at)
	}
	id, ok := v.id()
	if !ok {
		return "", schemas.Faultf(schemas.ReasonSchema, "id is %v at %q, allowed: a text, an integer of 64 bits", v, at)
	}
	return checkID(id, at)
}

func checkID(id, at string) (string, *schemas.Fault) {
	switch {
	case id == "":
		return "", schemas.Faultf(schemas.ReasonNullID, "id is empty at %q", at)
	case len(id) > schemas.MaxIDBytes:
		return "", schemas.Faultf(schemas.ReasonIDLength, "id has %d bytes, allowed: %d", len(id), schemas.MaxIDBytes)
	}
	return id, nil
}

// framed is what comes after the frame of Confluent's serializers.
func framed(message []byte) (schema uint32, rest []byte, fault *schemas.Fault) {
	const size = 5
	if len(message) < size || message[0] != 0 {
		return 0, nil, schemas.Faultf(schemas.ReasonMalformed, "message begins with %s, allowed: a zero byte and the id of a schema in four", fmt.Sprintf("% x", message[:min(size, len(message))]))
	}
	for _, b := range message[1:size] {
		schema = schema<<8 | uint32(b)
	}
	return schema, message[size:], nil
}

package ingest

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/adastream/adastream/schemas"
)

// jsonReader reads messages of JSON. The library refuses invalid UTF-8, names that are there twice and nesting that is deeper than
// 10,000, in what is passed over too.
type jsonReader struct {
	framed bool
	ignore func(field []byte)

	message []byte
	source  bytes.Buffer // over message
	decoder jsontext.Decoder
	arena   []byte // texts that are written with escapes
}

// maxArena is how much room for texts is kept from one message for the next.
const maxArena = 1 << 20

// Fields of what Kafka Connect writes with schemas: the message is the payload.
const (
	wrapperSchema  = "schema"
	wrapperPayload = "payload"
)

func (j *jsonReader) read(message []byte, p *plan, into []value) (*schemas.Fault, error) {
	if j.framed {
		var fault *schemas.Fault
		if _, message, fault = framed(message); fault != nil {
			return fault, nil
		}
	}
	if j.arena = j.arena[:0]; cap(j.arena) > maxArena {
		j.arena = nil
	}
	payload, err := j.document(message, p, into)
	if err == nil && payload != nil {
		clear(into)
		_, err = j.document(payload, p, into)
	}
	j.message, j.source = nil, bytes.Buffer{} // lets go of it
	if err != nil && len(message) > 0 && message[0] == 0 {
		return schemas.Faultf(schemas.ReasonMalformed, "JSON: it begins with a zero byte, as what Confluent's serializers write: that takes framing %q, or the format %q", schemas.FramingConfluent, schemas.MessagesAvro), nil
	}
	if err != nil {
		return schemas.Faultf(schemas.ReasonMalformed, "JSON: %v", err), nil
	}
	return nil, nil
}

var errNoObject = errors.New("not an object, allowed: one object")

// document reads a message, and returns its payload if it is a wrapper.
func (j *jsonReader) document(message []byte, p *plan, into []value) (payload []byte, err error) {
	j.message = message
	j.source = *bytes.NewBuffer(message)
	j.decoder.Reset(&j.source)
	switch object := j.decoder.PeekKind() == '{'; {
	case object:
		payload, err = j.root(p, into)
	case len(p.slots) > 0:
		err = j.value(p, into)
	default:
		if _, err = j.decoder.ReadToken(); err == nil {
			err = errNoObject
		}
	}
	if err != nil {
		return nil, err
	}
	switch _, err = j.decoder.ReadToken(); {
	case err == nil:
		return nil, errors.New("more after the first value, allowed: one object")
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return payload, nil
}

// root reads the fields of the outermost object.
func (j *jsonReader) root(p *plan, into []value) (payload []byte, err error) {
	for _, slot := range p.slots {
		into[slot].kind = kindOther
	}
	fields, schema := 0, false
	err = j.object(p, into, func(name []byte) bool {
		fields++
		schema = schema || string(name) == wrapperSchema
		return string(name) == wrapperPayload && p.children[wrapperPayload] == nil && (len(p.slots) > 0 || j.decoder.PeekKind() == '{')
	}, &payload)
	if err != nil || fields != 2 || !schema {
		payload = nil
	}
	return payload, err
}

// object reads the fields of an object. Of one for which kept says so, what it is is kept and not looked into.
func (j *jsonReader) object(p *plan, into []value, keep func(name []byte) bool, kept *[]byte) error {
	if _, err := j.decoder.ReadToken(); err != nil {
		return err
	}
	for j.decoder.PeekKind() != '}' {
		name, err := j.text()
		if err != nil {
			return err
		}
		child := p.children[string(name)]
		switch {
		case keep != nil && keep(name):
			*kept, err = j.raw()
		case child == nil:
			if p.row && (keep == nil || string(name) != wrapperSchema) {
				j.ignore(name)
			}
			err = j.decoder.SkipValue()
		case len(child.slots) > 0:
			err = j.value(child, into)
		case j.decoder.PeekKind() == '{':
			err = j.object(child, into, nil, nil)
		default:
			err = j.decoder.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := j.decoder.ReadToken()
	return err
}

// raw is the next value as it is written.
func (j *jsonReader) raw() ([]byte, error) {
	v, err := j.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(j.decoder.InputOffset())
	return j.message[end-len(v) : end], nil // v itself may be gone with the next call
}

// text is the next value, which is a text: the name of a field.
func (j *jsonReader) text() ([]byte, error) {
	raw, err := j.raw()
	if err != nil {
		return nil, err
	}
	return j.unquote(raw)
}

func (j *jsonReader) unquote(raw []byte) ([]byte, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	start := len(j.arena)
	var err error
	j.arena, err = jsontext.AppendUnquote(j.arena, raw)
	return j.arena[start:], err
}

// value reads the next value into the slots of a plan.
func (j *jsonReader) value(p *plan, into []value) error {
	raw, err := j.raw()
	if err != nil {
		return err
	}
	var v value
	switch raw[0] {
	case 'n':
		v.kind = kindNull
	case 't', 'f':
		v.kind = kindBool
		if raw[0] == 't' {
			v.number = 1
		}
	case '"':
		v.kind = kindText
		v.bytes, err = j.unquote(raw)
	case '[':
		v.kind, v.bytes = kindArray, raw
	case '{':
		v.kind = kindOther
	default:
		v.kind, v.bytes = kindDigits, raw
	}
	for _, slot := range p.slots {
		into[slot] = v
	}
	return err
}

package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/uuid"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/jsonrow"
	"github.com/adastream/adastream/schemas"
)

// kind is what a value of a message is.
type kind uint8

const (
	kindMissing kind = iota
	kindNull
	kindBool
	kindDigits // a number of JSON, as it is written
	kindWhole
	kindReal
	kindText
	kindBlob
	kindArray  // of JSON, as it is written
	kindFloats // an array of numbers
	kindMoment // a time since the epoch that says its own unit
	kindOther  // what no part of a row is
)

// value is one that was read of a message.
type value struct {
	kind   kind
	bytes  []byte // of digits, text, blob, array
	number int64  // of boolean (0, 1), whole, moment
	real   float64
	floats []float32
	null   int            // in floats: where the first is, or noNull
	unit   arrow.TimeUnit // of moment
}

const noNull = -1

func (v *value) absent() bool { return v.kind == kindMissing || v.kind == kindNull }

// String is v for the detail of a fault.
func (v *value) String() string {
	switch v.kind {
	case kindMissing:
		return "missing"
	case kindNull:
		return "null"
	case kindBool:
		return strconv.FormatBool(v.number != 0)
	case kindDigits:
		return fmt.Sprintf("%.100s", v.bytes)
	case kindWhole, kindMoment:
		return strconv.FormatInt(v.number, 10)
	case kindReal:
		return strconv.FormatFloat(v.real, 'g', -1, 64)
	case kindText:
		return fmt.Sprintf("%.100q", v.bytes)
	case kindBlob:
		return fmt.Sprintf("%d bytes", len(v.bytes))
	case kindArray, kindFloats:
		return "an array"
	}
	return "an object"
}

// word is v as it is compared with the values that mean delete.
func (v *value) word() (word []byte, ok bool) {
	switch v.kind {
	case kindText, kindDigits:
		return v.bytes, true
	case kindBool, kindWhole:
		return []byte(v.String()), true
	}
	return nil, false
}

// integer is v if it is one of 64 bits.
func (v *value) integer() (int64, bool) {
	switch v.kind {
	case kindDigits:
		return jsonrow.Integer(v.bytes)
	case kindWhole, kindMoment:
		return v.number, true
	}
	return 0, false
}

// id is the canonical text of v if it can be an id.
func (v *value) id() (id string, ok bool) {
	switch v.kind {
	case kindText:
		return string(v.bytes), utf8.Valid(v.bytes)
	case kindDigits:
		return string(v.bytes), jsonrow.IsID(v.bytes)
	case kindWhole:
		return strconv.FormatInt(v.number, 10), true
	case kindBlob:
		id, err := uuid.FromBytes(v.bytes)
		return id.String(), err == nil
	}
	return "", false
}

// cell is a value as the column of an attribute has it.
type cell struct {
	valid  bool
	text   []byte
	number int64
	real   float64
}

func (c *cell) appendTo(column *segment.Column, t schemas.AttributeType) {
	if !c.valid {
		column.AppendNull()
		return
	}
	switch t {
	case schemas.AttributeBool:
		column.AppendBool(c.number != 0)
	case schemas.AttributeInt, schemas.AttributeTimestamp:
		column.AppendInt(c.number)
	case schemas.AttributeFloat:
		column.AppendFloat(c.real)
	default:
		column.AppendText(c.text)
	}
}

// unavailable stands in Debezium's messages for a value that is stored apart and that a change has not touched.
const unavailable = "__debezium_unavailable_value"

// cell is v as an attribute's column has it. Unit is what a number of a timestamp counts.
func (v *value) cell(a schemas.Attribute, unit string) (cell, *schemas.Fault) {
	if v.absent() {
		return cell{}, nil
	}
	refuse := func(allowed string) (cell, *schemas.Fault) {
		return cell{}, schemas.Faultf(schemas.ReasonAttribute, "attribute %q: %v, allowed: %s", a.Name, v, allowed)
	}
	if v.kind == kindText && string(v.bytes) == unavailable {
		return refuse("the value itself, which the database does not send when a change has not touched it: docs/messages.md")
	}
	c, ok := cell{valid: true}, false
	switch a.Type {
	case schemas.AttributeBool:
		c.number, ok = v.bool()
		if !ok {
			return refuse("true, false, 1, 0")
		}
	case schemas.AttributeInt:
		if c.number, ok = v.integer(); !ok {
			return refuse("an integer of 64 bits")
		}
	case schemas.AttributeFloat:
		if c.real, ok = v.float(); !ok {
			return refuse("a number that a float64 holds")
		}
	case schemas.AttributeTimestamp:
		ms, err := v.milliseconds(unit)
		if errors.Is(err, errNoTime) {
			return refuse("a time such as 2026-05-04T12:00:00Z, or an integer")
		}
		if err != nil {
			return cell{}, schemas.Faultf(schemas.ReasonAttribute, "attribute %q: %v", a.Name, err)
		}
		c.number = ms
	default:
		if c.text = v.bytes; v.kind != kindText || !utf8.Valid(c.text) {
			return refuse("a text of UTF-8")
		}
	}
	return c, nil
}

func (v *value) bool() (int64, bool) {
	if v.kind == kindBool {
		return v.number, true
	}
	n, ok := v.integer()
	return n, ok && (n == 0 || n == 1)
}

func (v *value) float() (float64, bool) {
	switch v.kind {
	case kindDigits:
		return jsonrow.Float(v.bytes)
	case kindWhole:
		return float64(v.number), true
	case kindReal:
		return v.real, true
	}
	return 0, false
}

var errNoTime = errors.New("not a time")

var units = map[string]arrow.TimeUnit{"": arrow.Millisecond, "s": arrow.Second, "ms": arrow.Millisecond, "us": arrow.Microsecond, "ns": arrow.Nanosecond}

func (v *value) milliseconds(unit string) (int64, error) {
	switch v.kind {
	case kindText:
		t, err := time.Parse(time.RFC3339Nano, string(v.bytes))
		if err != nil {
			return 0, errNoTime
		}
		return segment.Milliseconds(t.UnixMilli(), arrow.Millisecond)
	case kindMoment:
		return segment.Milliseconds(v.number, v.unit)
	}
	n, ok := v.integer()
	if !ok {
		return 0, errNoTime
	}
	return segment.Milliseconds(n, units[unit])
}

// appendVector appends a vector to those of rows.
func (s *single) appendVector(rows *segment.Rows, v *value) *schemas.Fault {
	dim, at := s.spec.Dim(), s.m.VectorPath()
	switch {
	case v.absent():
		return schemas.Faultf(schemas.ReasonDims, "vector is %v at %q, needed: %d values", v, at, dim)
	case v.kind == kindText && string(v.bytes) == unavailable:
		return schemas.Faultf(schemas.ReasonDims, "vector is %v at %q, needed: %d values, which the database does not send when a change has not touched them: docs/messages.md", v, at, dim)
	case s.m.VectorBytes != "":
		return s.appendBytes(rows, v)
	case v.kind == kindFloats:
		switch {
		case len(v.floats) != dim:
			return schemas.Faultf(schemas.ReasonDims, "vector has %d values, allowed: %d", len(v.floats), dim)
		case v.null != noNull:
			return schemas.Faultf(schemas.ReasonDims, "vector has a null at %d", v.null)
		}
		rows.AppendFloats(s.level, v.floats)
		return nil
	case v.kind == kindArray, v.kind == kindText && bytes.HasPrefix(v.bytes, []byte{'['}): // a text is how PostgreSQL writes a vector
		return s.appendNumbers(rows, v.bytes)
	}
	return schemas.Faultf(schemas.ReasonSchema, "vector is %v at %q, allowed: an array of numbers, and with vector_bytes in messages of the index spec their bytes", v, at)
}

// appendNumbers appends a vector that is an array of numbers as a text.
func (s *single) appendNumbers(rows *segment.Rows, text []byte) *schemas.Fault {
	dim := s.spec.Dim()
	values, n, err := jsonrow.Numbers(slices.Grow(s.floats[:0], dim), text, dim)
	s.floats = values
	var bad *jsonrow.NumberError
	switch {
	case err == nil && n == dim:
		rows.AppendFloats(s.level, values)
		return nil
	case err == nil:
		return schemas.Faultf(schemas.ReasonDims, "vector has %d values, allowed: %d", n, dim)
	case !errors.As(err, &bad):
		return schemas.Faultf(schemas.ReasonSchema, "vector is %.100q, %v", text, err)
	case bad.Null:
		return schemas.Faultf(schemas.ReasonDims, "vector has a null at %d", bad.At)
	case bad.Outside:
		return schemas.Faultf(schemas.ReasonNotFinite, "vector: %v", bad)
	}
	return schemas.Faultf(schemas.ReasonSchema, "vector: %v", bad)
}

// appendBytes appends a vector that is the bytes of its values.
func (s *single) appendBytes(rows *segment.Rows, v *value) *schemas.Fault {
	raw := v.bytes
	switch v.kind {
	case kindBlob:
	case kindText:
		n := base64.StdEncoding.DecodedLen(len(raw))
		s.scratch = slices.Grow(s.scratch[:0], n)[:n]
		n, err := base64.StdEncoding.Decode(s.scratch, raw)
		if err != nil {
			return schemas.Faultf(schemas.ReasonSchema, "vector is %v, allowed: base64: %v", v, err)
		}
		raw = s.scratch[:n]
	default:
		return schemas.Faultf(schemas.ReasonSchema, "vector is %v, allowed: bytes, in JSON as base64", v)
	}
	dim, width := s.spec.Dim(), 4
	if s.m.VectorBytes == schemas.Float16 {
		width = 2
	}
	if len(raw) != dim*width {
		return schemas.Faultf(schemas.ReasonDims, "vector has %d bytes, allowed: %d, which are %d values of %s", len(raw), dim*width, dim, s.m.VectorBytes)
	}
	if width == 4 {
		s.floats = slices.Grow(s.floats[:0], dim)[:dim]
		for i := range s.floats {
			s.floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		rows.AppendFloats(s.level, s.floats)
		return nil
	}
	halves := make([]uint16, dim)
	for i := range halves {
		halves[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	rows.AppendHalves(s.level, halves)
	return nil
}

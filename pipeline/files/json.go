package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/adastream/adastream/pipeline/jsonrow"
	"github.com/adastream/adastream/schemas"
)

const (
	maxLine   = 16 << 20 // bytes of a line, or of an element
	maxFields = 1024     // of a batch
)

// jsonReader reads objects, each a row. A batch has the columns and types that its own rows have: a number that looks like an
// integer here and has a fraction there is no fault of either. The row of a value of another kind is a batch of its own, so that whoever
// refuses it refuses nothing else. As in messages of JSON, the library refuses invalid UTF-8, of which it would
// make one and the same text, and names that are there twice, of which one would silently not count.
type jsonReader struct {
	objects jsonSource
	pending []byte       // the object that did not fit into the batch before
	source  bytes.Buffer // over an object
	decoder jsontext.Decoder
	o       *Options
	names   mapping
	ignored map[string]bool
}

// openJSON reads the first batch, to know the columns.
func openJSON(f io.Reader, o *Options) (*Reader, error) {
	objects, end, err := openObjects(f)
	if err != nil {
		return nil, err
	}
	r, err := readObjects(objects, o)
	if err != nil {
		end()
		return nil, err
	}
	r.close = func() error { end(); return nil }
	return r, nil
}

func readObjects(objects jsonSource, o *Options) (*Reader, error) {
	j := &jsonReader{objects: objects, o: o, names: mapping{o: o}, ignored: map[string]bool{}}
	b, fields, err := j.read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("there are no lines, or elements of an array")
	}
	if err != nil {
		return nil, err
	}
	if err := j.names.complete(b.has, fields); err != nil {
		return nil, err
	}
	first := b.batch(o.Encoder)
	return &Reader{schema: first.Schema(), rows: -1, first: first, next: func() (arrow.RecordBatch, error) {
		b, _, err := j.read()
		if err != nil {
			return nil, err
		}
		return b.batch(o.Encoder), nil
	}}, nil
}

// object is the next one.
func (j *jsonReader) object() ([]byte, error) {
	if object := j.pending; object != nil {
		j.pending = nil
		return object, nil
	}
	return j.objects.next()
}

// read reads the objects of a batch, and tells which fields they have; io.EOF if there are none.
func (j *jsonReader) read() (b *jsonBatch, fields []string, err error) {
	b = &jsonBatch{attributes: map[string]*jsonColumn{}}
	seen := map[string]bool{}
	alone := j.pending != nil
	for size := 0; b.rows < batchRows && size < batchBytes && !(alone && b.rows == 1); {
		object, err := j.object()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		size += len(object)
		err = j.row(object, func(field string, value jsontext.Value) error {
			if !seen[field] {
				seen[field] = true
				if fields = append(fields, field); len(fields) > maxFields {
					return fmt.Errorf("more than %d fields in a batch", maxFields)
				}
			}
			if err := j.value(b, field, value); err != nil {
				return fmt.Errorf("field %q: %w", field, err)
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", j.objects.place(), err)
		}
		if !b.fits() {
			b.drop()
			j.pending = object
			break
		}
		b.next()
	}
	if b.rows == 0 {
		return nil, nil, io.EOF
	}
	slices.Sort(fields)
	return b, fields, nil
}

var errNoObject = errors.New("not an object, allowed: an object")

// row calls each with the fields of an object, whose values are good until it returns.
func (j *jsonReader) row(line []byte, each func(field string, value jsontext.Value) error) error {
	j.source = *bytes.NewBuffer(line)
	j.decoder.Reset(&j.source)
	if kind := j.decoder.PeekKind(); kind != '{' && kind != 0 {
		return errNoObject
	}
	if _, err := j.decoder.ReadToken(); err != nil {
		return err
	}
	for j.decoder.PeekKind() != '}' {
		name, err := j.decoder.ReadToken()
		if err != nil {
			return err
		}
		field := name.String() // before the next call: the token is gone then
		value, err := j.decoder.ReadValue()
		if err != nil {
			return err
		}
		if err := each(field, value); err != nil {
			return err
		}
	}
	if _, err := j.decoder.ReadToken(); err != nil {
		return err
	}
	if j.decoder.PeekKind(); len(bytes.TrimSpace(line[j.decoder.InputOffset():])) > 0 {
		return errors.New("more after the object, allowed: an object")
	}
	return nil
}

// value takes the value of a field into the row that is being read.
func (j *jsonReader) value(b *jsonBatch, field string, raw jsontext.Value) error {
	name, why := j.names.name(field)
	if name == "" {
		j.ignore(field, why)
		return nil
	}
	if string(raw) == "null" {
		return nil
	}
	switch name {
	case schemas.ColumnID:
		return b.setID(raw)
	case schemas.ColumnVector:
		return b.setVector(raw)
	case schemas.ColumnVersion:
		v, ok := jsonrow.Integer(raw)
		if !ok {
			return fmt.Errorf("%.40s, allowed: an integer of 64 bits", raw)
		}
		b.set(name, integerKind, v)
		return nil
	case schemas.ColumnOp:
		if raw[0] != '"' {
			return fmt.Errorf("%.40s, allowed: %q, %q", raw, schemas.OpUpsert, schemas.OpDelete)
		}
	}
	kind, v, err := scalar(raw)
	if err != nil {
		return err
	}
	if kind == noKind {
		j.ignore(field, "no attribute is a list or an object")
		return nil
	}
	b.set(name, kind, v)
	return nil
}

func (j *jsonReader) ignore(field, why string) {
	if !j.ignored[field] && len(j.ignored) < maxFields {
		j.ignored[field] = true
		j.o.Ignored(field, why)
	}
}

// scalar is a value that an attribute may have; noKind of a list or an object.
func scalar(raw jsontext.Value) (kind, any, error) {
	switch raw[0] {
	case '[', '{':
		return noKind, nil, nil
	case '"':
		text, err := unquote(raw)
		return textKind, text, err
	case 't', 'f':
		return boolKind, raw[0] == 't', nil
	}
	if v, ok := jsonrow.Integer(raw); ok {
		return integerKind, v, nil
	}
	v, ok := jsonrow.Float(raw)
	if !ok {
		return noKind, nil, fmt.Errorf("%.40s, allowed: a number that a float64 holds", raw)
	}
	return floatKind, v, nil
}

func unquote(raw jsontext.Value) (string, error) {
	text, err := jsontext.AppendUnquote(nil, raw)
	return string(text), err
}

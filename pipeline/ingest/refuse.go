package ingest

import (
	"bytes"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
)

// refuse is what is quarantined of the bad rows of a message: each as a stream of its own, which can be produced again
// once it is mended. It has the columns that the index knows, so that a thousand undeclared ones do not weigh on each
// row, and plain text for dictionaries, which would come whole with every row. What a message has once - a long text of a
// dictionary, a name, a time zone - comes with each row all the same, so rows that take more than a message may have are
// refused with their message.
func (d *Decoder) refuse(m Message, batches []arrow.RecordBatch, b *binding) ([]Quarantined, *schemas.Fault) {
	if len(d.faults) == 0 {
		return nil, nil
	}
	keep := b.known()
	schema := rowSchema(batches[0].Schema(), keep)
	refused := make([]Quarantined, len(d.faults))
	left := d.limits.MaxMessage
	for i, f := range d.faults {
		payload, err := writeRow(schema, batches[f.batch], keep, int(f.row))
		if err != nil {
			return nil, schemas.Faultf(schemas.ReasonMalformed, "bad rows cannot be written: %v", err)
		}
		if left -= len(payload); left < 0 {
			first := d.faults[0]
			return nil, schemas.Faultf(first.fault.Reason, "%d rows are bad and would take more than %d bytes one by one, the first is row %d: %s",
				len(d.faults), d.limits.MaxMessage, first.index, first.fault.Detail)
		}
		refused[i] = m.quarantine(f.index, *f.fault, payload)
	}
	return refused, nil
}

// known are the columns of a message that are read.
func (b *binding) known() []int {
	var known []int
	for _, i := range append([]int{b.id, b.op, b.version, b.vector}, b.attributes...) {
		if i != absent {
			known = append(known, i)
		}
	}
	return known
}

// rowSchema is the schema of a row with some columns of a message.
func rowSchema(of *arrow.Schema, keep []int) *arrow.Schema {
	fields := make([]arrow.Field, len(keep))
	for i, at := range keep {
		field := of.Field(at)
		if dict, ok := field.Type.(*arrow.DictionaryType); ok {
			field.Type = dict.ValueType
		}
		fields[i] = arrow.Field{Name: field.Name, Type: field.Type, Nullable: true}
	}
	encoder, _ := of.Metadata().GetValue(schemas.MetaEncoder)
	md := arrow.NewMetadata([]string{schemas.MetaEncoder}, []string{encoder})
	return arrow.NewSchema(fields, &md)
}

// writeRow is a stream of one row.
func writeRow(schema *arrow.Schema, batch arrow.RecordBatch, keep []int, row int) ([]byte, error) {
	columns := make([]arrow.Array, len(keep))
	for i, at := range keep {
		if dict, ok := batch.Column(at).(*array.Dictionary); ok {
			columns[i] = plainRow(dict, row)
		} else {
			columns[i] = array.NewSlice(batch.Column(at), int64(row), int64(row)+1)
		}
		defer columns[i].Release()
	}
	one := array.NewRecordBatch(schema, columns, 1)
	defer one.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(one); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// plainRow is one row of a dictionary column without the dictionary.
func plainRow(dict *array.Dictionary, row int) arrow.Array {
	values := dict.Dictionary()
	if dict.IsNull(row) {
		return array.MakeArrayOfNull(memory.NewGoAllocator(), values.DataType(), 1)
	}
	i := int64(dict.GetValueIndex(row))
	return array.NewSlice(values, i, i+1)
}

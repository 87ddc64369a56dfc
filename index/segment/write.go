package segment

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// Write returns the segment file of rows in order of arrival. The model assigns them to lists, by which they are
// sorted, and encodes them; without one (nil) all are in list -1 and none has a code. The rows stay as they are.
// A vector that does not pass [Check] may be an error.
func Write(spec *schemas.Spec, mdl *model.Model, level avx.Level, rows *Rows) ([]byte, error) {
	if err := rows.check(spec); err != nil {
		return nil, err
	}
	d, err := newDeriver(spec, mdl, level)
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	var order []int32
	list, spill := make([]int32, rows.Len()), make([]int32, rows.Len())
	if mdl == nil {
		for i := range list {
			list[i], spill[i] = -1, coarse.NoSpill
		}
	} else {
		if err := d.assign(rows, list, spill); err != nil {
			return nil, err
		}
		order, _ = coarse.SortByList(list, mdl.NList())
		list, spill = gather(list, order), gather(spill, order)
	}
	t := &table{spec: spec, ids: gather(rows.IDs, order), orders: gather(rows.Orders, order), lists: list, spills: spill}
	if t.attributes, err = columnArrays(spec, rows.Attributes, order); err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	if err := d.derive(t, rows, order); err != nil {
		return nil, err
	}
	body, err := t.segment(d.coder())
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	return body, nil
}

// assign sets list[i] to the list of row i, and spill[i] to its second one.
func (d *deriver) assign(rows *Rows, list, spill []int32) error {
	width := d.spec.VectorBytes()
	batch := d.assignBatch(len(list))
	for start := 0; start < len(list); start += batch {
		n := min(batch, len(list)-start)
		for i := range n {
			if err := d.search(d.row(i), rows.Vectors[(start+i)*width:][:width]); err != nil {
				return fmt.Errorf("row %d, id %q: %w", start+i, rows.IDs[start+i], err)
			}
		}
		d.mdl.Assign(d.level, d.vectors(n), n, list[start:start+n], spill[start:start+n], d.scratch)
	}
	return nil
}

// derive fills the columns of a table that follow from vectors and lists. Row i of the table is row order[i] of rows.
func (d *deriver) derive(t *table, rows *Rows, order []int32) error {
	t.grow(rows.Len(), d.codeBytes())
	dim, width := d.spec.Dim(), d.spec.VectorBytes()
	for start := 0; start < rows.Len(); start += deriveBatch {
		n := min(deriveBatch, rows.Len()-start)
		for i := range n {
			to, from := start+i, start+i
			if order != nil {
				from = int(order[to])
			}
			stored := t.vectors[to*width:][:width]
			copy(stored, rows.Vectors[from*width:])
			if err := d.search(d.row(i), stored); err != nil {
				return fmt.Errorf("row %d, id %q: %w", from, rows.IDs[from], err)
			}
		}
		x := d.vectors(n)
		for i := range n {
			d.compare(&t.compared, start+i, x[i*dim:][:dim])
		}
		if d.mdl != nil {
			d.encode(t, start, x)
		}
	}
	return nil
}

// encode writes the codes of rows of a table from start, whose vectors these are as the model wants them.
func (d *deriver) encode(t *table, start int, vectors []float32) {
	size, n := d.mdl.CodeBytes(), len(vectors)/d.spec.Dim()
	first := model.Coding{Lists: t.lists[start : start+n], Codes: t.codes[start*size:][:n*size]}
	if !d.mdl.Spill() {
		d.mdl.Encode(d.level, vectors, n, d.scratch, first)
		return
	}
	d.mdl.Encode(d.level, vectors, n, d.scratch, first, model.Coding{Lists: t.spills[start : start+n], Codes: t.spillCodes[start*size:][:n*size]})
}

// table is rows in the order of a file, with all that is stored of them.
type table struct {
	spec       *schemas.Spec
	ids        []string
	orders     []Order
	attributes []arrow.Array
	lists      []int32
	spills     []int32 // second lists
	codes      []byte  // row-major, of segments only
	spillCodes []byte
	compared
	vectors []byte // in their stored form
}

// coder says what made the codes of a table: a model, its number of sub-quantisers and its axes, if it rotates. The zero value
// means none.
type coder struct {
	model string
	m     int
	axes  string
}

// grow makes room for what n rows have of fixed width, with two codes of width bytes.
func (t *table) grow(n, width int) {
	t.compared = newCompared(t.spec, n)
	t.vectors = newBytes(n * t.spec.VectorBytes())
	t.codes, t.spillCodes = make([]byte, n*width), make([]byte, n*width)
}

// newBytes returns n zero bytes that are aligned to any number.
func newBytes(n int) []byte { return memory.DefaultAllocator.Allocate(n) }

func columnArrays(spec *schemas.Spec, columns []*Column, order []int32) ([]arrow.Array, error) {
	arrays := make([]arrow.Array, len(columns))
	for j, c := range columns {
		a, err := c.array(order)
		if err != nil {
			return nil, fmt.Errorf("%s%s: %w", schemas.AttributePrefix, spec.Attributes[j].Name, err)
		}
		arrays[j] = a
	}
	return arrays, nil
}

// rowColumns returns the columns that segments and the rows of chunks have in common.
func (t *table) rowColumns(schema *arrow.Schema) ([]arrow.Array, error) {
	n := len(t.ids)
	columns, err := identity(t.ids, t.orders)
	if err != nil {
		return nil, err
	}
	columns = append(columns, fixed(arrow.PrimitiveTypes.Int32, n, BytesOf(t.lists)), fixed(arrow.PrimitiveTypes.Int32, n, BytesOf(t.spills)))
	columns = append(columns, t.attributes...)
	next := func() arrow.DataType { return schema.Field(len(columns)).Type }
	columns = append(columns, fixedLists(next(), n, BytesOf(t.int8s)))
	columns = append(columns, fixed(next(), n, BytesOf(t.scales)))
	return append(columns, fixedLists(next(), n, BytesOf(t.norms))), nil
}

// column returns the place of a column of a schema.
func column(schema *arrow.Schema, name string) int { return schema.FieldIndices(name)[0] }

// segment returns the segment file of a table.
func (t *table) segment(c coder) ([]byte, error) {
	schema := t.spec.SegmentSchema(c.model, c.m, c.axes)
	columns, err := t.rowColumns(schema)
	if err != nil {
		return nil, err
	}
	if c.model != "" {
		code := schema.Field(len(columns)).Type
		columns = append(columns, fixed(code, len(t.ids), t.codes), fixed(code, len(t.ids), t.spillCodes))
	}
	columns = append(columns, fixedLists(t.spec.VectorList(), len(t.ids), t.vectors))
	return writeFile(schema, columns, len(t.ids), column(schema, schemas.StoredInt8))
}

// rows returns the rows file of a chunk.
func (t *table) rows(axes string) ([]byte, error) {
	schema := t.spec.RowsSchema(axes)
	columns, err := t.rowColumns(schema)
	if err != nil {
		return nil, err
	}
	return writeFile(schema, columns, len(t.ids), column(schema, schemas.StoredInt8))
}

// originals returns the vectors file of a chunk.
func (t *table) originals() ([]byte, error) {
	return writeFile(t.spec.VectorsSchema(), []arrow.Array{fixedLists(t.spec.VectorList(), len(t.ids), t.vectors)}, len(t.ids), 0)
}

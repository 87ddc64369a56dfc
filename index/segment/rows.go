package segment

import (
	"fmt"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// Rows are upserts in order of arrival, column by column. All columns have the same length. The zero value is of no
// use: see [NewRows]. Rows are not safe for concurrent use.
type Rows struct {
	IDs        []string // canonical text; may alias the buffer of a message, which then must stay as it is until Reset
	Orders     []Order
	Attributes []*Column // in the order of the spec
	Vectors    []float32 // as given, row-major: D values for each row
}

// NewRows returns no rows of an index.
func NewRows(spec *schemas.Spec) *Rows {
	r := &Rows{Attributes: make([]*Column, len(spec.Attributes))}
	for j, a := range spec.Attributes {
		r.Attributes[j] = NewColumn(a.Type)
	}
	return r
}

// Len returns the number of rows.
func (r *Rows) Len() int { return len(r.IDs) }

// AppendFrom adds a row of a part of the same index that has its originals.
func (r *Rows) AppendFrom(level avx.Level, p *Part, row int) error {
	for j, c := range r.Attributes {
		if err := c.AppendFrom(p.Attribute(j), row); err != nil {
			return err
		}
	}
	r.IDs, r.Orders = append(r.IDs, p.IDAt(row)), append(r.Orders, p.OrderAt(row))
	at := len(r.Vectors)
	r.Vectors = slices.Grow(r.Vectors, p.dim)[:at+p.dim]
	p.Vector(level, row, r.Vectors[at:])
	return nil
}

// Reset removes all rows and keeps the memory for new ones. It lets go of the buffers that IDs alias.
func (r *Rows) Reset() {
	clear(r.IDs)
	r.IDs, r.Orders, r.Vectors = r.IDs[:0], r.Orders[:0], r.Vectors[:0]
	for _, c := range r.Attributes {
		c.Reset()
	}
}

// check reports a column that is missing or too short or long.
func (r *Rows) check(spec *schemas.Spec) error {
	n := len(r.IDs)
	switch {
	case len(r.Orders) != n:
		return fmt.Errorf("rows: %d orders for %d ids", len(r.Orders), n)
	case len(r.Vectors) != n*spec.Dim():
		return fmt.Errorf("rows: %d vector values for %d ids, allowed: %d for each", len(r.Vectors), n, spec.Dim())
	case len(r.Attributes) != len(spec.Attributes):
		return fmt.Errorf("rows: %d attributes, allowed: the %d of the spec", len(r.Attributes), len(spec.Attributes))
	}
	for j, c := range r.Attributes {
		if a := spec.Attributes[j]; c.typ != a.Type || c.Len() != n {
			return fmt.Errorf("rows: attribute %q has %d values of type %s for %d ids, allowed: %s", a.Name, c.Len(), c.typ, n, a.Type)
		}
	}
	return nil
}

// Lengths of stored vectors: within them no score of any kind overflows float32, and under cosine the direction of a
// vector is known to the precision of its values.
const (
	MinLength = 1e-15 // under cosine; a shorter vector has no direction
	MaxLength = 1e15
)

// Check reports why a vector of the right width cannot be stored: one of the Reason constants of package schemas and
// a sentence that says more. It returns empty strings for a vector that [Write] takes.
func Check(spec *schemas.Spec, level avx.Level, v []float32) (reason, detail string) {
	if len(v) != spec.Dim() {
		return schemas.ReasonDims, fmt.Sprintf("vector has %d values, allowed: %d", len(v), spec.Dim())
	}
	var squares float64
	var halves [256]uint16
	var values [256]float32
	for start := 0; start < len(v); start += len(values) {
		part := v[start:min(start+len(values), len(v))]
		if spec.Vectors == schemas.Float16 { // judge what will be stored: it may be infinite or zero where v is not
			avx.FloatToHalf(level, halves[:], part)
			avx.HalfToFloat(level, values[:], halves[:len(part)])
			part = values[:len(part)]
		}
		squares += float64(avx.SumSquares(level, part))
	}
	switch {
	case !(squares <= MaxLength*MaxLength):
		return schemas.ReasonNotFinite, fmt.Sprintf("vector has a value that is not finite as %s or a length over %g", spec.Vectors, MaxLength)
	case spec.Metric == schemas.Cosine && squares < MinLength*MinLength:
		return schemas.ReasonZero, fmt.Sprintf("vector has no direction, allowed: a length of at least %g", MinLength)
	}
	return "", ""
}

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
	// Vectors are what is stored of them, row-major: D values of the spec's type for each row, little-endian. AppendFloats and
	// AppendHalves add to them.
	Vectors []byte

	stored schemas.VectorType
}

// NewRows returns no rows of an index.
func NewRows(spec *schemas.Spec) *Rows {
	r := &Rows{Attributes: make([]*Column, len(spec.Attributes)), stored: spec.Vectors}
	for j, a := range spec.Attributes {
		r.Attributes[j] = NewColumn(a.Type)
	}
	return r
}

// Len returns the number of rows.
func (r *Rows) Len() int { return len(r.IDs) }

// AppendFrom adds a row of a part of the same index that has its originals.
func (r *Rows) AppendFrom(p *Part, row int) error {
	for j, c := range r.Attributes {
		if err := c.AppendFrom(p.Attribute(j), row); err != nil {
			return err
		}
	}
	r.IDs, r.Orders = append(r.IDs, p.IDAt(row)), append(r.Orders, p.OrderAt(row))
	r.Vectors = append(r.Vectors, p.Stored(row)...)
	return nil
}

// AppendFloats adds values of vectors, each rounded to what is stored.
func (r *Rows) AppendFloats(level avx.Level, v []float32) {
	if r.stored == schemas.Float16 {
		avx.FloatToHalf(level, viewOf[uint16](r.extend(2*len(v))), v)
		return
	}
	r.Vectors = append(r.Vectors, BytesOf(v)...)
}

// AppendHalves adds values of vectors that are float16.
func (r *Rows) AppendHalves(level avx.Level, v []uint16) {
	if r.stored == schemas.Float16 {
		r.Vectors = append(r.Vectors, BytesOf(v)...)
		return
	}
	avx.HalfToFloat(level, viewOf[float32](r.extend(4*len(v))), v)
}

// extend adds n bytes of any value to the vectors, and returns them.
func (r *Rows) extend(n int) []byte {
	at := len(r.Vectors)
	r.Vectors = slices.Grow(r.Vectors, n)[:at+n]
	return r.Vectors[at:]
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
	case r.stored != spec.Vectors:
		return fmt.Errorf("rows: vectors of %s, allowed: %s", r.stored, spec.Vectors)
	case len(r.Vectors) != n*spec.VectorBytes():
		return fmt.Errorf("rows: %d bytes of vectors for %d ids, allowed: %d for each", len(r.Vectors), n, spec.VectorBytes())
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

// Check reports why a vector, of which these are the bytes that would be stored, cannot be: one of the Reason constants of package
// schemas and a sentence that says more. It returns empty strings for a vector that [Write] takes. In float16 it may be infinite or
// zero where it was not as it was given.
func Check(spec *schemas.Spec, level avx.Level, stored []byte) (reason, detail string) {
	if len(stored) != spec.VectorBytes() {
		return schemas.ReasonDims, fmt.Sprintf("vector has %d bytes, allowed: %d", len(stored), spec.VectorBytes())
	}
	var squares float64
	var values [256]float32
	width := spec.VectorBytes() / spec.Dim()
	for part := range slices.Chunk(stored, width*len(values)) {
		n := len(part) / width
		widen(spec.Vectors, level, values[:n], part)
		squares += float64(avx.SumSquares(level, values[:n]))
	}
	switch {
	case !(squares <= MaxLength*MaxLength):
		return schemas.ReasonNotFinite, fmt.Sprintf("vector has a value that is not finite as %s or a length over %g", spec.Vectors, MaxLength)
	case spec.Metric == schemas.Cosine && squares < MinLength*MinLength:
		return schemas.ReasonZero, fmt.Sprintf("vector has no direction, allowed: a length of at least %g", MinLength)
	}
	return "", ""
}

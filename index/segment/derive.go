package segment

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// MaxLists is the largest number of lists that parts are written or opened with. It bounds what opening allocates for
// the bounds of lists.
const MaxLists = 1 << 20

const (
	// deriveBatch is the number of rows that are encoded or compared at a time.
	deriveBatch = 1024
	// assignValues bounds the values of rows that are assigned at a time, unless those are fewer than deriveBatch: see
	// [deriver.assignBatch].
	assignValues = 1 << 20
)

// deriver turns stored vectors to what is searched and compared. It is not safe for concurrent use.
type deriver struct {
	spec     *schemas.Spec
	mdl      *model.Model // nil when there is none
	level    avx.Level
	scratch  *model.Scratch
	searched []float32 // of a batch of rows
	rotated  []float32 // the same by the model's axes, if it has any
}

func newDeriver(spec *schemas.Spec, mdl *model.Model, level avx.Level) (*deriver, error) {
	d := &deriver{spec: spec, mdl: mdl, level: level, searched: make([]float32, deriveBatch*spec.Dim())}
	if mdl == nil {
		return d, nil
	}
	if mdl.Dim() != spec.Dim() {
		return nil, fmt.Errorf("model %s is for vectors of %d values, allowed: %d", mdl.ID(), mdl.Dim(), spec.Dim())
	}
	if mdl.NList() > MaxLists {
		return nil, fmt.Errorf("model %s has %d lists, allowed: at most %d", mdl.ID(), mdl.NList(), MaxLists)
	}
	d.scratch = model.NewScratch()
	if mdl.Axes() != "" {
		d.rotated = make([]float32, len(d.searched))
	}
	return d, nil
}

// assignBatch makes room for as many of n rows as are assigned at a time, and returns how many: so many that tens of them look into
// the same group of lists, if there are many groups.
func (d *deriver) assignBatch(n int) int {
	rows := max(deriveBatch, min(n, coarse.BandRows, assignValues/d.spec.Dim()))
	if values := rows * d.spec.Dim(); len(d.searched) < values {
		d.searched = make([]float32, values)
		if d.rotated != nil {
			d.rotated = make([]float32, values)
		}
	}
	return rows
}

// coder is that of the codes that d derives.
func (d *deriver) coder() coder {
	if d.mdl == nil {
		return coder{}
	}
	return coder{model: d.mdl.ID(), m: d.mdl.M(), axes: d.mdl.Axes()}
}

func (d *deriver) codeBytes() int { return codeBytes(d.coder().m) }

// search writes the searched vector of a stored one.
func (d *deriver) search(dst []float32, stored []byte) error {
	widen(d.spec.Vectors, d.level, dst, stored)
	if d.spec.Metric == schemas.Cosine {
		if norm := mrl.Normalize(d.level, dst, dst); norm == 0 || math.IsInf(float64(norm), 0) || norm != norm {
			return fmt.Errorf("vector of length %g has no direction", norm)
		}
		return nil
	}
	if squares := float64(avx.SumSquares(d.level, dst)); math.IsInf(squares, 0) || squares != squares {
		return fmt.Errorf("vector is not finite or longer than %g", MaxLength)
	}
	return nil
}

// widen writes the values of a stored vector.
func widen(t schemas.VectorType, level avx.Level, dst []float32, stored []byte) {
	if t == schemas.Float16 {
		avx.HalfToFloat(level, dst, viewOf[uint16](stored))
		return
	}
	copy(dst, viewOf[float32](stored))
}

// vectors returns the first n rows of the batch as the model wants them. They are valid until the next call.
func (d *deriver) vectors(n int) []float32 {
	x := d.searched[:n*d.spec.Dim()]
	if d.rotated == nil {
		return x
	}
	d.mdl.Rotate(d.level, d.rotated, x)
	return d.rotated[:len(x)]
}

// row returns the place of row i of the batch.
func (d *deriver) row(i int) []float32 { return d.searched[i*d.spec.Dim():][:d.spec.Dim()] }

// viewOf reads bytes as numbers. They must be aligned to them, as all stored bytes here are.
func viewOf[T number](b []byte) []T {
	var t T
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(t)))
}

// compared is what queries compare of rows: in int8, and the lengths of prefixes.
type compared struct {
	int8s  []int8
	scales []float32
	norms  []float32
}

func newCompared(spec *schemas.Spec, n int) compared {
	return compared{make([]int8, n*spec.Dim()), make([]float32, n), make([]float32, n*len(spec.Ladder))}
}

// compare sets row i of c to what is compared of a vector as the model wants it.
func (d *deriver) compare(c *compared, i int, v []float32) {
	c.scales[i] = mrl.QuantizeRow(d.level, c.int8s[i*len(v):][:len(v)], v)
	mrl.PrefixNorms(d.level, v, d.spec.Ladder, c.norms[i*len(d.spec.Ladder):])
}

// compareAnew sets rows at[i] of c to what is compared of the stored vectors that stored returns for them.
func (d *deriver) compareAnew(c *compared, at []int32, stored func(row int) []byte) error {
	for some := range slices.Chunk(at, deriveBatch) {
		for i, row := range some {
			if err := d.search(d.row(i), stored(int(row))); err != nil {
				return fmt.Errorf("row %d: %w: %w", row, err, schemas.ErrCorrupt)
			}
		}
		x, dim := d.vectors(len(some)), d.spec.Dim()
		for i, row := range some {
			d.compare(c, int(row), x[i*dim:][:dim])
		}
	}
	return nil
}

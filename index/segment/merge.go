package segment

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// Input is a part to merge.
type Input struct {
	Part *Part
	Skip *roaring.Bitmap // rows that are not carried over, nil for none
}

// ChunkBodies are the files of a chunk of the lists [FirstList, EndList).
type ChunkBodies struct {
	FirstList, EndList, NumRows int
	Rows, Codes, Vectors        []byte
}

// Merge makes chunks of a model from the rows of parts, all of which must have vectors: one base. Chunks divide all lists
// in runs of consecutive ones, of together at most targetBytes as far as a list has no more; lists without rows go with
// those before them. They are emitted in the order of lists, each has rows, and the first error of emit ends the merge. A
// list has its rows in the order of inputs, then of rows. No rows make no chunk. Of a base of the same model all chunks
// must be inputs, one after the other, since their codes are of each other's rows.
//
// Ids, orders, attributes and originals are carried over as they are; so are int8 rows of an input of the same axes, and lists
// and codes of one of the same model, while others are derived anew from the originals. At any time Merge holds what is stored of the rows
// of one chunk, twice, and up to 24 bytes for each row of all inputs.
func Merge(ctx context.Context, spec *schemas.Spec, mdl *model.Model, level avx.Level, inputs []Input, targetBytes int64, emit func(ChunkBodies) error) error {
	if mdl == nil {
		return errors.New("merge: no model, but the rows of chunks have codes")
	}
	d, err := newDeriver(spec, mdl, level)
	if err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	m := &merger{deriver: d, sources: make([]source, len(inputs))}
	for i, input := range inputs {
		if m.sources[i], err = d.newSource(ctx, input); err != nil {
			return fmt.Errorf("merge: part %s: %w", input.Part.ID, err)
		}
	}
	if err := m.joinBases(); err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	sizes, err := m.number()
	if err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	written := 0
	for first := 0; written < m.rows; {
		group := nextGroup(sizes, first, targetBytes, m.rows-written)
		if err := m.emit(ctx, group, written, emit); err != nil {
			return fmt.Errorf("merge: lists [%d, %d): %w", group.first, group.end, err)
		}
		first = group.end
		written += group.rows
	}
	return nil
}

// notCarried is the number of a row that is left out.
const notCarried = -1

// source is an input by list.
type source struct {
	part    *Part
	skip    []uint64 // bit words of the rows to leave out
	foreign bool     // lists and codes are of another model or absent: they are derived anew

	lists, spills []int32 // of each row
	numbers       []int32 // of each row in the new base, or notCarried
	base          []int32 // the same of all rows of its base, of a chunk of the model

	order, starts           []int32 // rows by their first list, of a foreign source
	spillOrder, spillStarts []int32 // rows by their second list, of all but chunks of the model
}

// chunk reports whether the source is a chunk of the model, whose codes are those of its base.
func (s *source) chunk() bool { return !s.foreign && s.part.Blocks != nil }

func (d *deriver) newSource(ctx context.Context, input Input) (source, error) {
	p := input.Part
	s := source{part: p, foreign: p.Model != d.mdl.ID(), lists: p.lists, spills: p.spills, numbers: make([]int32, p.N)}
	switch {
	case !p.HasVectors():
		return s, errors.New("it was opened without vectors")
	case p.dim != d.spec.Dim() || p.vectorT != d.spec.Vectors || len(p.attributes) != len(d.spec.Attributes):
		return s, errors.New("it was opened by another spec")
	case !s.foreign && p.M != d.mdl.M():
		return s, fmt.Errorf("codes of %d sub-quantisers, allowed for this model: %d: %w", p.M, d.mdl.M(), schemas.ErrCorrupt)
	case !s.foreign && max(p.EndList, p.endSpill) > d.mdl.NList():
		return s, fmt.Errorf("lists up to %d, allowed for this model: below %d: %w", max(p.EndList, p.endSpill)-1, d.mdl.NList(), schemas.ErrCorrupt)
	}
	if input.Skip != nil {
		s.skip = input.Skip.ToDense()
	}
	for i := range s.numbers {
		s.numbers[i] = notCarried
	}
	if s.foreign {
		if err := d.assignAnew(ctx, &s); err != nil {
			return s, err
		}
		s.order, s.starts = coarse.SortByList(s.lists, d.mdl.NList())
	}
	if !s.chunk() {
		s.spillOrder, s.spillStarts = coarse.SortByList(s.spills, d.mdl.NList())
	}
	return s, nil
}

// assignAnew finds the lists of a foreign source.
func (d *deriver) assignAnew(ctx context.Context, s *source) error {
	p := s.part
	s.lists, s.spills = make([]int32, p.N), make([]int32, p.N)
	for start := 0; start < p.N; start += deriveBatch {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(deriveBatch, p.N-start)
		for i := range n {
			if err := d.search(d.row(i), p.stored(start+i)); err != nil {
				return fmt.Errorf("row %d: %w: %w", start+i, err, schemas.ErrCorrupt)
			}
		}
		d.mdl.Assign(d.level, d.vectors(n), n, s.lists[start:start+n], s.spills[start:start+n], d.scratch)
	}
	return nil
}

// rows calls visit for each row of a list that is to be carried over.
func (s *source) rows(list int, visit func(row int)) {
	if s.foreign {
		for _, row := range s.order[s.starts[list]:s.starts[list+1]] {
			s.visit(int(row), visit)
		}
		return
	}
	start, end := s.part.ListRange(list)
	for row := start; row < end; row++ {
		s.visit(row, visit)
	}
}

func (s *source) visit(row int, visit func(row int)) {
	if word := row / 64; word < len(s.skip) && s.skip[word]>>(row%64)&1 == 1 {
		return
	}
	visit(row)
}

// spilled returns the rows that are spilled to a list, of all but chunks of the model.
func (s *source) spilled(list int) []int32 {
	return s.spillOrder[s.spillStarts[list]:s.spillStarts[list+1]]
}

// size is what the rows of a list, or of several, will take.
type size struct {
	rows, codes int
	bytes       int64
}

// merger makes chunks of sources. It is not safe for concurrent use.
type merger struct {
	*deriver
	sources []source
	rows    int // of the new base
	codes   listCodes
}

// joinBases makes sure that the chunks of the model are whole bases, and lets the sources of each share its numbers.
func (m *merger) joinBases() error {
	inputs := 0
	for _, s := range m.sources {
		inputs += s.part.N
	}
	var base []int32
	next := 0
	for i := range m.sources {
		s := &m.sources[i]
		if !s.chunk() {
			continue
		}
		if s.part.BaseRows > inputs { // before that many are allocated
			return fmt.Errorf("chunk %s is of a base of %d rows, allowed: all its chunks, which are at most the %d rows here", s.part.ID, s.part.BaseRows, inputs)
		}
		if next == len(base) {
			base, next = make([]int32, s.part.BaseRows), 0
		}
		if s.part.FirstRow != next || s.part.BaseRows != len(base) {
			return fmt.Errorf("chunk %s begins at row %d of a base of %d, allowed: at row %d of %d", s.part.ID, s.part.FirstRow, s.part.BaseRows, next, len(base))
		}
		copy(base[next:], s.numbers)
		s.base, s.numbers = base, base[next:][:s.part.N]
		next += s.part.N
	}
	if next != len(base) {
		return fmt.Errorf("chunks with the first %d rows of a base, allowed: all %d", next, len(base))
	}
	return nil
}

// number numbers the rows of the new base, and returns what each list takes in the chunks' files.
func (m *merger) number() ([]size, error) {
	const identity = 4 + 8 + 8 + 4 + 8 + 4 + 4 + 4 // offset of the id, order, lists
	perRow := int64(identity + m.spec.Dim() + 4 + 4*len(m.spec.Ladder) + m.spec.VectorBytes())
	for _, a := range m.spec.Attributes {
		if fixed, ok := a.Type.ArrowType().(arrow.FixedWidthDataType); ok {
			perRow += int64(fixed.Bytes())
		} else {
			perRow += 4 // where a text ends
		}
	}
	sizes := make([]size, m.mdl.NList())
	for l := range sizes {
		for i := range m.sources {
			s := &m.sources[i]
			s.rows(l, func(row int) {
				s.numbers[row] = int32(m.rows)
				m.rows++
				sizes[l].rows++
				sizes[l].codes++
				sizes[l].bytes += perRow + s.part.textBytes(row)
				if second := s.spills[row]; second != coarse.NoSpill {
					sizes[second].codes++
				}
			})
		}
		if m.rows > math.MaxInt32 {
			return nil, fmt.Errorf("more than %d rows in one base", math.MaxInt32)
		}
	}
	perBlock := avx.BlockBytes(m.mdl.M()) + 4*avx.BlockRows + 8
	for l := range sizes {
		sizes[l].bytes += int64(blocksOf(sizes[l].codes) * perBlock)
	}
	return sizes, nil
}

// group is consecutive lists [first, end) that become a chunk.
type group struct {
	first, end int
	size
}

// nextGroup returns the lists from first until the next that has rows would go beyond the target. The last group, when no
// rows are left, ends with the last list, so that codes of spilled rows have a chunk whether their list has rows or not.
func nextGroup(sizes []size, first int, target int64, left int) group {
	g := group{first: first, end: first}
	for ; g.end < len(sizes); g.end++ {
		next := sizes[g.end]
		if g.rows > 0 && g.rows < left && next.rows > 0 && g.bytes+next.bytes > target {
			break
		}
		g.rows += next.rows
		g.bytes += next.bytes
	}
	return g
}

// emit makes the chunk of a group, whose first row has number first.
func (m *merger) emit(ctx context.Context, g group, first int, emit func(ChunkBodies) error) error {
	t, err := m.gather(ctx, g)
	if err != nil {
		return err
	}
	c := ChunkBodies{FirstList: g.first, EndList: g.end, NumRows: g.rows}
	if c.Rows, err = t.rows(m.mdl.Axes()); err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	blocks, err := m.code(ctx, g)
	if err != nil {
		return err
	}
	if c.Codes, err = blocks.file(m.coder(), first, m.rows); err != nil {
		return fmt.Errorf("codes: %w", err)
	}
	if c.Vectors, err = t.originals(); err != nil {
		return fmt.Errorf("vectors: %w", err)
	}
	return emit(c)
}

// gather copies the rows of a group out of the sources.
func (m *merger) gather(ctx context.Context, g group) (*table, error) {
	t := &table{spec: m.spec, ids: make([]string, 0, g.rows), orders: make([]Order, 0, g.rows)}
	t.lists, t.spills = make([]int32, 0, g.rows), make([]int32, 0, g.rows)
	t.grow(g.rows, 0)
	columns := NewRows(m.spec).Attributes
	var turned []int32 // rows whose input has other axes
	var failed error
	for l := g.first; l < g.end; l++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for i := range m.sources {
			s := &m.sources[i]
			s.rows(l, func(row int) {
				if s.part.Axes != m.mdl.Axes() {
					turned = append(turned, int32(len(t.ids)))
				}
				if err := t.carry(s, columns, row); err != nil && failed == nil {
					failed = fmt.Errorf("part %s: row %d: %w", s.part.ID, row, err)
				}
			})
		}
		if failed != nil {
			return nil, failed
		}
	}
	if err := m.compareAnew(&t.compared, turned, func(row int) []byte { return t.vectors[row*m.spec.VectorBytes():][:m.spec.VectorBytes()] }); err != nil {
		return nil, err
	}
	var err error
	t.attributes, err = columnArrays(m.spec, columns, nil)
	return t, err
}

// carry appends a row of a source.
func (t *table) carry(s *source, columns []*Column, row int) error {
	p, to := s.part, len(t.ids)
	t.ids = append(t.ids, p.IDAt(row))
	t.orders = append(t.orders, p.OrderAt(row))
	t.lists = append(t.lists, s.lists[row])
	t.spills = append(t.spills, s.spills[row])
	for j, column := range columns {
		if err := column.AppendFrom(p.Attribute(j), row); err != nil {
			return fmt.Errorf("attribute %q: %w: %w", t.spec.Attributes[j].Name, err, schemas.ErrCorrupt)
		}
	}
	levels := len(t.spec.Ladder)
	copy(t.int8s[to*p.dim:][:p.dim], p.Int8[row*p.dim:])
	t.scales[to] = p.Scales[row]
	copy(t.norms[to*levels:][:levels], p.Norms[row*levels:])
	copy(t.vectors[to*p.width:][:p.width], p.stored(row))
	return nil
}

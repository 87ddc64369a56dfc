package segment

import (
	"context"
	"errors"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

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

// Merge makes chunks of a model from the rows of parts, all of which must have vectors. Chunks are runs of consecutive
// lists of together at most targetBytes, or of one list that has more; they are emitted in the order of lists, each
// list that has rows is in exactly one, and the first error of emit ends the merge. A list has its rows in the order
// of inputs, then of rows. No rows make no chunk.
//
// Ids, orders, attributes, originals and int8 rows are carried over as they are; so are list and code of an input of
// the same model, while others are derived anew from the originals. At any time Merge holds what is stored of the rows
// of one chunk, twice, and up to 8 bytes for each row of all inputs.
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
	sizes := m.listSizes()
	for first := 0; first < len(sizes); {
		group := nextGroup(sizes, first, targetBytes)
		if group.rows == 0 {
			break
		}
		if err := m.emit(ctx, group, emit); err != nil {
			return fmt.Errorf("merge: lists [%d, %d): %w", group.first, group.end, err)
		}
		first = group.end
	}
	return nil
}

// source is an input by list.
type source struct {
	part    *Part
	skip    []uint64 // bit words of the rows to leave out
	foreign bool     // list and code are of another model or absent: they are derived anew

	// Of a foreign source: the rows in the order of their lists, and where each list begins.
	order  []int32
	starts []int32
}

func (d *deriver) newSource(ctx context.Context, input Input) (source, error) {
	p := input.Part
	s := source{part: p, foreign: p.Model != d.mdl.ID()}
	switch {
	case !p.HasVectors():
		return s, errors.New("it was opened without vectors")
	case p.dim != d.spec.Dim() || p.vectorT != d.spec.Vectors || len(p.attributes) != len(d.spec.Attributes):
		return s, errors.New("it was opened by another spec")
	case !s.foreign && p.M != d.mdl.M():
		return s, fmt.Errorf("codes of %d sub-quantisers, allowed for this model: %d: %w", p.M, d.mdl.M(), schemas.ErrCorrupt)
	case !s.foreign && p.EndList > d.mdl.NList():
		return s, fmt.Errorf("lists up to %d, allowed for this model: below %d: %w", p.EndList-1, d.mdl.NList(), schemas.ErrCorrupt)
	}
	if input.Skip != nil {
		s.skip = input.Skip.ToDense()
	}
	if !s.foreign {
		return s, nil
	}
	list := make([]int32, p.N)
	for start := 0; start < p.N; start += deriveBatch {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		n := min(deriveBatch, p.N-start)
		for i := range n {
			if err := d.search(d.row(i), p.stored(start+i)); err != nil {
				return s, fmt.Errorf("row %d: %w: %w", start+i, err, schemas.ErrCorrupt)
			}
		}
		d.mdl.Assign(d.level, d.searched[:n*p.dim], n, list[start:start+n], d.scratch)
	}
	s.order, s.starts = coarse.SortByList(list, d.mdl.NList())
	return s, nil
}

// rows calls visit for each row of a list that is to be carried over.
func (s *source) rows(list int, visit func(row int)) {
	if s.foreign {
		if list+1 < len(s.starts) {
			for _, row := range s.order[s.starts[list]:s.starts[list+1]] {
				s.visit(int(row), visit)
			}
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

// size is what the rows of a list, or of several, will take.
type size struct {
	rows  int
	bytes int64
}

// merger makes chunks of sources. It is not safe for concurrent use.
type merger struct {
	*deriver
	sources []source
}

// listSizes returns the size of each list in the chunks' files.
func (m *merger) listSizes() []size {
	const identity = 4 + 8 + 8 + 4 + 8 + 4 + 4 // offset of the id, order, list
	perRow := int64(identity + m.spec.Dim() + 4 + 4*len(m.spec.Ladder) + storedBytes(m.spec))
	for _, a := range m.spec.Attributes {
		switch a.Type {
		case schemas.AttributeBool:
			perRow++
		case schemas.AttributeString:
			perRow += 4
		default:
			perRow += 8
		}
	}
	sizes := make([]size, m.mdl.NList())
	for i := range m.sources {
		s := &m.sources[i]
		for l := range sizes {
			s.rows(l, func(row int) {
				sizes[l].rows++
				sizes[l].bytes += perRow + s.part.textBytes(row)
			})
		}
	}
	for l := range sizes {
		sizes[l].bytes += int64(blocksOf(sizes[l].rows) * avx.BlockBytes(m.mdl.M()))
	}
	return sizes
}

// group is consecutive lists [first, end) that become a chunk.
type group struct {
	first, end int
	size
}

// nextGroup returns the lists from the first that has rows, at or after from, until the next would go beyond the target.
// It has no rows when there are no more.
func nextGroup(sizes []size, from int, target int64) group {
	for from < len(sizes) && sizes[from].rows == 0 {
		from++
	}
	g := group{first: from, end: from}
	for l := from; l < len(sizes); l++ {
		if sizes[l].rows == 0 {
			continue
		}
		if g.rows > 0 && g.bytes+sizes[l].bytes > target {
			break
		}
		g.end = l + 1
		g.rows += sizes[l].rows
		g.bytes += sizes[l].bytes
	}
	return g
}

// emit makes the chunk of a group.
func (m *merger) emit(ctx context.Context, g group, emit func(ChunkBodies) error) error {
	t, err := m.gather(ctx, g)
	if err != nil {
		return err
	}
	c := ChunkBodies{FirstList: g.first, EndList: g.end, NumRows: g.rows}
	if c.Rows, err = t.rows(); err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	if c.Codes, err = t.blocks(m.coder()); err != nil {
		return fmt.Errorf("codes: %w", err)
	}
	if c.Vectors, err = t.originals(); err != nil {
		return fmt.Errorf("vectors: %w", err)
	}
	return emit(c)
}

// gather copies the rows of a group out of the sources.
func (m *merger) gather(ctx context.Context, g group) (*table, error) {
	t := &table{spec: m.spec, ids: make([]string, 0, g.rows), orders: make([]Order, 0, g.rows), lists: make([]int32, 0, g.rows)}
	t.grow(g.rows, m.codeBytes())
	columns := NewRows(m.spec).Attributes
	c := &carrier{deriver: m.deriver, table: t, columns: columns}
	for l := g.first; l < g.end; l++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for i := range m.sources {
			s := &m.sources[i]
			s.rows(l, func(row int) { c.carry(s, l, row) })
		}
	}
	c.encode()
	if c.err != nil {
		return nil, c.err
	}
	var err error
	t.attributes, err = columnArrays(m.spec, columns, nil)
	return t, err
}

// carrier appends rows of sources to a table. The first error stays.
type carrier struct {
	*deriver
	table   *table
	columns []*Column
	pending []int // rows of the table whose code has yet to be derived
	err     error
}

// carry appends a row of list l.
func (c *carrier) carry(s *source, l, row int) {
	if c.err != nil {
		return
	}
	t, p := c.table, s.part
	to := len(t.ids)
	t.ids = append(t.ids, p.IDAt(row))
	t.orders = append(t.orders, p.OrderAt(row))
	t.lists = append(t.lists, int32(l))
	for j, column := range c.columns {
		if err := column.AppendFrom(p.Attribute(j), row); err != nil {
			c.err = fmt.Errorf("part %s: row %d: attribute %q: %w: %w", p.ID, row, c.spec.Attributes[j].Name, err, schemas.ErrCorrupt)
			return
		}
	}
	levels := len(c.spec.Ladder)
	copy(t.int8s[to*p.dim:][:p.dim], p.Int8[row*p.dim:])
	t.scales[to] = p.Scales[row]
	copy(t.norms[to*levels:][:levels], p.Norms[row*levels:])
	copy(t.vectors[to*p.width:][:p.width], p.stored(row))
	if !s.foreign {
		width := c.codeBytes()
		p.readCode(t.codes[to*width:][:width], l, row)
		return
	}
	if c.pending = append(c.pending, to); len(c.pending) == deriveBatch {
		c.encode()
	}
}

// encode derives the codes of the rows that are pending.
func (c *carrier) encode() {
	t, n := c.table, len(c.pending)
	width, stored := c.codeBytes(), storedBytes(c.spec)
	list, codes := make([]int32, n), make([]byte, n*width)
	for i, row := range c.pending {
		list[i] = t.lists[row]
		if err := c.search(c.row(i), t.vectors[row*stored:][:stored]); err != nil && c.err == nil {
			c.err = fmt.Errorf("id %q: %w: %w", t.ids[row], err, schemas.ErrCorrupt)
		}
	}
	c.mdl.Encode(c.level, c.searched[:n*c.spec.Dim()], n, list, codes, c.scratch)
	for i, row := range c.pending {
		copy(t.codes[row*width:][:width], codes[i*width:])
	}
	c.pending = c.pending[:0]
}

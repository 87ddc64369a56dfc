package segment

import (
	"context"
	"fmt"
	"slices"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// listCodes is the codes of one list, in no order.
type listCodes struct {
	numbers []int32 // rows of the base
	codes   []byte  // row-major
	places  []int32
	sorted  []byte
}

// add makes room for the code of a row.
func (c *listCodes) add(number int32, width int) []byte {
	c.numbers = append(c.numbers, number)
	c.codes = slices.Grow(c.codes, width)[:len(c.codes)+width]
	return c.codes[len(c.codes)-width:]
}

// sort puts the codes in the order of rows.
func (c *listCodes) sort(width int) {
	c.places = c.places[:0]
	for i := range c.numbers {
		c.places = append(c.places, int32(i))
	}
	slices.SortFunc(c.places, func(a, b int32) int { return int(c.numbers[a]) - int(c.numbers[b]) })
	c.sorted = c.sorted[:0]
	for _, at := range c.places {
		c.sorted = append(c.sorted, c.codes[int(at)*width:][:width]...)
	}
	slices.Sort(c.numbers)
}

// code makes the codes of the lists of a group, of whatever rows are in them or are spilled to them.
func (w *maker) code(ctx context.Context, g group) (*blockTable, error) {
	t, c, width := &blockTable{}, &w.codes, w.codeBytes()
	for l := g.first; l < g.end; l++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.numbers, c.codes, w.underived = c.numbers[:0], c.codes[:0], w.underived[:0]
		w.copyCodes(l)
		if err := w.encodeAnew(l); err != nil {
			return nil, err
		}
		c.sort(width)
		t.add(l, c.numbers, c.sorted, w.mdl.M())
	}
	return t, nil
}

// copyCodes copies the codes of a list, and notes the rows of which there are none by this model.
func (w *maker) copyCodes(l int) {
	c, width := &w.codes, w.codeBytes()
	for i := range w.merger.sources {
		s := &w.merger.sources[i]
		if s.chunk() {
			start, end := s.part.CodeRange(l)
			for at := start; at < end; at++ {
				if number := s.base[s.part.CodeRows[at]]; number != notCarried {
					s.part.ReadCode(c.add(number, width), at)
				}
			}
			continue
		}
		if s.foreign {
			continue
		}
		start, end := s.part.ListRange(l)
		for row := start; row < end; row++ {
			if s.carries(row) {
				copy(c.add(s.numbers[row], width), s.part.Code(row))
			}
		}
	}
	for _, at := range w.merger.anew.of(l) {
		if s, row := w.merger.sourceOf(at); s.carries(row) {
			w.underived = append(w.underived, at)
		}
	}
	for _, at := range w.merger.spilled.of(l) {
		switch s, row := w.merger.sourceOf(at); {
		case !s.carries(row):
		case s.foreign:
			w.underived = append(w.underived, at)
		default:
			copy(c.add(s.numbers[row], width), s.part.SpillCode(row))
		}
	}
}

// encodeAnew derives the codes of the noted rows in a list.
func (w *maker) encodeAnew(l int) error {
	c, width := &w.codes, w.codeBytes()
	for i := range w.list {
		w.list[i] = int32(l)
	}
	for some := range slices.Chunk(w.underived, deriveBatch) {
		from := len(c.codes)
		for i, at := range some {
			s, row := w.merger.sourceOf(at)
			if err := w.search(w.row(i), s.part.Stored(row)); err != nil {
				return fmt.Errorf("part %s: id %q: %w: %w", s.part.ID, s.part.IDAt(row), err, schemas.ErrCorrupt)
			}
			c.add(s.numbers[row], width)
		}
		w.mdl.Encode(w.level, w.vectors(len(some)), len(some), w.scratch, model.Coding{Lists: w.list[:len(some)], Codes: c.codes[from:]})
	}
	return nil
}

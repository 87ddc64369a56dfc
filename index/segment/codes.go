package segment

import (
	"context"
	"fmt"
	"slices"

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
func (m *merger) code(ctx context.Context, g group) (*blockTable, error) {
	t, c, width := &blockTable{}, &m.codes, m.codeBytes()
	for l := g.first; l < g.end; l++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.numbers, c.codes, m.underived = c.numbers[:0], c.codes[:0], m.underived[:0]
		m.copyCodes(l)
		if err := m.encodeAnew(l); err != nil {
			return nil, err
		}
		c.sort(width)
		t.add(l, c.numbers, c.sorted, m.mdl.M())
	}
	return t, nil
}

// copyCodes copies the codes of a list, and notes the rows of which there are none by this model.
func (m *merger) copyCodes(l int) {
	c, width := &m.codes, m.codeBytes()
	for i := range m.sources {
		s := &m.sources[i]
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
	for _, at := range m.anew.of(l) {
		if s, row := m.sourceOf(at); s.carries(row) {
			m.underived = append(m.underived, at)
		}
	}
	for _, at := range m.spilled.of(l) {
		switch s, row := m.sourceOf(at); {
		case !s.carries(row):
		case s.foreign:
			m.underived = append(m.underived, at)
		default:
			copy(c.add(s.numbers[row], width), s.part.SpillCode(row))
		}
	}
}

// encodeAnew derives the codes of the noted rows in a list.
func (m *merger) encodeAnew(l int) error {
	c, width := &m.codes, m.codeBytes()
	for i := range m.list {
		m.list[i] = int32(l)
	}
	for some := range slices.Chunk(m.underived, deriveBatch) {
		from := len(c.codes)
		for i, at := range some {
			s, row := m.sourceOf(at)
			if err := m.search(m.row(i), s.part.stored(row)); err != nil {
				return fmt.Errorf("part %s: id %q: %w: %w", s.part.ID, s.part.IDAt(row), err, schemas.ErrCorrupt)
			}
			c.add(s.numbers[row], width)
		}
		m.mdl.Encode(m.level, m.vectors(len(some)), len(some), m.list[:len(some)], c.codes[from:], m.scratch)
	}
	return nil
}

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
		c.numbers, c.codes = c.numbers[:0], c.codes[:0]
		for i := range m.sources {
			s := &m.sources[i]
			switch {
			case s.foreign:
				if err := m.encodeAnew(s, l); err != nil {
					return nil, fmt.Errorf("part %s: %w", s.part.ID, err)
				}
			case s.chunk():
				start, end := s.part.CodeRange(l)
				for at := start; at < end; at++ {
					if number := s.base[s.part.CodeRows[at]]; number != notCarried {
						s.part.readCode(c.add(number, width), at)
					}
				}
			default:
				s.rows(l, func(row int) { copy(c.add(s.numbers[row], width), s.part.Code(row)) })
				for _, row := range s.spilled(l) {
					if number := s.numbers[row]; number != notCarried {
						copy(c.add(number, width), s.part.SpillCode(int(row)))
					}
				}
			}
		}
		c.sort(width)
		t.add(l, c.numbers, c.sorted, m.mdl.M())
	}
	return t, nil
}

// encodeAnew derives the codes of the rows of a foreign source in a list.
func (m *merger) encodeAnew(s *source, l int) error {
	var rows []int32
	s.rows(l, func(row int) { rows = append(rows, int32(row)) })
	for _, row := range s.spilled(l) {
		if s.numbers[row] != notCarried {
			rows = append(rows, row)
		}
	}
	c, width := &m.codes, m.codeBytes()
	lists := make([]int32, deriveBatch)
	for i := range lists {
		lists[i] = int32(l)
	}
	for some := range slices.Chunk(rows, deriveBatch) {
		from := len(c.codes)
		for i, row := range some {
			if err := m.search(m.row(i), s.part.stored(int(row))); err != nil {
				return fmt.Errorf("id %q: %w: %w", s.part.IDAt(int(row)), err, schemas.ErrCorrupt)
			}
			c.add(s.numbers[row], width)
		}
		m.mdl.Encode(m.level, m.vectors(len(some)), len(some), lists[:len(some)], c.codes[from:], m.scratch)
	}
	return nil
}

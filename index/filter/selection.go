package filter

import (
	"context"
	"math/bits"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
)

// Selection is the live rows of one snapshot that meet a filter. It is immutable and safe for concurrent use, and refers
// to no memory of the snapshot.
type Selection struct {
	generation int64
	parts      []selected
	base       snapshot.BitSet // rows of all chunks, as codes name them
	count      int64
	baseCount  int64
	lists      []int32         // of each list of the model, how many rows of the base that have it as their first; nil without a model
	fresh      snapshot.BitSet // lists of the model that a row of a segment has as its first; nil without a model
}

// selected is what is selected of a part: rows of the base if it is a chunk, rows of its own if not.
type selected struct {
	first, n int
	rows     snapshot.BitSet // nil for a chunk
}

// Select returns the live rows of snap that meet f. Match says which rows of a part do, as [Filter.Match].
func Select(ctx context.Context, snap *snapshot.Snapshot, match func(p *segment.Part) snapshot.BitSet) (*Selection, error) {
	s := &Selection{generation: snap.Manifest().Generation, parts: make([]selected, len(snap.Parts())), base: newBits(snap.BaseRows())}
	chunks := len(snap.Manifest().Chunks)
	for i, p := range snap.Parts() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rows := newBits(p.N)
		copy(rows, match(p))
		if dead := snap.Dead(i); dead != nil {
			for w := range rows {
				rows[w] &^= dead[w]
			}
		}
		count := int64(rows.Count(0, p.N))
		s.count += count
		if s.parts[i] = (selected{n: p.N, rows: rows}); i < chunks {
			s.parts[i] = selected{first: p.FirstRow, n: p.N}
			merge(s.base, p.FirstRow, rows)
			s.baseCount += count
		}
	}
	s.countLists(snap)
	return s, nil
}

// merge adds rows to the base, of which the first one is row at.
func merge(base snapshot.BitSet, at int, rows snapshot.BitSet) {
	shift := at % 64
	for i, w := range rows {
		if w == 0 {
			continue
		}
		base[at/64+i] |= w << shift
		if over := w >> (64 - shift); over != 0 { // a shift by 64 gives 0
			base[at/64+i+1] |= over
		}
	}
}

func (s *Selection) countLists(snap *snapshot.Snapshot) {
	if snap.Model() == nil {
		return
	}
	s.lists = make([]int32, snap.Model().NList())
	for _, p := range snap.Parts()[:len(snap.Manifest().Chunks)] {
		for list := p.FirstList; list < p.EndList; list++ {
			start, end := p.ListRange(list)
			s.lists[list] += int32(s.base.Count(p.FirstRow+start, p.FirstRow+end))
		}
	}
	s.fresh = newBits(snap.Model().NList())
	for i, p := range snap.Parts() {
		if p.Model != snap.Model().ID() || s.parts[i].rows == nil {
			continue
		}
		for w, word := range s.parts[i].rows {
			for ; word != 0; word &= word - 1 {
				list := p.ListAt(w*64 + bits.TrailingZeros64(word))
				s.fresh[list/64] |= 1 << (list % 64)
			}
		}
	}
}

// Of reports whether s is of a snapshot.
func (s *Selection) Of(snap *snapshot.Snapshot) bool {
	return s.generation == snap.Manifest().Generation && len(s.parts) == len(snap.Parts()) && len(s.base) == (snap.BaseRows()+63)/64
}

// Count is how many rows are selected.
func (s *Selection) Count() int64 { return s.count }

// BaseCount is how many of them are of the base.
func (s *Selection) BaseCount() int64 { return s.baseCount }

// InList is how many rows of the base are selected that have a list as their first.
func (s *Selection) InList(list int32) int { return int(s.lists[list]) }

// HasFresh reports whether a row of a segment is selected that has a list as its first.
func (s *Selection) HasFresh(list int32) bool { return s.fresh.Has(int(list)) }

// HasBase reports whether a row of the base is selected.
func (s *Selection) HasBase(row int) bool { return s.base.Has(row) }

// Has reports whether a row of a part is selected.
func (s *Selection) Has(part, row int) bool {
	if p := &s.parts[part]; p.rows == nil {
		return s.base.Has(p.first + row)
	}
	return s.parts[part].rows.Has(row)
}

// AppendRows appends the selected rows [start, end) of a part to dst, in order.
func (s *Selection) AppendRows(dst []uint32, part, start, end int) []uint32 {
	p := &s.parts[part]
	rows, first := p.rows, 0
	if rows == nil {
		rows, first = s.base, p.first
	}
	for at := first + start; at < first+end; {
		word := rows[at/64] >> (at % 64)
		if word == 0 {
			at += 64 - at%64
			continue
		}
		if at += bits.TrailingZeros64(word); at < first+end {
			dst = append(dst, uint32(at-first))
		}
		at++
	}
	return dst
}

// Bytes is about what s takes in memory.
func (s *Selection) Bytes() int64 {
	n := 8*int64(len(s.base)) + 4*int64(len(s.lists)) + 8*int64(len(s.fresh))
	for _, p := range s.parts {
		n += 48 + 8*int64(len(p.rows))
	}
	return n
}

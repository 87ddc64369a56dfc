package search

import (
	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
)

// A search that finds a page missing waits for the disk, and for the next one after that: of an index that is larger than memory a query
// waits a hundred times. What it will read is known a step before, so who has set Searcher.Ahead is told of all of it at once: each of the
// functions aheadOf is about one step, and does nothing else.

// aheadRows is how many rows of an exact search are told of at a time. A multiple of scoreRows.
const aheadRows = 16 * scoreRows

// aheadOfVisits tells of the codes of the lists that were chosen.
func (s *Searcher) aheadOfVisits() {
	if s.Ahead == nil {
		return
	}
	for _, v := range s.visits {
		p, first, end := s.parts[v.Part], int(v.Start)/avx.BlockRows, (int(v.End)+avx.BlockRows-1)/avx.BlockRows
		s.note(p.Blocks[first*avx.BlockBytes(p.M) : end*avx.BlockBytes(p.M)])
	}
	s.tell()
}

// aheadOfNumbers tells of the numbers of the rows of candidates.
func (s *Searcher) aheadOfNumbers(c []candidate) {
	if s.Ahead == nil {
		return
	}
	for _, x := range c {
		s.note(segment.BytesOf(s.parts[x.part].CodeRows[x.code : x.code+1]))
	}
	s.tell()
}

// aheadOfNoted tells of the rows that are noted.
func (s *Searcher) aheadOfNoted() {
	if s.Ahead == nil {
		return
	}
	for part, rows := range s.noted {
		s.noteRows(part, rows)
	}
	s.tell()
}

// aheadOfRows tells of some rows of a part.
func (s *Searcher) aheadOfRows(part int, at []uint32) {
	if s.Ahead != nil {
		s.noteRows(part, at)
		s.tell()
	}
}

// aheadOfBlock tells of the rows of a part from start on, if all are compared and start begins a block.
func (s *Searcher) aheadOfBlock(p *segment.Part, start int) {
	if s.Ahead != nil && s.among == nil && start%aheadRows == 0 {
		dim := s.snap.Spec().Dim()
		s.note(segment.BytesOf(p.Int8[start*dim : min(start+aheadRows, p.N)*dim]))
		s.tell()
	}
}

// aheadOfOriginals tells of the originals at hand of the contenders.
func (s *Searcher) aheadOfOriginals() {
	if s.Ahead == nil {
		return
	}
	for _, c := range s.maybe {
		if p := s.parts[c.part]; p.HasVectors() {
			s.note(p.Stored(c.row))
		}
	}
	s.tell()
}

// noteRows notes int8 rows of a part.
func (s *Searcher) noteRows(part int, at []uint32) {
	p, dim, levels := s.parts[part], s.snap.Spec().Dim(), len(s.snap.Spec().Ladder)
	for _, row := range at {
		i := int(row)
		s.note(segment.BytesOf(p.Int8[i*dim:][:len(s.quant)]))
		s.note(segment.BytesOf(p.Scales[i : i+1]))
		if s.norm >= 0 || s.originals {
			s.note(segment.BytesOf(p.Norms[i*levels:][:levels]))
		}
	}
}

// note adds bytes to what is told next.
func (s *Searcher) note(b []byte) { s.soon = append(s.soon, b) }

// tell has what was noted fetched.
func (s *Searcher) tell() {
	s.Ahead(s.soon)
	clear(s.soon) // a Searcher at rest refers to no snapshot
	s.soon = s.soon[:0]
}

package search

import (
	"unsafe"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/snapshot"
)

// A search that finds a page missing waits for the disk, and for the next one after that: of an index that is larger than memory a query
// waits a hundred times. What it will read is known a step before, so who has set Searcher.Ahead is told of all of it at once.

// note adds values that will be read soon to what is told next.
func note[T any](s *Searcher, values []T) {
	if len(values) > 0 {
		bytes := len(values) * int(unsafe.Sizeof(values[0]))
		s.soon = append(s.soon, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), bytes))
	}
}

// tell has what was noted fetched.
func (s *Searcher) tell() {
	s.Ahead(s.soon)
	clear(s.soon) // a Searcher at rest refers to no snapshot
	s.soon = s.soon[:0]
}

// noteRun notes the codes or rows of a run.
func (s *Searcher) noteRun(r snapshot.Run) {
	p, dim := s.parts[r.Part], s.snap.Spec().Dim()
	switch r.Kind {
	case snapshot.Codes:
		first, end := int(r.Start)/avx.BlockRows, (int(r.End)+avx.BlockRows-1)/avx.BlockRows
		note(s, p.Blocks[first*avx.BlockBytes(p.M):end*avx.BlockBytes(p.M)])
	case snapshot.Rows:
		note(s, p.Int8[int(r.Start)*dim:int(r.End)*dim])
	}
}

// noteRows notes int8 rows of a part.
func (s *Searcher) noteRows(part int, at []uint32) {
	p, dim, levels := s.parts[part], s.snap.Spec().Dim(), len(s.snap.Spec().Ladder)
	for _, row := range at {
		i := int(row)
		note(s, p.Int8[i*dim:][:len(s.quant)])
		note(s, p.Scales[i:i+1])
		if s.norm >= 0 || s.originals {
			note(s, p.Norms[i*levels:][:levels])
		}
	}
}

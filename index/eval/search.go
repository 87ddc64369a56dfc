package eval

import (
	"math"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/opq"
)

const (
	k = 10 // neighbours that are asked for

	// scanRows is how many rows one call of a kernel scores, so that scores stay in cache and the floor rises soon.
	scanRows = 32 * avx.BlockRows
)

// searcher answers queries on one goroutine. It allocates nothing once it has seen the largest query.
type searcher struct {
	index     *index
	level     avx.Level
	nprobe    int
	scanned   int // rows, of all queries
	completed int // of those, in bounded scans: scored whole

	coarse, scan []float32 // room for views of the query
	lists        best
	rows, next   best // of the step before, and of the one at hand
	scores       []float32
	prefix       []float32 // scores of a bounded scan
	hits         [scanRows]uint32
	lut          opq.LUT
	scratch      opq.Scratch
}

func (b *Bench) newSearcher(x *index, nprobe int) *searcher {
	s := &searcher{index: x, level: b.o.Level, nprobe: 1, scores: make([]float32, scanRows), scan: make([]float32, x.system.Scan.Dims)}
	if x.centroids != nil {
		s.nprobe = min(nprobe, x.centroids.N())
		s.coarse = make([]float32, x.system.Coarse.Dims)
		s.scores = make([]float32, max(scanRows, x.centroids.N()))
	}
	return s
}

// search returns the k best rows of a query, best first, fewer if the lists probed hold fewer. They are valid until the
// next search.
func (s *searcher) search(q int) []scored {
	x := s.index
	s.probe(q)
	s.rows.reset(x.depth())
	query := x.scan.cut(s.level, x.data.Queries.Columns[x.system.Scan.Column].Row(q), s.scan)
	if x.quantizer != nil {
		x.quantizer.LUT(s.level, query, x.system.Scan.Dims, &s.lut, &s.scratch)
	}
	for _, l := range s.lists.items {
		start, end := int(x.starts[l.item]), int(x.starts[l.item+1])
		s.scanned += end - start
		switch {
		case x.quantizer != nil:
			s.scanCodes(query, int(l.item), start, end)
		case x.tails != nil:
			s.scanBounded(query, start, end)
		default:
			s.scanFloats(query, start, end)
		}
	}
	return s.rerank(q)
}

// depth is how many rows the scan keeps.
func (x *index) depth() int {
	if len(x.system.Rerank) > 0 {
		return x.system.Rerank[0].Keep
	}
	return k
}

// probe chooses lists.
func (s *searcher) probe(q int) {
	x := s.index
	s.lists.reset(s.nprobe)
	if x.centroids == nil {
		s.lists.push(0, 0)
		return
	}
	query := x.coarse.cut(s.level, x.data.Queries.Columns[x.system.Coarse.Column].Row(q), s.coarse)
	avx.Scores(s.level, x.centroids, query, s.scores)
	s.lists.pushAll(s.scores[:x.centroids.N()], 0)
}

func (s *searcher) scanFloats(query []float32, start, end int) {
	x := s.index
	for ; start < end; start += scanRows {
		scores := s.scores[:min(scanRows, end-start)]
		avx.DotRows(s.level, query, x.floats[start*x.stride:], x.stride, scores)
		if x.inverse != nil {
			for i, inverse := range x.inverse[start:][:len(scores)] {
				scores[i] *= inverse
			}
		}
		floor := s.rows.floor()
		for i, score := range scores {
			if score > floor {
				s.rows.push(score, int32(x.place(start+i)))
				floor = s.rows.floor()
			}
		}
	}
}

func (s *searcher) scanCodes(query []float32, list, start, end int) {
	x := s.index
	base := s.lut.Bias
	if x.means != nil {
		base += avx.Dot(s.level, query, x.means[list*len(query):][:len(query)])
	}
	stride := avx.BlockBytes(x.quantizer.M())
	codes := x.blocks[int(x.at[list])*stride:]
	for ; start < end; start += scanRows {
		n := min(scanRows, end-start)
		blocks := (n + avx.BlockRows - 1) / avx.BlockRows
		least, ok := s.threshold(base)
		if !ok {
			return
		}
		found := avx.ScanPQ4(s.level, codes, blocks, stride, x.quantizer.M(), s.lut.Table, n, least, nil, s.hits[:])
		for _, h := range s.hits[:found] {
			if score := base + s.lut.Scale*float32(h>>16); score > s.rows.floor() {
				s.rows.push(score, int32(x.place(start+int(h&0xffff))))
			}
		}
		codes = codes[blocks*stride:]
	}
}

// threshold is the least sum of look-ups that can reach the floor; false if none can.
func (s *searcher) threshold(base float32) (uint16, bool) {
	floor := s.rows.floor()
	if math.IsInf(float64(floor), -1) || floor < base || s.lut.Scale == 0 {
		return 0, true
	}
	least := (floor - base) / s.lut.Scale * (1 - 1e-5) // rounding must not lose a row; what is below is dropped by push
	return uint16(min(least, math.MaxUint16)), least <= math.MaxUint16
}

// rerank puts the rows of the scan in order by one stage after the other.
func (s *searcher) rerank(q int) []scored {
	x := s.index
	query := x.data.Queries.Columns[x.system.Scan.Column].Row(q)
	for i, stage := range x.system.Rerank {
		keep := k
		if i+1 < len(x.system.Rerank) {
			keep = x.system.Rerank[i+1].Keep
		}
		s.next.reset(keep)
		for _, r := range s.rows.items {
			score := avx.Dot(s.level, query[:stage.Dims], x.wide[int(r.item)*x.wideDims:][:stage.Dims])
			if norms := x.norms[i]; norms != nil {
				score *= norms[r.item]
			}
			s.next.push(score, r.item)
		}
		s.rows, s.next = s.next, s.rows
	}
	found := s.rows.sorted()
	return found[:min(k, len(found))]
}

package eval

import (
	"math"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

// boundSlack is what rounding may take from a bound, as a share of the lengths that it is of.
const boundSlack = 1e-5

// tails returns the length of what follows the first d values of each of n rows.
func tails(level avx.Level, rows []float32, n, stride, d int) []float32 {
	out, unit := make([]float32, n), make([]float32, stride-d)
	for i := range out {
		out[i] = mrl.Normalize(level, unit, rows[i*stride:][d:stride])
	}
	return out
}

// scanBounded finds what scanFloats finds. By Cauchy and Schwarz what follows a prefix adds to a score no more than the product of its
// lengths in query and row, so only rows that may be among the k best by that are scored whole. Those that are best by their prefixes
// come first, that the floor is high for the others.
func (s *searcher) scanBounded(query []float32, start, end int) {
	x, d := s.index, s.index.system.Scan.Bound
	s.prefix = s.prefix[:0]
	for from := start; from < end; from += scanRows {
		scores := s.scores[:min(scanRows, end-from)]
		avx.DotRows(s.level, query[:d], x.floats[from*x.stride:], x.stride, scores)
		s.prefix = append(s.prefix, scores...)
	}
	tail := float32(math.Sqrt(float64(avx.SumSquares(s.level, query[d:]))))
	whole := func(i int) {
		s.completed++
		s.rows.push(avx.Dot(s.level, query, x.floats[(start+i)*x.stride:][:x.stride]), int32(x.place(start+i)))
	}
	s.next.reset(s.rows.k)
	s.next.pushAll(s.prefix, 0)
	first := s.next.sorted()
	for _, r := range first {
		whole(int(r.item))
		s.prefix[r.item] = float32(math.Inf(-1)) // done
	}
	for i, score := range s.prefix {
		if most := tail * x.tails[start+i]; score > float32(math.Inf(-1)) && score+most*(1+boundSlack) >= s.rows.floor() {
			whole(i)
		}
	}
}

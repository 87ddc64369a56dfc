package eval

import (
	"math"

	"github.com/adastream/adastream/avx"
)

// boundSlack is what rounding may take from the score of a row, as a share of the query's length: rows are of unit length.
const boundSlack = 1e-5

// tails returns the length of what follows the first d values of each of n rows.
func tails(level avx.Level, rows []float32, n, stride, d int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = length(level, rows[i*stride:][d:stride])
	}
	return out
}

func length(level avx.Level, v []float32) float32 {
	return float32(math.Sqrt(float64(avx.SumSquares(level, v))))
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
	tail, slack := length(s.level, query[d:]), boundSlack*length(s.level, query)
	whole := func(i int) {
		s.completed++
		s.rows.push(avx.Dot(s.level, query, x.floats[(start+i)*x.stride:][:x.stride]), int32(x.place(start+i)))
	}
	s.next.reset(s.rows.k)
	s.next.pushAll(s.prefix, 0)
	for _, r := range s.next.items {
		whole(int(r.item))
		s.prefix[r.item] = float32(math.Inf(-1)) // done
	}
	for i, score := range s.prefix {
		if score > float32(math.Inf(-1)) && score+tail*x.tails[start+i]+slack >= s.rows.floor() {
			whole(i)
		}
	}
}

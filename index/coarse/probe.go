package coarse

import (
	"math"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

const (
	// funnelDims is how many dimensions of all centroids a query reads: two cache lines as int8.
	funnelDims = 128
	// The shortlist has about shortlistFactor lists for each that is probed, and shortlistMore. On the benchmark's corpus
	// a probe of 256 of 8,224 lists loses 0.2 % of the true neighbours by it. (Opening the best third of the groups first
	// would halve the work of the step, and lose 0.9 %.)
	shortlistFactor = 2
	shortlistMore   = 128
	sampleEvery     = 16 // of the lists tell where the shortlist ends
)

// Probe is a list to search, and what its centroid contributes to the score of each of its rows.
type Probe struct {
	List int32
	Base float32 // <query, centroid>
}

// funnel is the centroids as a query sees them: centroid j is about step[j] * row j.
type funnel struct {
	rows   []int8        // [nlist][dim]
	step   []float32     // [nlist]
	weight []float32     // [nlist] times the inner product of prefixes of rows is the order of probing
	short  *avx.PanelsI8 // the first funnelDims of each row, or all that decide
}

func (q *Quantizer) newFunnel() funnel {
	f := funnel{rows: make([]int8, len(q.centroids)), step: make([]float32, q.nlist), weight: make([]float32, q.nlist)}
	for j := range q.nlist {
		c := q.Centroid(j)
		f.step[j] = mrl.QuantizeRow(avx.Generic, f.rows[j*q.dim:][:q.dim], c)
		f.weight[j] = f.step[j]
		if q.metric == spherical {
			if norm := math.Sqrt(float64(avx.SumSquares(avx.Generic, c[:q.dims]))); norm > 0 {
				f.weight[j] /= float32(norm)
			}
		}
	}
	f.short = avx.PackI8(f.rows, q.nlist, min(funnelDims, q.dims), q.dim)
	return f
}

// Probe returns the nprobe lists, or all if there are fewer, whose prefixes have the largest inner product with the
// query's, as far as the funnel finds them: the best eighth first, that the scores to beat are high when the others are
// scanned, and apart from that in no order. The query is scale times dim values of int16 whose inner product
// with int8 values fits an int32. All levels of kernels return the same. The result is valid until the next Probe with s.
func (q *Quantizer) Probe(level avx.Level, query []int16, scale float64, nprobe int, s *Scratch) []Probe {
	nprobe = max(0, min(nprobe, q.nlist))
	f := &q.funnel
	at := q.shortlist(level, query, nprobe, s)
	dots := grow(s.dots, len(at))
	avx.DotI8At(level, query[:q.dims], f.rows, q.dim, at, dots)
	score := grow(s.score, len(at))
	for i, list := range at {
		score[i] = float32(dots[i]) * f.weight[list]
	}
	s.keys = grow(s.keys, len(at))
	order := best(score, nprobe, s.keys)
	partition(order, nprobe/8)
	s.chosen, s.base = grow(s.chosen, nprobe), grow(s.base, nprobe)
	for i, key := range order {
		s.chosen[i], s.base[i] = at[keyItem(key)], dots[keyItem(key)]
	}
	if q.dims < q.dim {
		avx.DotI8At(level, query[:q.dim], f.rows, q.dim, s.chosen, s.base)
	}
	s.probes = grow(s.probes, nprobe)
	for i, list := range s.chosen {
		s.probes[i] = Probe{List: int32(list), Base: float32(float64(s.base[i]) * scale * float64(f.step[list]))}
	}
	return s.probes
}

// shortlist returns the lists that are worth a look at all dimensions.
func (q *Quantizer) shortlist(level avx.Level, query []int16, nprobe int, s *Scratch) []uint32 {
	f := &q.funnel
	s.dots, s.score, s.at = grow(s.dots, q.nlist), grow(s.score, q.nlist), grow(s.at, q.nlist)
	if n := shortlistFactor*nprobe + shortlistMore; 2*n <= q.nlist {
		s.query = grow(s.query, f.short.Dim())
		avx.QuantizeQueryI8(s.query, query[:min(funnelDims, q.dims)])
		avx.ScoresI8(level, f.short, s.query, s.dots)
		if found := avx.Above(level, s.dots, f.weight, f.quantile(n, s), s.at); found >= nprobe {
			return s.at[:found]
		}
	}
	for list := range s.at {
		s.at[list] = uint32(list)
	}
	return s.at
}

// quantile returns what about n of the lists' scores reach, by a sample of them that is spread over all groups.
func (f *funnel) quantile(n int, s *Scratch) float32 {
	s.keys = grow(s.keys, (len(s.dots)+sampleEvery-1)/sampleEvery)
	for i := range s.keys {
		list := i * sampleEvery
		s.keys[i] = makeKey(float32(s.dots[list])*f.weight[list], list)
	}
	k := max(1, n/sampleEvery)
	partition(s.keys, k)
	list := keyItem(slices.Max(s.keys[:k]))
	return float32(s.dots[list]) * f.weight[list]
}

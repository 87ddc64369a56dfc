package coarse

import (
	"math"
	"slices"
	"sync"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

const (
	// funnelDims is how many dimensions of all centroids a query reads, of 4 bits each: of 8,000 lists they take half a second-level
	// cache of a mebibyte. See docs/adr/0009.
	funnelDims = 128
	// The shortlist has about shortlistFactor lists for each that is probed, and shortlistMore: then probes lose nothing by it
	// where no more dimensions decide.
	shortlistFactor = 2
	shortlistMore   = 64
	sampleEvery     = 16 // of the lists tell where the shortlist ends
	// bestShare of the lists that are probed come first, and a margin counts from the worst of them. From the very best it
	// would say little: that score has an accident of its own.
	bestShare = 8
)

// Probe is a list to search, and what its centroid contributes to the score of each of its rows.
type Probe struct {
	List int32
	Base float32 // <query, centroid>
}

// funnel is the centroids as a query sees them: centroid j is about step[j] * row j.
type funnel struct {
	rows      []int8        // [nlist][dim]
	step      []float32     // [nlist]
	short     *avx.PanelsI4 // the first funnelDims of each centroid, or all that decide
	shortStep []float32     // [nlist], as step
	weights   *weights
	narrow    *sync.Map // width to *weights, for queries that are narrower than what decides
}

// weights make the order of probing of inner products of prefixes: with rows, and with short prefixes.
type weights struct{ rows, short []float32 } // [nlist]

func (q *Quantizer) newFunnel() funnel {
	f := funnel{rows: make([]int8, len(q.centroids)), step: make([]float32, q.nlist), shortStep: make([]float32, q.nlist), narrow: &sync.Map{}}
	dims := min(funnelDims, q.dims)
	short := make([]int8, q.nlist*dims)
	for j := range q.nlist {
		f.step[j] = mrl.QuantizeRow(avx.Generic, f.rows[j*q.dim:][:q.dim], q.Centroid(j))
		f.shortStep[j] = mrl.QuantizeTo(avx.Generic, avx.MaxI4, short[j*dims:][:dims], q.Centroid(j)[:dims])
	}
	f.short = avx.PackI4(short, q.nlist, dims)
	f.weights = q.newWeights(&f, q.dims)
	return f
}

// newWeights returns those of prefixes of so many dimensions.
func (q *Quantizer) newWeights(f *funnel, dims int) *weights {
	w := &weights{slices.Clone(f.step), slices.Clone(f.shortStep)}
	if q.metric != spherical {
		return w
	}
	for j := range q.nlist {
		if norm := math.Sqrt(float64(avx.SumSquares(avx.Generic, q.Centroid(j)[:dims]))); norm > 0 {
			w.rows[j] /= float32(norm)
			w.short[j] /= float32(norm)
		}
	}
	return w
}

// weightsOf returns the weights for queries of a width: made once for each that is narrower than what decides, of which
// there are as many as levels of a ladder.
func (q *Quantizer) weightsOf(width int) *weights {
	if width >= q.dims {
		return q.funnel.weights
	}
	if w, ok := q.funnel.narrow.Load(width); ok {
		return w.(*weights)
	}
	w, _ := q.funnel.narrow.LoadOrStore(width, q.newWeights(&q.funnel, width))
	return w.(*weights)
}

// Probe returns the nprobe lists, or all if there are fewer, whose prefixes have the largest inner product with the
// query's, as far as the funnel finds them: the best eighth first, that the scores to beat are high when the others are
// scanned, and apart from that in no order. The query is scale times dim values of int16 whose inner product
// with int8 values fits an int32. It may be a prefix, the shorter the cheaper: then all that is compared, and Base too, is
// prefixes of its width.
//
// With a positive margin the lists whose score is more than that below the worst of the best eighth are left out, where
// a score is the inner product with the query of unit length: an easy query probes few lists, and one with many
// lists alike probes all. All levels of kernels return the same. The result is valid until the next Probe with s.
//
// Looked is nil, or what [Quantizer.Look] returned for the query.
func (q *Quantizer) Probe(level avx.Level, query []int16, scale float64, nprobe int, margin float64, looked []int32, s *Scratch) []Probe {
	nprobe = max(0, min(nprobe, q.nlist))
	order := q.nearest(level, query, nprobe, looked, s)
	partition(order, nprobe/bestShare)
	if margin > 0 && nprobe >= bestShare {
		order = within(order, nprobe/bestShare, q.margin(query, margin))
	}
	return q.probes(level, query, scale, order, s)
}

// ProbeInOrder returns the more best lists, or all if there are fewer, best first, and how many of them Probe would return.
func (q *Quantizer) ProbeInOrder(level avx.Level, query []int16, scale float64, nprobe int, margin float64, more int, looked []int32, s *Scratch) (lists []Probe, n int) {
	n = max(0, min(nprobe, q.nlist))
	order := q.nearest(level, query, min(max(n, more), q.nlist), looked, s)
	slices.Sort(order)
	if b := n / bestShare; margin > 0 && b > 0 {
		last := lastWithin(order[b-1], q.margin(query, margin))
		for n > b && order[n-1] > last {
			n--
		}
	}
	return q.probes(level, query, scale, order, s), n
}

// nearest returns keys of the n lists that score best by the dimensions that decide, in no order. The item of a key is a place in
// s.at, where the lists are, and in s.dots.
func (q *Quantizer) nearest(level avx.Level, query []int16, n int, looked []int32, s *Scratch) []uint64 {
	weights := q.weightsOf(len(query))
	decide := query[:min(q.dims, len(query))]
	s.at = q.shortlist(level, decide, weights.short, n, looked, s)
	s.dots = grow(s.dots, len(s.at))
	avx.DotI8At(level, decide, q.funnel.rows, q.dim, s.at, s.dots)
	score := grow(s.score, len(s.at))
	for i, list := range s.at {
		score[i] = float32(s.dots[i]) * weights.rows[list]
	}
	s.keys = grow(s.keys, len(s.at))
	return best(score, n, s.keys)
}

// probes returns the lists of keys that nearest returned.
func (q *Quantizer) probes(level avx.Level, query []int16, scale float64, order []uint64, s *Scratch) []Probe {
	s.chosen, s.base = grow(s.chosen, len(order)), grow(s.base, len(order))
	for i, key := range order {
		s.chosen[i], s.base[i] = s.at[keyItem(key)], s.dots[keyItem(key)]
	}
	if q.dims < len(query) {
		avx.DotI8At(level, query, q.funnel.rows, q.dim, s.chosen, s.base)
	}
	s.probes = grow(s.probes, len(order))
	for i, list := range s.chosen {
		s.probes[i] = Probe{List: int32(list), Base: float32(float64(s.base[i]) * scale * float64(q.funnel.step[list]))}
	}
	return s.probes
}

// margin is one of scores of this query.
func (q *Quantizer) margin(query []int16, margin float64) float32 {
	return float32(margin * length(query[:min(q.dims, len(query))]))
}

// lastWithin is the key of the lowest score that is no more than margin below that of a key.
func lastWithin(key uint64, margin float32) uint64 {
	return makeKey(keyScore(key)-margin, math.MaxUint32)
}

// within drops of the keys after the best, which come first, those whose score is more than margin below theirs.
func within(order []uint64, best int, margin float32) []uint64 {
	last := lastWithin(slices.Max(order[:best]), margin)
	kept := best
	for _, key := range order[best:] {
		if key <= last {
			order[kept] = key
			kept++
		}
	}
	return order[:kept]
}

func length(query []int16) float64 {
	var squares float64
	for _, x := range query {
		squares += float64(x) * float64(x)
	}
	return math.Sqrt(squares)
}

// Look returns the inner products of the short prefixes of some queries and of all centroids, [len(queries)][nlist]: what
// Probe begins with, which takes less time for several queries at once, some 8. It returns nil if Probe of so many
// lists looks at all centroids in full. The result is valid until the next Look with s.
func (q *Quantizer) Look(level avx.Level, queries [][]int16, nprobe int, s *Scratch) []int32 {
	if !q.worthALook(nprobe) {
		return nil
	}
	s.looked = grow(s.looked, len(queries)*q.nlist)
	return q.look(level, queries, s.looked, s)
}

// worthALook reports whether the shortlist for so many lists is short.
func (q *Quantizer) worthALook(nprobe int) bool {
	return 2*(shortlistFactor*nprobe+shortlistMore) <= q.nlist
}

func (q *Quantizer) look(level avx.Level, queries [][]int16, dots []int32, s *Scratch) []int32 {
	short := q.funnel.short
	s.query = grow(s.query, len(queries)*short.Dim())
	for i, query := range queries {
		avx.QuantizeQueryI4(s.query[i*short.Dim():][:short.Dim()], query[:min(funnelDims, q.dims, len(query))])
	}
	avx.ScoresI4(level, short, s.query, len(queries), dots)
	return dots
}

// shortlist returns the lists that are worth a look at all dimensions of the query, which has none but those that decide.
func (q *Quantizer) shortlist(level avx.Level, query []int16, weight []float32, nprobe int, looked []int32, s *Scratch) []uint32 {
	s.score, s.dots, s.at = grow(s.score, q.nlist), grow(s.dots, q.nlist), grow(s.at, q.nlist)
	if q.worthALook(nprobe) {
		if looked == nil {
			s.one[0] = query
			looked = q.look(level, s.one[:], s.dots, s)
		}
		threshold := quantile(looked, weight, shortlistFactor*nprobe+shortlistMore, s)
		if found := avx.Above(level, looked, weight, threshold, s.at); found >= nprobe {
			return s.at[:found]
		}
	}
	for list := range s.at {
		s.at[list] = uint32(list)
	}
	return s.at
}

// quantile returns what about n of the lists' scores reach, by a sample of them that is spread over all groups.
func quantile(dots []int32, weight []float32, n int, s *Scratch) float32 {
	s.keys = grow(s.keys, (len(dots)+sampleEvery-1)/sampleEvery)
	for i := range s.keys {
		list := i * sampleEvery
		s.keys[i] = makeKey(float32(dots[list])*weight[list], list)
	}
	k := max(1, n/sampleEvery)
	partition(s.keys, k)
	list := keyItem(slices.Max(s.keys[:k]))
	return float32(dots[list]) * weight[list]
}

package search

import (
	"math"
	"slices"

	"github.com/adastream/adastream/avx"
)

// candidate is a code of a chunk, as segment.Part.CodeRows has it.
type candidate struct{ part, code int32 }

// reservoir keeps at least the best n candidates of a stream at constant cost each: candidates pile up to four times n,
// then the worst are thrown away, and the worst that was kept becomes the floor for what follows. The stream meets
// the best lists first, so the floor is high early and few candidates arrive at all.
type reservoir struct {
	n      int
	floor  float32     // candidates below it cannot be among the best n
	scores []float32   // approximate ones of the candidates' rows
	list   []candidate // of the same length
}

const reservoirFactor = 4

// reset makes it ready for a stream of at most so many candidates.
func (r *reservoir) reset(n, most int) {
	r.n, r.floor = n, float32(math.Inf(-1))
	if room := min(reservoirFactor*n, most); cap(r.list) < room {
		r.scores, r.list = make([]float32, 0, room), make([]candidate, 0, room)
	}
	r.scores, r.list = r.scores[:0], r.list[:0]
}

// take adds the hits of a scan, see [avx.ScanPQ4], of codes from first on: a hit scores offset + scale*sum.
func (r *reservoir) take(p *pruner, hits []uint32, part, first int32, offset, scale float32) {
	for len(hits) > 0 {
		k := len(r.list)
		some := hits[:min(len(hits), reservoirFactor*r.n-k)]
		hits = hits[len(some):]
		scores := slices.Grow(r.scores, len(some))[:k+len(some)]
		list := slices.Grow(r.list, len(some))[:k+len(some)]
		for _, h := range some { // no branch depends on a score: mispredicted, they would take most of the time
			score := offset + scale*float32(h>>16)
			scores[k], list[k] = score, candidate{part, first + int32(h&0xffff)}
			step := 0
			if score >= r.floor {
				step = 1
			}
			k += step
		}
		r.scores, r.list = scores[:k], list[:k]
		r.full(p)
	}
}

// add adds a candidate whose score reaches the floor.
func (r *reservoir) add(p *pruner, score float32, c candidate) {
	r.scores, r.list = append(r.scores, score), append(r.list, c)
	r.full(p)
}

// full makes room if there are too many.
func (r *reservoir) full(p *pruner) {
	if len(r.list) >= reservoirFactor*r.n {
		p.prune(r)
	}
}

// best returns the best n candidates, or all of them, in no order.
func (r *reservoir) best(p *pruner) []candidate {
	if len(r.list) > 2*r.n {
		p.prune(r)
	}
	if len(r.list) > r.n {
		selectBest(r.scores, r.list, r.n)
		return r.list[:r.n]
	}
	return r.list
}

// pruner is what reservoirs throw candidates away with: one for all of a searcher.
type pruner struct {
	level avx.Level
	at    []uint32 // scratch
}

// prune throws candidates away, but none of the best n, so that no more than twice n are left, and raises the floor to what these
// reach. That is read off a sample: first the score that the right number should reach, then lower ones.
func (p *pruner) prune(r *reservoir) {
	total := len(r.scores)
	p.at = resize(p.at, total)
	var sample [avx.TopLanes]float32
	for i := range sample {
		sample[i] = r.scores[i*total/avx.TopLanes]
	}
	for rank := avx.TopLanes*r.n/total + 1; rank <= avx.TopLanes; rank++ {
		least := avx.Kth(p.level, &sample, rank)
		kept := avx.AboveFloats(p.level, r.scores, least, p.at)
		if kept > 2*r.n { // many score alike
			break
		}
		if kept >= r.n {
			for i, at := range p.at[:kept] {
				r.scores[i], r.list[i] = r.scores[at], r.list[at]
			}
			r.scores, r.list, r.floor = r.scores[:kept], r.list[:kept], least
			return
		}
	}
	selectBest(r.scores, r.list, r.n)
	r.scores, r.list = r.scores[:r.n], r.list[:r.n]
	r.floor = slices.Min(r.scores)
}

// threshold returns the smallest sum of a code that reaches the floor in a list where a code scores offset+scale*sum.
// It is not ok if no sum does. At the floor itself rounding decides.
func (r *reservoir) threshold(offset, scale float32) (sum uint16, ok bool) {
	missing := r.floor - offset
	if !(missing > 0) {
		return 0, true
	}
	need := math.Ceil(float64(missing) / float64(scale))
	if !(need <= math.MaxUint16) {
		return 0, false
	}
	return uint16(need), true
}

// selectBest moves the n best candidates to the front: quickselect with the median of three as pivot. Each round parts
// off what is better than the pivot, and what equals it if the n-th best is not among those, so that equal scores cost
// no more than distinct ones.
func selectBest(scores []float32, list []candidate, n int) {
	for len(scores) > 1 {
		pivot := median(scores[0], scores[len(scores)/2], scores[len(scores)-1])
		better := partition(scores, list, pivot)
		if n < better {
			scores, list = scores[:better], list[:better]
			continue
		}
		equal := better
		for i := better; i < len(scores) && n > equal; i++ {
			if scores[i] == pivot {
				scores[i], scores[equal] = scores[equal], scores[i]
				list[i], list[equal] = list[equal], list[i]
				equal++
			}
		}
		if n <= equal || equal == 0 { // no better and no equal ones: the pivot is not a number
			return
		}
		scores, list, n = scores[equal:], list[equal:], n-equal
	}
}

// partition moves the candidates better than pivot to the front and returns their number. It is Lomuto's scheme, since
// that needs no branch that depends on a score.
func partition(scores []float32, list []candidate, pivot float32) int {
	better := 0
	list = list[:len(scores)]
	for i, s := range scores {
		c := list[i]
		scores[i], list[i] = scores[better], list[better]
		scores[better], list[better] = s, c
		step := 0
		if s > pivot {
			step = 1
		}
		better += step
	}
	return better
}

func median(a, b, c float32) float32 {
	return max(min(a, b), min(max(a, b), c))
}

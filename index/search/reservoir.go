package search

import "math"

// candidate is a code of a chunk, as segment.Part.CodeRows has it, and the approximate score of its row.
type candidate struct {
	score      float32
	part, code int32
}

// reservoir keeps at least the best n candidates of a stream at constant cost each: candidates pile up to four times n,
// then all but the best n are thrown away and the worst of those becomes the floor for what follows. The stream meets
// the best lists first, so the floor is high early and few candidates arrive at all.
type reservoir struct {
	n     int
	floor float32 // candidates below it cannot be among the best n
	list  []candidate
}

const reservoirFactor = 4

// reset makes it ready for a stream of at most so many candidates.
func (r *reservoir) reset(n, most int) {
	r.n, r.floor = n, float32(math.Inf(-1))
	if room := min(reservoirFactor*n, most); cap(r.list) < room {
		r.list = make([]candidate, 0, room)
	}
	r.list = r.list[:0]
}

func (r *reservoir) add(c candidate) {
	r.list = append(r.list, c)
	if len(r.list) >= reservoirFactor*r.n {
		r.list = r.best()
		r.floor = r.list[0].score
		for _, c := range r.list {
			r.floor = min(r.floor, c.score)
		}
	}
}

// best returns the best n candidates, or all of them, in no order.
func (r *reservoir) best() []candidate {
	if len(r.list) <= r.n {
		return r.list
	}
	selectBest(r.list, r.n)
	return r.list[:r.n]
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
func selectBest(c []candidate, n int) {
	for len(c) > 1 {
		pivot := median(c[0].score, c[len(c)/2].score, c[len(c)-1].score)
		better := partition(c, pivot)
		if n < better {
			c = c[:better]
			continue
		}
		equal := better
		for i := better; i < len(c) && n > equal; i++ {
			if c[i].score == pivot {
				c[i], c[equal] = c[equal], c[i]
				equal++
			}
		}
		if n <= equal || equal == 0 { // no better and no equal ones: the pivot is not a number
			return
		}
		c, n = c[equal:], n-equal
	}
}

// partition moves the candidates better than pivot to the front and returns their number. It is Lomuto's scheme, since
// that needs no branch that depends on a score: mispredicted, those would take most of the time.
func partition(c []candidate, pivot float32) int {
	better := 0
	for i := range c {
		x := c[i]
		c[i] = c[better]
		c[better] = x
		step := 0
		if x.score > pivot {
			step = 1
		}
		better += step
	}
	return better
}

func median(a, b, c float32) float32 {
	return max(min(a, b), min(max(a, b), c))
}

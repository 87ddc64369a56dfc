package recall

import "math"

// Tally sums the recalls of queries. The zero value has none.
type Tally struct {
	queries, squaredWeights float64 // sums of weights, and of their squares
	trials                  float64 // neighbours
	sum, squares            float64 // of recalls, and of their squares
}

// Add counts a query. One without neighbours does not count.
func (t *Tally) Add(f Found) {
	if f.Of == 0 {
		return
	}
	x := float64(f.Found) / float64(f.Of)
	t.queries++
	t.squaredWeights++
	t.trials += float64(f.Of)
	t.sum += x
	t.squares += x * x
}

// join adds what another has.
func (t *Tally) join(other Tally) {
	t.queries += other.queries
	t.squaredWeights += other.squaredWeights
	t.trials += other.trials
	t.sum += other.sum
	t.squares += other.squares
}

// Fade makes everything that was added weigh so much of what it did: less than 1, for a mean of late queries mostly.
func (t *Tally) Fade(keep float64) {
	t.queries *= keep
	t.squaredWeights *= keep * keep
	t.trials *= keep
	t.sum *= keep
	t.squares *= keep
}

// Effective is how many queries of equal weight would tell as much: the number of those that were added, if nothing has
// faded.
func (t *Tally) Effective() float64 {
	if t.queries == 0 {
		return 0
	}
	return t.queries * t.queries / t.squaredWeights
}

// Mean is rounded to a billionth, lest a sum of tenths miss a target by its last bit.
func (t *Tally) Mean() float64 { return math.Round(t.sum/t.queries*1e9) / 1e9 }

// Z95 is the 97.5 % quantile of the normal distribution.
const Z95 = 1.959964

// Quantile returns the z of an interval whose two ends are each beyond the truth with a probability of tail at most: 0.025
// for Z95. Tail is between 0 and 1/2.
func Quantile(tail float64) float64 { return math.Sqrt2 * math.Erfinv(1-2*tail) }

// Interval is the Wilson interval over the effective number of trials: between the number of queries (each finds all
// or nothing) and the number of neighbours (each is found or not for itself).
func (t *Tally) Interval(z float64) (low, high float64) {
	n, p := t.Effective(), t.Mean()
	trials := t.trials / t.queries * n
	if variance := (t.squares/t.queries - p*p) / max(n-1, 1); variance > 0 && p > 0 { // of the mean, which may be rounded to 0
		trials = min(trials, p*(1-p)/variance)
	}
	w := 1 + z*z/trials
	middle := (p + z*z/(2*trials)) / w
	half := z / w * math.Sqrt(p*(1-p)/trials+z*z/(4*trials*trials))
	return max(0, middle-half), min(1, middle+half)
}

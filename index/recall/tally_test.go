package recall

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adastream/adastream/index/search"
)

// The interval has the true recall in it about 95 times of 100, also near 1 and when the neighbours of a query are
// found or missed together. Where that happens to few queries their number decides, and a sample says little about it.
func TestInterval_coverage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		recall   float64
		together float64 // share of queries that find all or nothing
		queries  int
		least    float64 // coverage
	}{
		{0.5, 0, 50, 0.93}, {0.8, 0, 200, 0.93}, {0.95, 0, 200, 0.93}, {0.99, 0, 200, 0.93}, {0.999, 0, 200, 0.93},
		{0.8, 0.5, 200, 0.93}, {0.9, 1, 100, 0.92}, {0.95, 0.3, 200, 0.9}, {0.98, 0.2, 300, 0.87},
	} {
		covered, width := 0, 0.0
		const trials = 2000
		for range trials {
			var y Tally
			for range tt.queries {
				found := 0
				if r.Float64() < tt.together {
					if r.Float64() < tt.recall {
						found = k
					}
				} else {
					for range k {
						if r.Float64() < tt.recall {
							found++
						}
					}
				}
				y.Add(Found{found, k})
			}
			low, high := y.Interval(Z95)
			if low <= tt.recall && tt.recall <= high {
				covered++
			}
			width += (high - low) / trials
		}
		if share := float64(covered) / trials; share < tt.least || share > 0.995 {
			t.Errorf("%+v: %.3f of the intervals cover, mean width %.4f", tt, share, width)
		}
	}
}

func TestInterval_limits(t *testing.T) {
	for _, tt := range []struct {
		found, queries int
		low, high      float64
	}{
		{k, 100, 0.99617, 1}, // all of 1000 trials: Wilson's 1/(1+z²/1000)
		{0, 100, 0, 0.00383},
		{k, 1, 0.72247, 1},
		{k / 2, 100, 0.46907, 0.53093}, // no variance between queries: 1000 trials
	} {
		var y Tally
		for range tt.queries {
			y.Add(Found{tt.found, k})
		}
		low, high := y.Interval(Z95)
		if math.Abs(low-tt.low) > 1e-5 || math.Abs(high-tt.high) > 1e-5 {
			t.Errorf("%d of %d for each of %d queries: [%.5f, %.5f], want [%.5f, %.5f]", tt.found, k, tt.queries, low, high, tt.low, tt.high)
		}
	}
}

// What was found long ago and has all but faded does not make the interval no number: answers that find nothing any more are what it is for.
func TestInterval_ofNothingButWhatFaded(t *testing.T) {
	for _, found := range []Found{{1, k}, {k - 1, k}, {k, k}} {
		var y Tally
		y.Add(found)
		for range 4000 {
			y.Fade(0.99)
			y.Add(Found{0, k})
			if low, high := y.Interval(Z95); !(low >= 0 && low <= high && high <= 1) {
				t.Fatalf("after %v: a mean of %v in [%v, %v]", found, y.Mean(), low, high)
			}
		}
	}
}

func TestQuantile(t *testing.T) {
	for tail, want := range map[float64]float64{0.025: Z95, 0.5: 0, 0.00125: 3.0233} {
		if got := Quantile(tail); math.Abs(got-want) > 1e-4 {
			t.Errorf("tail %v: %v, want %v", tail, got, want)
		}
	}
}

// A tally that fades forgets: its mean goes where late queries are, and its interval is as wide as so many of them make it.
func TestFade(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	add := func(y *Tally, recall float64) {
		found := 0
		for range k {
			if r.Float64() < recall {
				found++
			}
		}
		y.Add(Found{found, k})
	}
	const keep = 0.99
	covered, width := 0, 0.0
	const trials = 400
	for range trials {
		var y Tally
		for range 1000 {
			y.Fade(keep)
			add(&y, 0.5)
		}
		for range 1500 {
			y.Fade(keep)
			add(&y, 0.9)
		}
		if n := y.Effective(); math.Abs(n-(1+keep)/(1-keep)) > 1 {
			t.Fatalf("worth %v queries, want about 199", n)
		}
		low, high := y.Interval(Z95)
		if low <= 0.9 && 0.9 <= high {
			covered++
		}
		width += (high - low) / trials
	}
	var plain Tally
	for range 199 {
		add(&plain, 0.9)
	}
	low, high := plain.Interval(Z95)
	if share := float64(covered) / trials; share < 0.9 || math.Abs(width/(high-low)-1) > 0.2 {
		t.Errorf("%.3f of the intervals cover, mean width %.4f, of 199 queries %.4f", share, width, high-low)
	}
}

// What was found for each query has the mean that is measured, and the same goes for parts of the queries.
func TestEach(t *testing.T) {
	_, snap := build(t, rows, true)
	s := sample(t, snap)
	s.Truth[1] = nil
	plan := search.Plan{NProbe: 2, ScanDims: dim, Refine: 20}
	each, err := Each(context.Background(), level(t), 2, snap, s, k, plan)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Measure(context.Background(), level(t), snap, s, k, plan)
	if err != nil {
		t.Fatal(err)
	}
	var y Tally
	for _, f := range each {
		y.Add(f)
	}
	low, high := y.Interval(Z95)
	if len(each) != s.N || each[1] != (Found{}) || y.Effective() != float64(s.N-1) || y.Mean() != want.Recall || low != want.Low || high != want.High {
		t.Errorf("%d queries, mean %v in [%v, %v], want %+v", len(each), y.Mean(), low, high, want)
	}
}

package build

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/schemas"
)

// sampled is what a plan finds for so many queries when its recall is p: of a share of queries all neighbours or none,
// as happens when they are in a list that is probed or not, of the others each by itself.
func sampled(rng *rand.Rand, queries int, p, together float64) recall.Tally {
	var t recall.Tally
	for range queries {
		found := 0
		if rng.Float64() < together {
			if rng.Float64() < p {
				found = gateK
			}
		} else {
			for range gateK {
				if rng.Float64() < p {
					found++
				}
			}
		}
		t.Add(recall.Found{Found: found, Of: gateK})
	}
	return t
}

func pointOf(t recall.Tally) []schemas.PlanPoint {
	e := estimate(&t)
	return []schemas.PlanPoint{{NProbe: 4, Refine: 100, Recall: e.Recall, Low: e.Low, High: e.High}}
}

func TestVerdict(t *testing.T) {
	point := func(recall float64) []schemas.PlanPoint {
		return []schemas.PlanPoint{{NProbe: 4, Refine: 100, Recall: recall, Low: recall - 0.01, High: recall + 0.01}}
	}
	recent := func(recall float64) *schemas.Estimate {
		return &schemas.Estimate{Recall: recall, Low: recall - 0.01, High: recall + 0.01, Queries: 200}
	}
	parts := func(recalls ...float64) (all []slice) {
		for _, r := range recalls {
			all = append(all, slice{tally: sampled(rand.New(rand.NewPCG(1, 1)), 40, r, 0), lists: 3, around: "middle"})
		}
		return all
	}
	for _, c := range []struct {
		name string
		m    evidence
		want []string // of the reason; nil is promoted
	}{
		{"reaches the objective", evidence{plans: point(0.96)}, nil},
		{"below, but within the interval", evidence{plans: point(0.945)}, nil},
		{"below", evidence{plans: point(0.93)}, []string{"recall@10 0.930 (at most 0.940) is below the objective 0.950"}},
		{"as good as its parent", evidence{plans: point(0.96), parent: point(0.96)}, nil},
		{"a little worse than its parent", evidence{plans: point(0.96), parent: point(0.98)}, nil},
		{"much worse than its parent", evidence{plans: point(0.955), parent: point(0.999)}, []string{"0.955 is worse than the parent's 0.999 by more than 0.02"}},
		{"good of late", evidence{plans: point(0.96), recent: recent(0.945)}, nil},
		{"bad of late", evidence{plans: point(0.96), recent: recent(0.92)}, []string{"0.920 (at most 0.930) of the last hour's rows is below the objective"}},
		{"slices as they are", evidence{plans: point(0.96), slices: parts(0.85, 0.9, 0.99, 1)}, nil},
		{"a slice is lost", evidence{plans: point(0.96), slices: parts(0.6, 0.9, 0.99, 1)}, []string{`around "middle" is below the objective 0.950 by more than 0.1`}},
		{"prefixes without meaning", evidence{plans: point(0.96), prefixes: errors.New("prefixes carry no order")}, []string{"prefixes carry no order"}},
		{"damaged", evidence{plans: point(0.96), damage: errors.New("7 codes")}, []string{"codes are damaged: 7 codes"}},
		{"everything", evidence{plans: point(0.5), recent: recent(0.5), parent: point(0.9), slices: parts(0.5), damage: errors.New("x")},
			[]string{"x", "recall@10 0.500 (at most 0.510) is below", "last hour's", "worse than the parent's", "around"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.m.objective, c.m.queries = 0.95, 200
			q := verdict(c.m)
			if q.Promoted != (c.want == nil) || (q.Reason == "") != q.Promoted {
				t.Errorf("promoted %v because %q", q.Promoted, q.Reason)
			}
			for _, want := range c.want {
				if !strings.Contains(q.Reason, want) {
					t.Errorf("%q does not say %q", q.Reason, want)
				}
			}
			if len(q.Slices) != min(len(c.m.slices), shownSlices) || q.Recent != c.m.recent || q.Queries != 200 {
				t.Errorf("%+v does not tell what was measured", q)
			}
		})
	}
}

// The gate rarely holds back what is good enough, slices that differ and all, and nearly always what is not: by rule, how
// often it fires on random samples of a true recall.
func TestGateErrors(t *testing.T) {
	t.Parallel()
	const objective, trials = 0.95, 2000
	even := func(r float64) []float64 { return []float64{r, r, r, r, r, r, r, r} }
	for _, c := range []struct {
		name         string
		all, recent  float64
		slices       []float64
		best, parent float64 // of the best plan, and of that of the parent; 0 for none
		least, most  float64 // share of trials that are refused
		reason       string  // and by which rule
		otherReasons float64 // share of trials that another rule fires in, at most
	}{
		{"as a default plan is", 0.965, 0.965, even(0.965), 0.99, 0.99, 0, 0.005, "", 0.005},
		{"slices that differ", 0.965, 0.965, []float64{0.88, 0.93, 0.96, 0.97, 0.98, 0.99, 1, 1}, 0.99, 0.99, 0, 0.005, "", 0.005},
		{"at the very objective", 0.95, 0.95, even(0.95), 0, 0, 0, 0.08, "", 0.08},
		{"all below", 0.92, 0.92, even(0.92), 0, 0, 0.85, 1, "(at most", 0.01},
		{"recent rows below", 0.965, 0.92, even(0.965), 0, 0, 0.85, 1, "last hour", 0.005},
		{"a slice lost", 0.96, 0.96, []float64{0.65, 0.97, 0.97, 0.97, 0.97, 0.97, 0.97, 0.97}, 0, 0, 0.85, 1, "around", 0.01},
		{"worse than its parent", 0.965, 0.965, even(0.965), 0.97, 0.998, 0.75, 1, "parent", 0.005},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(9, 9))
			const together = 0.15
			refused, others := 0, 0
			for range trials {
				late := sampled(rng, recentQueries, c.recent, together)
				e := estimate(&late)
				m := evidence{plans: pointOf(sampled(rng, recentQueries, c.all, together)), objective: objective, queries: recentQueries, recent: &e}
				if c.best > 0 {
					m.plans = append(m.plans, pointOf(sampled(rng, recentQueries, c.best, together))...)
				}
				if c.parent > 0 {
					m.parent = pointOf(sampled(rng, recentQueries, c.parent, together))
				}
				for _, r := range c.slices {
					m.slices = append(m.slices, slice{tally: sampled(rng, recentQueries/len(c.slices), r, together), around: "x"})
				}
				q := verdict(m)
				if !q.Promoted && strings.Contains(q.Reason, c.reason) {
					refused++
				}
				for reason := range strings.SplitSeq(q.Reason, "; ") {
					if reason != "" && !strings.Contains(reason, c.reason) {
						others++
						break
					}
				}
			}
			if share := float64(refused) / trials; share < c.least || share > c.most {
				t.Errorf("%.4f refused, want %v to %v", share, c.least, c.most)
			}
			if share := float64(others) / trials; share > c.otherReasons {
				t.Errorf("%.4f refused by other rules, want at most %v", share, c.otherReasons)
			}
			t.Logf("%.4f refused, %.4f by other rules", float64(refused)/trials, float64(others)/trials)
		})
	}
}

// Where all rows came in the last hour, held-out ones are those of it too.
func TestQueriesOfTheGate_allOfTheLastHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 33)
	for i := range 40 {
		w.ingest(i%testPartitions, 600, 40_000, nil)
	}
	b := w.idle(256)
	w.rewritten(b, nil)
	held, recent, err := b.queries(t.Context(), w.snapshot(b.manifest))
	if err != nil {
		t.Fatal(err)
	}
	if held.N < recentQueries || !slices.Equal(recent.Self, held.Self) {
		t.Errorf("%d queries are held out, %d of the last hour", held.N, recent.N)
	}
	if r := b.quality.Recent; r == nil || r.Recall != b.quality.Recall || r.Queries != held.N {
		t.Errorf("the manifest says %+v of the last hour, and recall %v", r, b.quality.Recall)
	}
}

// The slices are all of the held-out queries, each once, none too small, the worst first; each is called by one of its own.
// What is recent is what the last hour brought.
func TestQueriesOfTheGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 32)
	for i := range 30 {
		w.ingest(i%testPartitions, 600, 40_000, nil)
	}
	w.clock = 2 * recentAge.Milliseconds()
	const late = 90
	w.ingest(0, late, 40_000, nil)
	b := w.idle(256)
	w.rewritten(b, nil)
	snap := w.snapshot(b.manifest)
	held, recent, err := b.queries(t.Context(), snap)
	if err != nil {
		t.Fatal(err)
	}
	for _, self := range held.Self {
		if !recall.HeldOut(snap.Parts()[self.Part].IDAt(self.Row)) {
			t.Error("a query is not held out")
		}
	}
	for i, self := range recent.Self {
		p := snap.Parts()[self.Part]
		if p.OrderAt(self.Row).Timestamp < w.clock {
			t.Errorf("%s is not recent", p.IDAt(self.Row))
		}
		v := make([]float32, testDim)
		p.Vector(w.level, self.Row, v)
		if !slices.Equal(v, recent.Queries[i*testDim:][:testDim]) || len(recent.Truth[i]) != gateK || slices.ContainsFunc(recent.Truth[i], func(h search.Hit) bool { return h.Part == self.Part && h.Row == self.Row }) {
			t.Errorf("query %d is not its row", i)
		}
	}
	if r := b.quality.Recent; recent.N < late/2 || recent.N > late || r == nil || r.Queries != recent.N {
		t.Errorf("%d of %d late rows are queries, the manifest says %+v", recent.N, late, r)
	}
	plan, _, _ := recall.Choose(b.plans, b.o.Log.Spec().Defaults.TargetRecall)
	found, err := recall.Each(t.Context(), w.level, 2, snap, held, gateK, plan)
	if err != nil {
		t.Fatal(err)
	}
	all, queries, last := slicesOf(snap, held, found), 0, 0.0
	if len(all) < 3 {
		t.Fatalf("%d slices of %d queries", len(all), held.N)
	}
	for i, s := range all {
		n := int(s.tally.Effective())
		queries += n
		if n < leastSlice || s.tally.Mean() < last || !recall.HeldOut(s.around) {
			t.Errorf("slice around %s has %d queries and recall %v after %v", s.around, n, s.tally.Mean(), last)
		}
		if i < shownSlices && b.quality.Slices[i] != (schemas.Slice{Estimate: estimate(&s.tally), Lists: s.lists, Around: s.around}) {
			t.Errorf("slice %d is %+v in the manifest", i, b.quality.Slices[i])
		}
		last = s.tally.Mean()
	}
	if queries != held.N {
		t.Errorf("%d queries in slices, want %d", queries, held.N)
	}
	if one := slicesOf(snap, recall.Sample{Queries: held.Queries[:2*leastSlice*testDim-testDim], N: 2*leastSlice - 1, Self: held.Self[:2*leastSlice-1], Truth: held.Truth[:2*leastSlice-1]}, found); one != nil {
		t.Errorf("%d slices of too few queries", len(one))
	}
}

package recall

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

func TestTable_isAFront(t *testing.T) {
	_, snap := build(t, rows, true)
	s := sample(t, snap)
	all, err := Table(context.Background(), level(t), 2, snap, s, k)
	if err != nil {
		t.Fatal(err)
	}
	for _, dims := range []int{0, 16, 8} {
		plans := Of(all, dims)
		all = all[len(plans):]
		checkFront(t, snap, s, dims, plans)
	}
	if len(all) > 0 {
		t.Errorf("more plans: %+v", all)
	}
}

func checkFront(t *testing.T, snap *snapshot.Snapshot, s Sample, dims int, plans []schemas.PlanPoint) {
	t.Helper()
	width := search.Plan{Dims: dims}.Width(dim)
	if len(plans) < 1 || dims == 0 && len(plans) < 3 { // lists that only a prefix likes add nothing
		t.Fatalf("%d dims: %d plans: %+v", dims, len(plans), plans)
	}
	for i, p := range plans {
		if err := planOf(p).Validate(snap); err != nil {
			t.Errorf("plan %d: %v", i, err)
		}
		if i > 0 && p.Recall <= plans[i-1].Recall {
			t.Errorf("plan %d: recall %v after %v", i, p.Recall, plans[i-1].Recall)
		}
		odd := p.NProbe >> bits.TrailingZeros(uint(p.NProbe))
		if 2*p.ScanDims < width || odd != 1 && (odd != 3 || p.Margin > 0) || p.Margin > 0 && !(p.Lists < float64(p.NProbe)) || p.Refine < k || !(p.Bytes > 0) || !(p.Micros > 0) || !(p.Scanned > 0) || p.Low > p.Recall {
			t.Errorf("plan %d: %+v", i, p)
		}
		r, err := Measure(context.Background(), level(t), snap, s, k, planOf(p))
		if err != nil || r.Recall != p.Recall || math.Abs(r.Low-p.Low) > 1e-9 || r.Scanned != p.Scanned || r.Lists != p.Lists || math.Abs(r.Bytes/p.Bytes-1) > 0.001 { // of codes that score alike, others may be refined
			t.Errorf("plan %d: %+v, measured again %+v, %v", i, p, r, err)
		}
	}
	if last := plans[len(plans)-1]; dims == 0 && last.Recall < 0.97 || last.NProbe > nlist {
		t.Errorf("the best plan is %+v", last)
	}
}

// What plans find is told by all queries, also where a part of them chose the plans; the dearest are left as the part saw them when the
// work is used up.
func TestTable_isConfirmed(t *testing.T) {
	_, snap := build(t, rows, true)
	s := sample(t, snap)
	for s.N <= 2*sweepQueries { // the first half again and again
		half := s.N / 2
		s.Queries, s.Self, s.Truth = append(s.Queries, s.Queries[:half*dim]...), append(s.Self, s.Self[:half]...), append(s.Truth, s.Truth[:half]...)
		s.N += half
	}
	all, err := Table(t.Context(), level(t), 2, snap, s, k)
	if err != nil {
		t.Fatal(err)
	}
	for _, dims := range []int{0, 16, 8} {
		checkFront(t, snap, s, dims, Of(all, dims))
	}
	some, others := s.split(sweepQueries)
	part, err := newMeter(level(t), 2, snap, some, k)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := newMeter(level(t), 2, snap, others, k)
	if err != nil {
		t.Fatal(err)
	}
	sw := sweep{meter: part, rest: rest, model: snap.Model(), work: 1}
	if err := sw.double(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := front(sw.points)
	after, err := sw.confirm(t.Context(), slices.Clone(before))
	if err != nil || !slices.Equal(after, before) {
		t.Errorf("without work left: %+v, %v, want %+v", after, err, before)
	}
}

func TestSample_split(t *testing.T) {
	s := Sample{Queries: []float32{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}, N: 5, Truth: [][]search.Hit{nil, {{Row: 1}}, nil, {{Row: 3}}, nil}}
	for n, want := range map[int][]float32{1: {0, 0}, 2: {0, 0, 2, 2}, 3: {0, 0, 1, 1, 3, 3}, 5: s.Queries, 9: s.Queries} {
		part, rest := s.split(n)
		if !slices.Equal(part.Queries, want) || part.validate(2) != nil || part.Self != nil {
			t.Errorf("%d of 5: %+v", n, part)
		}
		both := slices.Concat(part.Queries, rest.Queries)
		slices.Sort(both)
		if part.N+rest.N != 5 || rest.N > 0 && rest.validate(2) != nil || !slices.Equal(both, s.Queries) {
			t.Errorf("%d of 5: the rest is %+v", n, rest)
		}
	}
}

func TestQueries(t *testing.T) {
	for _, tt := range []struct{ rows, dim, want int }{
		{0, 8, 1024}, {65_000, 256, 1024}, {1 << 20, 256, 1024}, {2 << 20, 256, 512}, {1_000_000, 768, 357}, {20_000_000, 128, 256},
	} {
		if got := Queries(tt.rows, tt.dim); got != tt.want {
			t.Errorf("%d queries for %d x %d, want %d", got, tt.rows, tt.dim, tt.want)
		}
	}
}

// Of each plan that is worth it at the doublings, and of no other, fewer lists are measured: by margins if there are enough.
func TestTable_betweenTheDoublings(t *testing.T) {
	_, snap := build(t, rows, true)
	m, err := newMeter(level(t), 2, snap, sample(t, snap), k)
	if err != nil {
		t.Fatal(err)
	}
	sw := sweep{meter: m, model: snap.Model(), work: sweepWork}
	if err := sw.double(context.Background()); err != nil {
		t.Fatal(err)
	}
	var want []search.Plan
	for _, p := range slices.Backward(front(sw.points)) {
		if p.NProbe >= 4 {
			fewer, err := sw.fewer(t.Context(), planOf(p.PlanPoint))
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, fewer...)
		}
	}
	doublings := len(sw.points)
	for _, p := range sw.points {
		if p.NProbe&(p.NProbe-1) != 0 {
			t.Errorf("%d lists are probed in doublings", p.NProbe)
		}
	}
	if err := sw.between(context.Background()); err != nil {
		t.Fatal(err)
	}
	var got []search.Plan
	for _, p := range sw.points[doublings:] {
		got = append(got, planOf(p.PlanPoint))
		if share := p.Lists / float64(p.NProbe); p.Margin > 0 && (share < 0.4 || share > 0.85) {
			t.Errorf("%+v probes %.2f of the lists", p.PlanPoint, share)
		}
	}
	for _, plans := range [][]search.Plan{got, want} { // those that differ in their candidates only are measured together
		slices.SortFunc(plans, func(a, b search.Plan) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("measured between the doublings: %v, want %v", got, want)
	}
	if !slices.ContainsFunc(front(sw.points), func(p point) bool { return slices.Contains(want, planOf(p.PlanPoint)) }) {
		t.Error("none of them is worth choosing")
	}
}

// A sweep that has used its work up measures nothing more.
func TestTable_betweenIsBounded(t *testing.T) {
	_, snap := build(t, rows, true)
	m, err := newMeter(level(t), 2, snap, sample(t, snap), k)
	if err != nil {
		t.Fatal(err)
	}
	worth := point{schemas.PlanPoint{NProbe: 64, ScanDims: dim, Refine: 50, Recall: 0.9}, 2, outcome{}}
	cheap := point{schemas.PlanPoint{NProbe: 4, ScanDims: dim, Refine: 50, Recall: 0.5}, 1, outcome{}}
	for _, tt := range []struct {
		work, spent float64
		want        []int // lists probed
	}{
		{sweepWork, 0, []int{64, 64, 3}},
		{2, 0, []int{64}}, // the dearest first
		{2, 1000, []int{64}},
	} {
		sw := sweep{meter: m, model: snap.Model(), work: tt.work, spent: tt.spent, points: []point{cheap, worth}}
		if err := sw.between(context.Background()); err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, p := range sw.points[2:] {
			got = append(got, p.NProbe)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("work %g, spent %g: measured %v, want %v", tt.work, tt.spent, got, tt.want)
		}
	}
}

// A sweep goes on until a plan is sure of the objective, however large the index: its work is what may be spent beyond that. What a query spends on
// choosing lists is no part of it. A sweep that never gets there ends all the same.
func TestTable_reachesTheObjective(t *testing.T) {
	_, snap := build(t, rows, true)
	m, err := newMeter(level(t), 2, snap, sample(t, snap), k)
	if err != nil {
		t.Fatal(err)
	}
	doubled := func(work, target float64) (sw sweep, best float64) {
		sw = sweep{meter: m, model: snap.Model(), work: work, target: target, reached: target == 0}
		if err := sw.double(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, p := range sw.points {
			best = max(best, sure(p.PlanPoint))
		}
		return sw, best
	}
	whole, most := doubled(sweepWork, 0)
	bounded, low := doubled(1, 0)
	if len(bounded.points) != 2 || low >= most { // by one scan

		t.Fatalf("without an objective %d plans are measured, the best is sure of %.3f of %.3f", len(bounded.points), low, most)
	}
	if reaching, best := doubled(whole.spent/utmost, most); best < most || !reaching.reached {
		t.Errorf("sure of %.3f after %d of %d plans, want %.3f", best, len(reaching.points), len(whole.points), most)
	}
	if reaching, _ := doubled(1, low); len(reaching.points) != 2 {
		t.Errorf("%d plans are measured, the first scan reaches the objective", len(reaching.points))
	}
	if hopeless, _ := doubled(1, 1); len(hopeless.points) > 3 || hopeless.reached {
		t.Errorf("%d plans are measured, with %d times the work of one", len(hopeless.points), utmost)
	}
	all, scans := 0.0, 0.0 // of plans that differ in their candidates only, one scan does for several
	for i, p := range whole.points {
		effort := (p.cost - choosing(snap.Model())) * float64(m.sample.N)
		all += effort
		if at := alike(whole.points, i); i == at[len(at)-1] {
			scans += effort
		}
	}
	if whole.spent < scans*(1-1e-9) || whole.spent > 0.9*all {
		t.Errorf("spent %g, the plans without choosing lists cost %g each on its own, and %g in one scan of each kind", whole.spent, all, scans)
	}
}

// Rows that differ by less than a step of their int8 form are told apart by their originals, and by nothing else.
func TestTable_originals(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 8, 16, dim), rows, 1)
	for i := range rows {
		for j, x := range d.Vector(i) { // in twenty heaps, around the first of each
			d.Vector(i)[j] = d.Vector(i % 20)[j] + 0.01*x
		}
	}
	groups := []snapshottest.Group{{Kind: snapshottest.Chunks, End: rows}}
	mdl := d.Train(t, level(t), nlist)
	snap := snapshottest.Build(t, d, mdl, level(t), groups, nil)
	s := sample(t, snap)
	plans, err := Table(t.Context(), level(t), 2, snap, s, k)
	if err != nil {
		t.Fatal(err)
	}
	plans = Of(plans, 0)
	first := slices.IndexFunc(plans, func(p schemas.PlanPoint) bool { return p.Originals })
	if first < 1 {
		t.Fatalf("no plan by originals, or no other: %+v", plans)
	}
	if int8, best := plans[first-1].Recall, plans[len(plans)-1].Recall; int8 > 0.9 || best < 0.97 {
		t.Errorf("recall %v by int8 rows, %v by originals", int8, best)
	}
	for i, p := range plans {
		if p.Originals != (i >= first) || i > 0 && p.Recall <= plans[i-1].Recall {
			t.Errorf("plan %d: %+v after %+v", i, p, plans[max(0, i-1)])
		}
	}
	bare, err := Table(t.Context(), level(t), 2, snapshottest.BuildBare(t, d, mdl, level(t), groups, nil), s, k)
	if err != nil || slices.ContainsFunc(bare, func(p schemas.PlanPoint) bool { return p.Originals }) {
		t.Errorf("without originals: %v, %+v", err, bare)
	}
}

func TestTable_withoutModel(t *testing.T) {
	_, snap := build(t, rows, false)
	if plans, err := Table(context.Background(), level(t), 2, snap, sample(t, snap), k); len(plans) != 0 || err != nil {
		t.Errorf("got %v, %v", plans, err)
	}
}

// More neighbours are wanted than any usual number of candidates.
func TestTable_largeK(t *testing.T) {
	_, snap := build(t, rows, true)
	s := sample(t, snap)
	s.N, s.Queries, s.Self, s.Truth = 8, s.Queries[:8*dim], s.Self[:8], s.Truth[:8]
	plans, err := Table(context.Background(), level(t), 2, snap, s, 1000)
	if err != nil || len(plans) == 0 {
		t.Fatalf("%d plans, %v", len(plans), err)
	}
	for _, p := range plans {
		if p.Refine < 2000 {
			t.Errorf("plan %+v, want candidates for 1000 hits", p)
		}
	}
}

func TestTable_cancelled(t *testing.T) {
	_, snap := build(t, rows, true)
	ctx, cancel := context.WithCancel(context.Background())
	s := sample(t, snap)
	cancel()
	if plans, err := Table(ctx, level(t), 2, snap, s, k); err == nil {
		t.Errorf("got %d plans", len(plans))
	}
}

func TestFront(t *testing.T) {
	at := func(cost, recall float64) point {
		return point{schemas.PlanPoint{NProbe: int(cost), Recall: recall}, cost, outcome{}}
	}
	for _, tt := range []struct {
		name string
		in   []point
		want []float64
	}{
		{"none", nil, nil},
		{"zero", []point{at(1, 0)}, []float64{0}},
		{"dominated", []point{at(3, 0.5), at(1, 0.5), at(2, 0.4), at(4, 0.9)}, []float64{0.5, 0.9}},
		{"equalCost", []point{at(1, 0.5), at(1, 0.6), at(2, 0.6)}, []float64{0.6}},
		{"all", []point{at(3, 0.3), at(2, 0.2), at(1, 0.1)}, []float64{0.1, 0.2, 0.3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []float64
			for _, p := range front(tt.in) {
				got = append(got, p.Recall)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	plans := []schemas.PlanPoint{
		{NProbe: 1, ScanDims: 32, Refine: 50, Recall: 0.6, Low: 0.55},
		{NProbe: 4, ScanDims: 32, Refine: 50, Recall: 0.9, Low: 0.85},
		{NProbe: 8, ScanDims: 16, Refine: 99, Recall: 0.97, Low: 0.95},
	}
	for _, tt := range []struct {
		plans  []schemas.PlanPoint
		target float64
		want   int // index into plans, -1 none
		ok     bool
	}{
		{plans, 0.1, 0, true},
		{plans, 0.27, 0, true},
		{plans, 0.55, 1, true}, // 0 leaves no room for queries about one subject
		{plans, 0.6, 1, true},  // 0 reaches it by its mean alone
		{plans, 0.86, 2, true},
		{plans, 0.95, 2, true},
		{plans, 0.97, 2, true}, // by its mean: no bound does
		{plans, 0.98, 2, false},
		{plans[:1], 0.98, 0, false},
		{nil, 0.5, -1, false},
	} {
		plan, p, ok := Choose(tt.plans, tt.target)
		var want schemas.PlanPoint
		if tt.want >= 0 {
			want = tt.plans[tt.want]
		}
		if p != want || ok != tt.ok || plan != (search.Plan{NProbe: want.NProbe, ScanDims: want.ScanDims, Refine: want.Refine}) {
			t.Errorf("target %v: %+v, %+v, %v", tt.target, plan, p, ok)
		}
	}
}

// What a table says does not depend on threads, but for the time.
func TestTable_threadsDoNotMatter(t *testing.T) {
	_, snap := build(t, rows, true)
	s := sample(t, snap)
	var want []schemas.PlanPoint
	for _, threads := range []int{1, 2, 7, 2 * rows} {
		got, err := Table(t.Context(), level(t), threads, snap, s, k)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !(got[i].Micros > 0) {
				t.Errorf("%d threads: plan %d was not timed", threads, i)
			}
			got[i].Micros = 0
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d threads: %+v, want %+v", threads, got, want)
		}
	}
}

package recall

import (
	"cmp"
	"context"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

const (
	// sweepWork bounds a sweep, in the unit of cost without that of choosing lists: no measurement starts after it, if a plan is known
	// to reach the objective. It is about three seconds of one core, but not a time, so that the plans do not depend on what else the machine
	// is doing. The sweep goes from cheap plans to dear ones: what is left out of a very large index is what nobody would choose.
	sweepWork = 8e10
	// utmost is how many times its work a sweep may take that has not reached the objective.
	utmost = 8
	// narrowWork bounds a sweep of a narrower width. Those saturate early: what a prefix does not tell, no plan finds.
	narrowWork = sweepWork / 8
	// originalsWork bounds a sweep of plans that originals decide. It begins where int8 rows end.
	originalsWork = sweepWork / 2
	// sweepQueries of a sample find out which plans are worth choosing, and how long they take. How good those are is measured with all
	// of it, see [sweep.confirm].
	sweepQueries = 256
	// marginLeast is the fewest lists that a margin is measured with: the best eighth of fewer says little.
	marginLeast = 16
	// marginQueries of the sample calibrate margins.
	marginQueries = 64
	// A longer sweep of refine, or of nprobe, ends when it gains less than this.
	refineGain = 0.001
	probeGain  = 0.0005
)

// marginShares are the mean shares of the lists that margins are calibrated to leave. At half, or a bit more or less, a
// margin is at its best: on half a million embeddings a tenth fewer codes for the same recall than the same lists for each
// query. See docs/elastic-search.md.
var marginShares = [...]float64{0.5, 0.75}

// refines are the numbers of candidates that are tried.
var refines = [...]int{50, 100, 200, 400, 800, 1600, 3200}

// Table measures plans and returns those that are worth choosing, in order of cost: each has more recall than all that
// cost less. Lists probed double from 1 until recall saturates; candidates refined double as long as that helps; codes
// are scanned on the full width and on the levels of the ladder that are at least half of it. Then lists probed go in
// finer steps, but only with what was worth choosing at the doublings, and with margins instead of fewer lists where there
// are enough of them. Without a model there are no plans.
//
// Of a sample of more than sweepQueries a part finds those plans, and all of it then tells what they find. The best of many estimates
// promises too much: what looked best to the part may have been lucky with it.
//
// What int8 rows cannot tell apart no such plan finds. So next come, likewise in order, plans that originals decide, if these
// have more recall than all before.
//
// After these come, each in its own order of cost, plans of every narrower level of the ladder: for queries that cap the
// width. Their recall is against the neighbours on the full width too.
//
// Microseconds are measured, but noisy: the order is by a model of the cost, see [cost]. What plans find and read is measured on
// a number of threads, of which it does not depend. Only those worth choosing are timed, each on the calling goroutine while no
// other one works.
func Table(ctx context.Context, level avx.Level, threads int, snap *snapshot.Snapshot, s Sample, k int) ([]schemas.PlanPoint, error) {
	mdl := snap.Model()
	if mdl == nil {
		return nil, nil
	}
	part, others := s.split(sweepQueries)
	m, err := newMeter(level, threads, snap, part, k)
	if err != nil {
		return nil, err
	}
	var rest *meter
	if others.N > 0 {
		if rest, err = newMeter(level, threads, snap, others, k); err != nil {
			return nil, err
		}
	}
	target := snap.Spec().Defaults.TargetRecall
	byInt8 := &sweep{meter: m, rest: rest, model: mdl, work: sweepWork, target: target}
	plans, err := byInt8.run(ctx)
	if err != nil {
		return nil, err
	}
	if best := plans[len(plans)-1]; best.Recall < 1 && snap.HasVectors() {
		more, err := (&sweep{meter: m, rest: rest, model: mdl, work: originalsWork, target: target, reached: byInt8.reached, originals: true, from: best}).run(ctx)
		if err != nil {
			return nil, err
		}
		plans = append(plans, slices.DeleteFunc(more, func(p schemas.PlanPoint) bool { return p.Recall <= best.Recall })...)
	}
	for _, dims := range slices.Backward(mdl.Ladder()[:len(mdl.Ladder())-1]) {
		narrow, err := (&sweep{meter: m, rest: rest, model: mdl, work: narrowWork, reached: true, dims: dims}).run(ctx)
		if err != nil {
			return nil, err
		}
		plans = append(plans, narrow...)
	}
	return plans, nil
}

func (s *sweep) run(ctx context.Context) ([]schemas.PlanPoint, error) {
	if err := s.double(ctx); err != nil {
		return nil, err
	}
	if err := s.between(ctx); err != nil {
		return nil, err
	}
	worth, err := s.confirm(ctx, front(s.points))
	if err != nil {
		return nil, err
	}
	plans := make([]schemas.PlanPoint, len(worth))
	for i, p := range worth {
		plans[i] = p.PlanPoint
		if plans[i].Micros, err = s.meter.time(ctx, planOf(p.PlanPoint)); err != nil {
			return nil, err
		}
	}
	return plans, nil
}

// confirm measures plans with the rest of the sample too, the cheapest first and for at most the work of the sweep, and returns those that
// are still worth choosing. It begins with the cheapest because most queries are asked of those. A sweep that ended when the part was sure
// of the target may leave no plan that all of the sample is sure of: [Cheapest] says what counts then.
func (s *sweep) confirm(ctx context.Context, worth []point) ([]point, error) {
	if s.rest == nil {
		return worth, nil
	}
	spent, confirmed := 0.0, make([]bool, len(worth))
	for i := range worth {
		if confirmed[i] {
			continue
		}
		at := alike(worth, i)
		var some []point
		var refines []int
		for _, j := range at {
			confirmed[j] = true
			some, refines = append(some, worth[j]), append(refines, worth[j].Refine)
		}
		if spent += s.effort(some, s.rest); spent > s.work {
			break
		}
		more, err := s.rest.measure(ctx, planOf(worth[i].PlanPoint), refines...)
		if err != nil {
			return nil, err
		}
		for x, j := range at {
			more[x].join(worth[j].outcome)
			worth[j] = s.point(planOf(worth[j].PlanPoint), more[x])
		}
	}
	return front(worth), nil
}

// alike returns the places of the points that differ from point i in their candidates only. Of points in order of cost the candidates rise.
func alike(points []point, i int) (at []int) {
	for j, p := range points {
		p.Refine = points[i].Refine
		if planOf(p.PlanPoint) == planOf(points[i].PlanPoint) {
			at = append(at, j)
		}
	}
	return at
}

// point is a measured plan with its modelled cost.
type point struct {
	schemas.PlanPoint
	cost    float64
	outcome outcome
}

type sweep struct {
	meter     *meter // of a part of the sample
	rest      *meter // of the rest, nil if there is none
	model     *model.Model
	dims      int               // width of all plans, 0 is the full one
	originals bool              // of all plans
	from      schemas.PlanPoint // the best plan that int8 rows decide: the sweep begins near it
	work      float64           // bound, once a plan is sure of the target
	target    float64           // recall that is to be reached
	reached   bool              // by a plan that is sure of it, or nobody asks for it
	spent     float64
	points    []point
	tried     map[int]int       // by width of scanning, how many numbers of candidates were tried with the lists before
	margins   map[int][]float64 // by lists, one for each of marginShares
}

// out reports whether no more is to be measured.
func (s *sweep) out() bool {
	return s.spent >= s.work && (s.reached || s.spent >= utmost*s.work)
}

func (s *sweep) width() int { return search.Plan{Dims: s.dims}.Width(s.model.Dim()) }

// double measures nprobe in doublings.
func (s *sweep) double(ctx context.Context) error {
	last, flat := 0.0, 0
	for nprobe := max(1, s.from.NProbe/4); ; nprobe = min(2*nprobe, s.model.NList()) {
		best, err := s.probe(ctx, nprobe)
		if err != nil {
			return err
		}
		// A single flat step may be chance; two are a plateau.
		if flat++; best-last >= probeGain {
			flat = 0
		}
		last = max(last, best)
		if nprobe == s.model.NList() || last == 1 || flat == 2 || s.out() {
			return nil
		}
	}
}

// probe measures the plans that probe so many lists and returns the best recall.
func (s *sweep) probe(ctx context.Context, nprobe int) (best float64, err error) {
	for _, dims := range slices.Backward(s.model.Ladder()) {
		if dims > s.width() || dims < s.from.ScanDims {
			continue
		}
		if 2*dims < s.width() {
			break
		}
		if s.out() {
			return best, nil
		}
		of, err := s.refined(ctx, search.Plan{NProbe: nprobe, ScanDims: dims, Originals: s.originals, Dims: s.dims})
		if err != nil {
			return 0, err
		}
		best = max(best, of)
	}
	return best, nil
}

// refined measures a plan with more and more candidates, as long as that helps, and returns the best recall. As many as were tried with half
// the lists are tried at once.
func (s *sweep) refined(ctx context.Context, plan search.Plan) (best float64, err error) {
	rest, tried, last := s.refines(), 0, 0.0
	for n := max(2, s.tried[plan.ScanDims]); len(rest) > 0; n = 1 {
		some := rest[:min(n, len(rest))]
		rest = rest[len(some):]
		points, err := s.measure(ctx, plan, some...)
		if err != nil {
			return 0, err
		}
		for _, p := range points {
			s.points = append(s.points, p)
			best = max(best, p.Recall)
			if tried++; p.Recall-last < refineGain || float64(p.Refine) >= p.Scanned {
				rest = nil
				break
			}
			last = p.Recall
		}
		if s.out() {
			break
		}
	}
	if s.tried == nil {
		s.tried = map[int]int{}
	}
	s.tried[plan.ScanDims] = tried
	return best, nil
}

// between takes each plan that is worth choosing after the doublings with margins that leave a half and three quarters of its
// lists, or with three quarters of them where there are too few for a margin. Lists are most of the cost, and a plan of the
// doublings alone has up to twice as many as it needs. Other pairs of scan_dims and refine are not tried: on half a million
// embeddings those that were worth it at the doublings led to the same choices as all pairs, for a quarter more work than
// the doublings where all pairs are as much again. Steps between the refines too would have made what is chosen 3 % cheaper,
// for another third.
//
// The dearest go first, because they have the most to save and the work, as much again as that of the doublings, may not last for all.
func (s *sweep) between(ctx context.Context) error {
	end := max(s.spent, s.work) + s.work
	worth := front(s.points)
	done := make([]bool, len(worth))
	for i, p := range slices.Backward(worth) {
		if p.NProbe < 4 || done[i] {
			continue // there is no step between 1 and 2
		}
		var refines []int
		for _, j := range alike(worth, i) {
			done[j], refines = true, append(refines, worth[j].Refine)
		}
		plans, err := s.fewer(ctx, planOf(p.PlanPoint))
		if err != nil {
			return err
		}
		for _, plan := range plans {
			if s.spent >= end {
				return nil
			}
			points, err := s.measure(ctx, plan, refines...)
			if err != nil {
				return err
			}
			s.points = append(s.points, points...)
		}
	}
	return nil
}

// fewer is a plan with fewer lists, the dearest first.
func (s *sweep) fewer(ctx context.Context, plan search.Plan) ([]search.Plan, error) {
	if plan.NProbe < marginLeast {
		plan.NProbe = 3 * plan.NProbe / 4
		return []search.Plan{plan}, nil
	}
	margins, ok := s.margins[plan.NProbe]
	if !ok {
		for _, share := range marginShares {
			margin, err := s.calibrate(ctx, plan.NProbe, share)
			if err != nil {
				return nil, err
			}
			margins = append(margins, margin)
		}
		if s.margins == nil {
			s.margins = map[int][]float64{}
		}
		s.margins[plan.NProbe] = margins
	}
	var plans []search.Plan
	for _, margin := range slices.Backward(margins) {
		plan.Margin = margin
		plans = append(plans, plan)
	}
	return plans, nil
}

// calibrate returns the margin that leaves a share of the lists, on average over some queries.
func (s *sweep) calibrate(ctx context.Context, nprobe int, share float64) (margin float64, err error) {
	const steps = 12
	low, high := 0.0, 1.0
	for range steps { // a score is at most 1 under cosine only
		left, err := s.meter.lists(ctx, nprobe, high, s.dims)
		if err != nil {
			return 0, err
		}
		if left >= share*float64(nprobe) {
			break
		}
		low, high = high, 4*high
	}
	for range steps {
		middle := (low + high) / 2
		left, err := s.meter.lists(ctx, nprobe, middle, s.dims)
		if err != nil {
			return 0, err
		}
		if left < share*float64(nprobe) {
			low = middle
		} else {
			high = middle
		}
	}
	return high, nil
}

// measure measures a plan with some rising numbers of candidates.
func (s *sweep) measure(ctx context.Context, plan search.Plan, refines ...int) ([]point, error) {
	outcomes, err := s.meter.measure(ctx, plan, refines...)
	if err != nil {
		return nil, err
	}
	points := make([]point, len(refines))
	for i, n := range refines {
		plan.Refine = n
		points[i] = s.point(plan, outcomes[i])
		s.reached = s.reached || sure(points[i].PlanPoint) >= s.target
	}
	s.spent += s.effort(points, s.meter)
	return points, nil
}

// point is what queries came to by a plan.
func (s *sweep) point(p search.Plan, o outcome) point {
	r := o.result()
	return point{schemas.PlanPoint{
		NProbe: p.NProbe, Margin: p.Margin, ScanDims: p.ScanDims, Refine: p.Refine, Originals: p.Originals, Dims: p.Dims,
		Recall: r.Recall, Low: r.Low, High: r.High,
		Lists: r.Lists, Scanned: r.Scanned, Refined: r.Refined, Bytes: r.Bytes,
	}, cost(r, s.model, p), o}
}

// effort is what it costs to measure plans that differ in their candidates only, the dearest last: of those that int8 rows decide it is the
// work of all. Choosing lists costs the same for all, and so much of very many lists that it alone would use up the work of a sweep on
// plans which probe a few.
func (s *sweep) effort(points []point, m *meter) (work float64) {
	if !s.originals {
		points = points[len(points)-1:]
	}
	for _, p := range points {
		work += (p.cost - choosing(s.model)) * float64(m.sample.N)
	}
	return work
}

// refines are those that a search does not raise, or what it raises them to.
func (s *sweep) refines() []int {
	least := max(2*s.meter.k, s.from.Refine/2)
	for i, r := range refines {
		if r >= least {
			return refines[i:]
		}
	}
	return []int{least}
}

// cost is what a plan makes a query do, in look-ups of a sub-quantiser: 10 to 40 ps with AVX2, depending on the cache.
// The weights are rounded from profiles of single queries over half a million rows.
func cost(r Result, mdl *model.Model, p search.Plan) float64 {
	const (
		perList  = 9000 // full row of its centroid and of another on the shortlist, first cache misses of its codes
		perRow   = 2500 // choosing a candidate, its scale
		perByte  = 10   // int8 value of a row, mostly read from memory
		perValue = 200  // of an original, by the generic kernels
	)
	return choosing(mdl) + perList*r.Lists +
		float64(mdl.Subs(p.ScanDims))*r.Scanned + float64(perRow+perByte*p.Width(mdl.Dim()))*r.Refined + float64(perValue*mdl.Dim())*r.Originals
}

// choosing is the part of the cost that is for choosing lists.
func choosing(mdl *model.Model) float64 {
	const perCentroid = 250 // its short prefix, and being chosen
	return perCentroid * float64(mdl.NList())
}

// front keeps the points that have more recall than all that cost less.
func front(points []point) []point {
	slices.SortStableFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(b.Recall, a.Recall))
	})
	var worth []point
	best := -1.0
	for _, p := range points {
		if p.Recall > best {
			best = p.Recall
			worth = append(worth, p)
		}
	}
	return worth
}

// Choose returns the cheapest of the plans of the full width, which are in order of cost, that is known to reach the target,
// see [cheapest]. If none does, it returns the plan with the most recall and false; of no plans, zero values and false.
func Choose(plans []schemas.PlanPoint, target float64) (search.Plan, schemas.PlanPoint, bool) {
	p, reached := Cheapest(Of(plans, 0), target)
	return planOf(p), p, reached
}

// sliceLoss is how much more than all queries those about one subject may lose, as a share of the loss. Of 20 subjects the
// worst but one lost 0.25 to 1.1 more on the data of docs/elastic-search.md, and at most 0.8 more but at a target of 0.99. A sample that
// a builder can afford is too small to tell it for an index, so it is a constant.
const sliceLoss = 0.8

// sure is the recall that a plan is known to reach, also of queries about one subject.
func sure(p schemas.PlanPoint) float64 { return min(p.Low, p.Recall-sliceLoss*(1-p.Recall)) }

// Cheapest returns the first of the plans, which are in order of cost, that is known to reach the target: the lower bound
// of its interval does, and the mean with room for queries about one subject. Queries to come are not those that were
// measured, and the index grows until it is measured again, so the mean alone promises too much. If no plan has both, the
// bound counts, then the mean. If none of them reaches the target either, it is the plan with the most recall and false.
func Cheapest(plans []schemas.PlanPoint, target float64) (best schemas.PlanPoint, reached bool) {
	for _, recall := range []func(schemas.PlanPoint) float64{
		sure,
		func(p schemas.PlanPoint) float64 { return p.Low },
		func(p schemas.PlanPoint) float64 { return p.Recall },
	} {
		for _, p := range plans {
			if recall(p) >= target {
				return p, true
			}
		}
	}
	for _, p := range plans {
		if p.Recall > best.Recall {
			best = p
		}
	}
	return best, false
}

// Of returns the plans of a width, 0 for the full one, in order of cost.
func Of(plans []schemas.PlanPoint, dims int) []schemas.PlanPoint {
	start := slices.IndexFunc(plans, func(p schemas.PlanPoint) bool { return p.Dims == dims })
	if start < 0 {
		return nil
	}
	plans = plans[start:]
	if n := slices.IndexFunc(plans, func(p schemas.PlanPoint) bool { return p.Dims != dims }); n >= 0 {
		plans = plans[:n]
	}
	return plans
}

func planOf(p schemas.PlanPoint) search.Plan {
	return search.Plan{NProbe: p.NProbe, Margin: p.Margin, ScanDims: p.ScanDims, Refine: p.Refine, Originals: p.Originals, Dims: p.Dims}
}

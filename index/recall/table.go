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
	// sweepWork bounds a sweep, in the unit of cost: no measurement starts after it. It is about five seconds of one
	// core, but not a time, so that the plans do not depend on what else the machine is doing. The sweep goes from cheap
	// plans to dear ones: what is left out of a very large index is what nobody would choose.
	sweepWork = 2e11
	// betweenWork bounds in the same way what is measured between the doublings of a sweep, on top of it.
	betweenWork = sweepWork / 4
	// A longer sweep of refine, or of nprobe, ends when it gains less than this.
	refineGain = 0.001
	probeGain  = 0.0005
)

// refines are the numbers of candidates that are tried.
var refines = [...]int{50, 100, 200, 400, 800}

// Table measures plans and returns those that are worth choosing, in order of cost: each has more recall than all that
// cost less. Lists probed double from 1 until recall saturates; candidates refined double as long as that helps; codes
// are scanned on the full width and on the levels of the ladder that are at least half of it. Then lists probed go in
// finer steps, 1, 2, 3, 4, 6, 8, 12 and so on, but only with what was worth choosing at the doublings. Without a model
// there are no plans.
//
// Microseconds are measured, but noisy: the order is by a model of the cost, see [cost].
func Table(ctx context.Context, level avx.Level, snap *snapshot.Snapshot, s Sample, k int) ([]schemas.PlanPoint, error) {
	mdl := snap.Model()
	if mdl == nil {
		return nil, nil
	}
	m, err := newMeter(level, snap, s, k)
	if err != nil {
		return nil, err
	}
	sw := sweep{meter: m, model: mdl}
	if err := sw.double(ctx); err != nil {
		return nil, err
	}
	if err := sw.between(ctx); err != nil {
		return nil, err
	}
	return front(sw.points), nil
}

// point is a measured plan with its modelled cost.
type point struct {
	schemas.PlanPoint
	cost float64
}

type sweep struct {
	meter  *meter
	model  *model.Model
	spent  float64
	points []point
}

// double measures nprobe in doublings.
func (s *sweep) double(ctx context.Context) error {
	last, flat := 0.0, 0
	for nprobe := 1; ; nprobe = min(2*nprobe, s.model.NList()) {
		best, err := s.probe(ctx, nprobe)
		if err != nil {
			return err
		}
		// A single flat step may be chance; two are a plateau.
		if flat++; best-last >= probeGain {
			flat = 0
		}
		last = max(last, best)
		if nprobe == s.model.NList() || last == 1 || flat == 2 || s.spent >= sweepWork {
			return nil
		}
	}
}

// probe measures the plans that probe so many lists and returns the best recall.
func (s *sweep) probe(ctx context.Context, nprobe int) (best float64, err error) {
	// Lists that no plan before has touched are paged in by a run that does not count.
	if _, err := s.measure(ctx, search.Plan{NProbe: nprobe, ScanDims: s.model.Dim(), Refine: s.refines()[0]}); err != nil {
		return 0, err
	}
	for _, dims := range slices.Backward(s.model.Ladder()) {
		if 2*dims < s.model.Dim() {
			break
		}
		last := 0.0
		for _, refine := range s.refines() {
			if s.spent >= sweepWork {
				return best, nil
			}
			p, err := s.measure(ctx, search.Plan{NProbe: nprobe, ScanDims: dims, Refine: refine})
			if err != nil {
				return 0, err
			}
			s.points = append(s.points, p)
			best = max(best, p.Recall)
			if p.Recall-last < refineGain || float64(refine) >= p.Scanned {
				break
			}
			last = p.Recall
		}
	}
	return best, nil
}

// between takes each plan that is worth choosing after the doublings with three quarters of its lists: halfway back to
// the doubling before. Lists are most of the cost, and a plan of the doublings alone has up to twice as many as it needs.
// Other pairs of scan_dims and refine are not tried: on half a million embeddings those that were worth it at the
// doublings led to the same choices as all pairs, for a quarter more work than the doublings where all pairs are as much
// again. Steps between the refines too would have made what is chosen 3 % cheaper, for another third.
//
// The dearest go first, because they have the most to save and betweenWork may not last for all. No run is needed that
// does not count: the doubling has touched these lists.
func (s *sweep) between(ctx context.Context) error {
	for _, worth := range slices.Backward(front(s.points)) {
		if worth.NProbe < 4 {
			continue // there is no step between 1 and 2
		}
		if s.spent >= sweepWork+betweenWork {
			return nil
		}
		plan := planOf(worth)
		plan.NProbe = 3 * plan.NProbe / 4
		p, err := s.measure(ctx, plan)
		if err != nil {
			return err
		}
		s.points = append(s.points, p)
	}
	return nil
}

func (s *sweep) measure(ctx context.Context, p search.Plan) (point, error) {
	r, err := s.meter.measure(ctx, p)
	if err != nil {
		return point{}, err
	}
	c := cost(r, s.model, p.ScanDims)
	s.spent += c * float64(s.meter.sample.N)
	return point{schemas.PlanPoint{
		NProbe: p.NProbe, ScanDims: p.ScanDims, Refine: p.Refine,
		Recall: r.Recall, Low: r.Low, High: r.High, Scanned: r.Scanned, Micros: r.Micros,
	}, c}, nil
}

// refines are those that a search does not raise, or what it raises them to.
func (s *sweep) refines() []int {
	least := 2 * s.meter.k
	for i, r := range refines {
		if r >= least {
			return refines[i:]
		}
	}
	return []int{least}
}

// cost is what a plan makes a query do, in look-ups of a sub-quantiser: 10 to 40 ps with AVX2, depending on the cache.
// The weights are rounded from profiles of single queries over half a million rows.
func cost(r Result, mdl *model.Model, scanDims int) float64 {
	const (
		perCentroid = 250  // its short prefix, and being chosen
		perList     = 9000 // full row of its centroid and of another on the shortlist, first cache misses of its codes
		perRow      = 2500 // choosing a candidate, its scale
		perByte     = 10   // int8 value of a row, mostly read from memory
	)
	return perCentroid*float64(mdl.NList()) + perList*r.Lists +
		float64(mdl.Subs(scanDims))*r.Scanned + float64(perRow+perByte*mdl.Dim())*r.Refined
}

// front keeps the points that have more recall than all that cost less.
func front(points []point) []schemas.PlanPoint {
	slices.SortStableFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(b.Recall, a.Recall))
	})
	var plans []schemas.PlanPoint
	best := -1.0
	for _, p := range points {
		if p.Recall > best {
			best = p.Recall
			plans = append(plans, p.PlanPoint)
		}
	}
	return plans
}

// Choose returns the cheapest of the plans, which are in order of cost, that is known to reach the target: the lower bound
// of its interval does. Queries to come are not those that were measured, and the index grows until it is measured again,
// so the mean alone promises too much. If no bound reaches the target, the mean counts. If none of them does either, it
// returns the plan with the most recall and false; of no plans, zero values and false.
func Choose(plans []schemas.PlanPoint, target float64) (search.Plan, schemas.PlanPoint, bool) {
	for _, reached := range []func(schemas.PlanPoint) float64{
		func(p schemas.PlanPoint) float64 { return p.Low },
		func(p schemas.PlanPoint) float64 { return p.Recall },
	} {
		for _, p := range plans {
			if reached(p) >= target {
				return planOf(p), p, true
			}
		}
	}
	var best schemas.PlanPoint
	for _, p := range plans {
		if p.Recall > best.Recall {
			best = p
		}
	}
	return planOf(best), best, false
}

func planOf(p schemas.PlanPoint) search.Plan {
	return search.Plan{NProbe: p.NProbe, ScanDims: p.ScanDims, Refine: p.Refine}
}

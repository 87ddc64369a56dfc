package recall

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

const (
	// sweepTime bounds a sweep: no measurement starts after it. It goes from cheap plans to dear ones, so that what is
	// left out of a very large index is what nobody would choose.
	sweepTime = 5 * time.Second
	// A longer sweep of refine, or of nprobe, ends when it gains less than this.
	refineGain = 0.001
	probeGain  = 0.0005
)

// refines are the numbers of candidates that are tried.
var refines = [...]int{50, 100, 200, 400, 800}

// Table measures plans and returns those that are worth choosing, in order of cost: each has more recall than all that
// cost less. Lists probed double from 1 until recall saturates; candidates refined double as long as that helps; codes
// are scanned on the full width and on the levels of the ladder that are at least half of it. Without a model there are
// no plans.
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
	sw := sweep{meter: m, until: time.Now().Add(sweepTime)}
	if err := sw.run(ctx, mdl); err != nil {
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
	until  time.Time
	points []point
}

func (s *sweep) run(ctx context.Context, mdl *model.Model) error {
	last, flat := 0.0, 0
	for nprobe := 1; ; nprobe = min(2*nprobe, mdl.NList()) {
		best, err := s.probe(ctx, mdl, nprobe)
		if err != nil {
			return err
		}
		// A single flat step may be chance; two are a plateau.
		if flat++; best-last >= probeGain {
			flat = 0
		}
		last = max(last, best)
		if nprobe == mdl.NList() || last == 1 || flat == 2 || s.late() {
			return nil
		}
	}
}

// probe measures the plans that probe so many lists and returns the best recall.
func (s *sweep) probe(ctx context.Context, mdl *model.Model, nprobe int) (best float64, err error) {
	// Lists that no plan before has touched are paged in by a run that does not count.
	warm := search.Plan{NProbe: nprobe, ScanDims: mdl.Dim(), Refine: s.refines()[0]}
	if _, err := s.meter.measure(ctx, warm); err != nil {
		return 0, err
	}
	for _, dims := range slices.Backward(mdl.Ladder()) {
		if 2*dims < mdl.Dim() || s.late() && best > 0 {
			break
		}
		last := 0.0
		for _, refine := range s.refines() {
			r, err := s.measure(ctx, mdl, search.Plan{NProbe: nprobe, ScanDims: dims, Refine: refine})
			if err != nil {
				return 0, err
			}
			best = max(best, r.Recall)
			if r.Recall-last < refineGain || float64(refine) >= r.Scanned || s.late() {
				break
			}
			last = r.Recall
		}
	}
	return best, nil
}

func (s *sweep) measure(ctx context.Context, mdl *model.Model, p search.Plan) (Result, error) {
	r, err := s.meter.measure(ctx, p)
	if err != nil {
		return r, err
	}
	s.points = append(s.points, point{
		PlanPoint: schemas.PlanPoint{
			NProbe: p.NProbe, ScanDims: p.ScanDims, Refine: p.Refine,
			Recall: r.Recall, Low: r.Low, Scanned: r.Scanned, Micros: r.Micros,
		},
		cost: cost(r, mdl.Subs(p.ScanDims), mdl.Dim()),
	})
	return r, nil
}

// refines are those that are not raised to k, or k itself.
func (s *sweep) refines() []int {
	for i, r := range refines {
		if r >= s.meter.k {
			return refines[i:]
		}
	}
	return []int{s.meter.k}
}

func (s *sweep) late() bool { return time.Now().After(s.until) }

// cost is what a plan makes a query do, in look-ups of a sub-quantiser (10 ps with AVX2). What all plans of a model
// share, coarse scores and tables, is left out.
func cost(r Result, subs, dim int) float64 {
	const (
		perList = 3000 // a first cache miss for each of the codes, dead rows and bounds
		perByte = 5    // int8 values are mostly read from memory, a cache line at a time
	)
	return perList*r.Lists + float64(subs)*r.Scanned + perByte*float64(dim)*r.Refined
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

// Choose returns the cheapest of the plans, which are in order of cost, whose measured recall reaches the target. If
// none does it returns the one with the most recall and false; of no plans, zero values and false.
func Choose(plans []schemas.PlanPoint, target float64) (search.Plan, schemas.PlanPoint, bool) {
	var best schemas.PlanPoint
	for _, p := range plans {
		if p.Recall >= target {
			return planOf(p), p, true
		}
		if p.Recall > best.Recall {
			best = p
		}
	}
	return planOf(best), best, false
}

func planOf(p schemas.PlanPoint) search.Plan {
	return search.Plan{NProbe: p.NProbe, ScanDims: p.ScanDims, Refine: p.Refine}
}

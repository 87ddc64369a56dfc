package search

import (
	"context"
	"slices"

	"github.com/adastream/adastream/index/snapshot"
)

// Refines answers a query as [Searcher.Search] does, with each of some rising numbers of candidates in place of the plan's, but scans
// codes once for all of them: a sweep of plans costs half. Only which of some codes that score alike are refined may differ. It calls
// each for every number, in no order; hits are valid until that returns.
func (s *Searcher) Refines(ctx context.Context, snap *snapshot.Snapshot, query []float32, k int, plan Plan, refines []int, each func(i int, hits []Hit, u Usage)) error {
	alone := len(refines) // so many are searched with on their own
	if alone > 1 && !plan.Exact && !plan.Originals && plan.Among == nil && snap.Model() != nil && snap.Live() > 0 {
		var err error
		if alone, err = s.refineEach(ctx, snap, query, k, plan, refines, each); err != nil {
			return err
		}
	}
	for i, n := range refines[:alone] {
		plan.Refine = n
		hits, u, err := s.Search(ctx, snap, query, k, plan, s.alone[:0])
		if err != nil {
			return err
		}
		s.alone = hits
		each(i, hits, u)
	}
	return nil
}

// refineEach is Refines by one scan. The first short of the numbers are not answered: they come short of k hits, for which Search would go on
// to other lists.
func (s *Searcher) refineEach(ctx context.Context, snap *snapshot.Snapshot, query []float32, k int, plan Plan, refines []int, each func(i int, hits []Hit, u Usage)) (short int, err error) {
	plan.Refine = refines[len(refines)-1]
	if k, err = wanted(snap, k, plan); err != nil {
		return 0, err
	}
	defer s.end()
	if err := s.begin(snap, query, k, plan); err != nil {
		return 0, err
	}
	lists, err := s.choose(ctx, plan)
	if err != nil {
		return 0, err
	}
	if err := s.lists(ctx, lists); err != nil {
		return 0, err
	}
	found := s.found.best(&s.pruner)
	ends := make([]int, len(refines))
	for i, n := range slices.Backward(refines) { // the best come first, the best of those before them
		plan.Refine = n
		end := len(found)
		if i+1 < len(refines) {
			end = ends[i+1]
		}
		if ends[i] = min(end, s.candidates(plan)); ends[i] < end {
			selectBest(s.found.scores[:end], found[:end], ends[i])
		}
	}
	defer s.forgetSeen()
	start := 0
	for i, end := range ends {
		s.refineSome(found[start:end])
		start = end
		if !s.enough() {
			short = i + 1
			continue
		}
		hits := s.best()
		each(i, hits, s.usage)
		slices.Reverse(hits) // the worst first is a heap again
	}
	return short, nil
}

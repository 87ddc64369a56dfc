package search

import (
	"context"
	"slices"

	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/snapshot"
)

const (
	// batchQueries is how many queries share their lists. More of them meet more often in a list, but what they need
	// meanwhile, some 16 KiB each with usual plans, should fit the third-level cache. See docs/adr/0009.
	batchQueries = 1024
	// batchCandidates bounds what the queries that share lists refine together, and so their memory, whatever the plan.
	batchCandidates = 1 << 18
	// batchTurns bounds the lists that they search together.
	batchTurns = 1 << 20
	// shareLeast queries probe few lists in common if they are fewer: each of them is answered by itself.
	shareLeast = 16
	// shareBytes of codes stay in a cache. If there are no more, to go from query to query costs more than to read lists for each:
	// queries only look together.
	shareBytes = 16 << 20
	// lookQueries look at all lists together: enough that centroids come from a near cache, few enough that what they see
	// stays in the second-level cache.
	lookQueries = 8
	// ownShare of its lists, the best, a query searches by itself, so that it knows which scores matter.
	ownShare = 8
)

// SearchBatch answers len(results) queries, vectors [len(results)][D], as [Searcher.Search] does each of them, and appends
// the hits of query i to results[i]. Only which of some codes that score alike are refined, if those are not all, may differ: lists are
// met in another order. Lists that queries have in common are read once for all of them. The usage is that of
// all. With an error comes the number of the query that it is about, and results are of no use.
func (s *Searcher) SearchBatch(ctx context.Context, snap *snapshot.Snapshot, vectors []float32, k int, plan Plan, results [][]Hit) (total Usage, at int, err error) {
	k, err = wanted(snap, k, plan)
	if err != nil {
		return total, 0, err
	}
	refined := withDead(snap, min(int64(max(1, plan.Refine, 2*k)), 2*int64(max(1, snap.BaseRows()))))
	most := int(max(1, min(batchQueries, batchCandidates/refined, batchTurns/max(1, int64(plan.NProbe)))))
	switch {
	case plan.Exact || snap.Model() == nil:
		most = exactQueries
	case plan.Remote == nil && codeBytes(snap) <= s.shareBytes:
		most = lookQueries
	}
	s.batch = resize(s.batch, max(len(s.batch), min(most, len(results))))
	dim := snap.Spec().Dim()
	for start := 0; start < len(results); start += most {
		some := results[start:min(start+most, len(results))]
		at, err := s.share(ctx, snap, vectors[start*dim:], k, plan, some)
		for i := range some {
			s.query = &s.batch[i]
			total.Add(s.usage)
			s.end()
		}
		s.query = &s.one
		if err != nil {
			return total, start + at, err
		}
	}
	return total, 0, nil
}

// Add counts what other queries cost as well.
func (u *Usage) Add(more Usage) {
	u.Lists, u.Codes, u.Refined = u.Lists+more.Lists, u.Codes+more.Codes, u.Refined+more.Refined
	u.Originals, u.Lacking, u.Many, u.Bytes = u.Originals+more.Originals, u.Lacking+more.Lacking, u.Many+more.Many, u.Bytes+more.Bytes
}

// share answers some queries together. The error is about query i.
func (s *Searcher) share(ctx context.Context, snap *snapshot.Snapshot, vectors []float32, k int, plan Plan, results [][]Hit) (i int, err error) {
	exact := (plan.Exact || snap.Model() == nil) && k > 0
	apart := !exact && (len(results) < shareLeast || k == 0)
	s.turns, s.together = s.turns[:0], s.together[:0]
	if err := ctx.Err(); err != nil { // who has gone is not told of mistakes
		return 0, err
	}
	dim := snap.Spec().Dim()
	for i := range results {
		s.query = &s.batch[i]
		if err := s.begin(snap, vectors[i*dim:(i+1)*dim], k, plan); err != nil {
			return i, err
		}
	}
	for i := range results {
		if !exact && k > 0 && i%lookQueries == 0 {
			s.look(plan, s.batch[i:min(i+lookQueries, len(results))])
		}
		s.query = &s.batch[i]
		switch {
		case exact:
			err = ctx.Err()
			s.together = append(s.together, s.query)
		case apart:
			err = s.answer(ctx, plan)
		default:
			err = s.enter(ctx, plan, int32(i))
		}
		if err != nil {
			return i, err
		}
		s.looked = nil
	}
	for some := range slices.Chunk(s.together, exactQueries) {
		if err := s.scoreAllOf(ctx, some); err != nil {
			return 0, err
		}
	}
	if i, err := s.takeTurns(ctx); err != nil {
		return i, err
	}
	for i := range results {
		s.query = &s.batch[i]
		if !apart && !exact {
			if s.refine(); !s.enough() { // rare enough to begin again
				s.restart(k)
				if err := s.answer(ctx, plan); err != nil {
					return i, err
				}
			}
		}
	}
	return s.finish(ctx, plan.Remote, results)
}

// codeBytes is how many bytes of codes there are.
func codeBytes(snap *snapshot.Snapshot) (n int) {
	for _, p := range snap.Parts() {
		n += len(p.Blocks)
	}
	return n
}

// look has some queries, lookQueries at most, look at all lists.
func (s *Searcher) look(plan Plan, some []query) {
	var quants [lookQueries][]int16
	for i := range some {
		quants[i] = some[i].quant
	}
	mdl := s.snap.Model()
	looked := mdl.Look(s.level, quants[:len(some)], plan.NProbe, s.scratch)
	for i := range some {
		if looked != nil {
			some[i].looked = looked[i*mdl.NList():][:mdl.NList()]
		}
	}
}

// finish writes the answers of a batch. The error is about query i.
func (s *Searcher) finish(ctx context.Context, remote Remote, results [][]Hit) (i int, err error) {
	s.together = s.together[:0]
	for i := range results {
		s.together = append(s.together, &s.batch[i])
	}
	for start := 0; start < len(results); {
		served, err := s.bring(ctx, remote, s.together[start:]...)
		if err != nil {
			return start, err
		}
		for end := start + served; start < end; start++ {
			s.query = s.together[start]
			results[start] = append(results[start], s.best()...)
		}
	}
	return 0, nil
}

// turn is a list that a query is to search.
type turn struct {
	coarse.Probe
	query int32
}

// enter searches the best lists of the query at hand, number i, and notes its turns at the others. If all that a
// filter leaves is to be scored, that is done with the others of which that is so.
func (s *Searcher) enter(ctx context.Context, plan Plan, i int32) error {
	var lists []coarse.Probe
	var err error
	worth := true
	if s.among == nil {
		lists, err = s.choose(ctx, plan)
	} else {
		lists, worth, err = s.chooseAmong(ctx, plan)
	}
	switch {
	case err != nil:
		return err
	case !worth:
		s.found.reset(0, 0)
		s.together = append(s.together, s.query)
		return nil
	}
	own := (len(lists) + ownShare - 1) / ownShare
	if len(s.turns)+len(lists) > batchTurns { // with a filter lists may be many
		own = len(lists)
	}
	s.usage.Lists += len(lists) - own
	for _, p := range lists[own:] {
		s.turns = append(s.turns, turn{p, i})
	}
	return s.lists(ctx, lists[:own])
}

// takeTurns searches list after list for all queries that have turns there. The error is about query i.
func (s *Searcher) takeTurns(ctx context.Context) (i int, err error) {
	if len(s.turns) == 0 {
		return 0, nil
	}
	nlist := s.snap.Model().NList()
	s.starts = resize(s.starts, nlist+1)
	s.order = resize(s.order, len(s.turns))
	clear(s.starts)
	for _, t := range s.turns {
		s.starts[t.List+1]++
	}
	for list := range nlist {
		s.starts[list+1] += s.starts[list]
	}
	for _, t := range s.turns {
		s.order[s.starts[t.List]] = t
		s.starts[t.List]++ // now the end of the list's turns
	}
	start := int32(0)
	for list, end := range s.starts[:nlist] {
		turns := s.order[start:end]
		if start = end; len(turns) == 0 {
			continue
		}
		for _, r := range s.snap.Runs(int32(list)) {
			for i, t := range turns {
				s.query = &s.batch[t.query]
				if err := s.search(ctx, visit{r, t.Base}, s.aheadOfTurn(turns[i+1:], s.order[end:])); err != nil {
					return int(t.query), err
				}
			}
		}
	}
	return 0, nil
}

// aheadOfTurn returns what is read next: the table of the next query that has a turn at this list, or the codes of the list after it.
func (s *Searcher) aheadOfTurn(here, after []turn) []byte {
	if len(here) > 0 {
		return s.batch[here[0].query].lut.Table
	}
	if len(after) > 0 {
		if runs := s.snap.Runs(after[0].List); len(runs) > 0 {
			return s.blocks(runs[0])
		}
	}
	return nil
}

package search

import (
	"context"
	"math"

	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/snapshot"
)

// With a filter the neighbours that count are farther away: the k-th best of a share s of the rows is about the (k/s)-th
// best of all. So lists are searched, the best first, until
//
//	(rows in them that count) * (rows in them) >= (2 - share) * (rows in the lists of the plan)^2
//
// where lists without a row that counts are passed over. Where rows are spread evenly, those are about 1/sqrt(s) times as many lists as the
// plan has; where all rows count, those of the plan. What counts is the share in these lists, not in the index: rows about the
// query's own subject are nearly all that is in the lists around it, and need no more lists than a search without a filter.
// The share of the whole index says how much of the filter may lie elsewhere, where queries find less in as many lists.

// rowCost is how many codes are scanned in the time in which one row is scored that lies anywhere. Where the rows that count
// cost less than the codes of the lists that lead to them, they are scored without a scan, all of them.
const rowCost = 4

// Lists are found with some to spare, at first no more than firstProbes times those of the plan.
const (
	spareProbes = 1.25
	firstProbes = 3
)

// amongRows is how many rows are looked through at once for those that count, which may be few.
const amongRows = 64 * scoreRows

// probeAmong is probe for a query with a filter.
func (s *Searcher) probeAmong(ctx context.Context, plan Plan) error {
	lists, worth, err := s.chooseAmong(ctx, plan)
	switch {
	case err != nil:
		return err
	case !worth:
		return s.scoreAll(ctx)
	}
	if err := s.lists(ctx, lists); err != nil {
		return err
	}
	s.refine()
	if s.enough() {
		return nil
	}
	s.restart(s.top.k)
	return s.scoreAll(ctx)
}

// chooseAmong is choose for a query with a filter. It is not worth it if all rows that count are to be scored, which nothing has begun then.
func (s *Searcher) chooseAmong(ctx context.Context, plan Plan) (lists []coarse.Probe, worth bool, err error) {
	count, rows := s.among.BaseCount(), s.snap.BaseRows()
	if count <= int64(plan.Refine) { // as many are scored whatever leads to them
		return nil, false, nil
	}
	lists, worth = s.listsAmong(plan, float64(count)/float64(rows))
	if !worth {
		return nil, false, nil
	}
	if err := s.enterLists(ctx, plan); err != nil {
		return nil, false, err
	}
	s.noteProbed(lists)
	return lists, true, nil
}

// listsAmong returns the lists to search for what a filter leaves, a share of the base's rows: see above. Those that have such rows of
// segments alone are among them. It is not worth it if to score all that count costs less.
func (s *Searcher) listsAmong(plan Plan, share float64) (lists []coarse.Probe, worth bool) {
	mdl, wider := s.snap.Model(), 2-share
	wanted := int(spareProbes * float64(plan.NProbe) * math.Sqrt(wider/share))
	for n, first := min(wanted, firstProbes*plan.NProbe), true; ; n, first = max(2*n, wanted), false {
		all, planned := mdl.ProbeInOrder(s.level, s.quant, s.scale, plan.NProbe, plan.Margin, n, s.looked, s.scratch)
		rows, codes := 0, 0
		for _, p := range all[:planned] {
			r, c := s.sizeOf(p.List)
			rows, codes = rows+r, codes+c
		}
		if first && float64(s.among.BaseCount())*rowCost <= float64(codes)*math.Sqrt(wider/share) {
			return nil, false
		}
		goal := max(1, wider*float64(rows)*float64(rows))
		lists, counting, passed := all[:0], 0, 0
		for _, p := range all {
			if float64(counting)*float64(passed) >= goal {
				return lists, true
			}
			if c := s.among.InList(p.List); c > 0 {
				r, _ := s.sizeOf(p.List)
				counting, passed = counting+c, passed+r
			} else if !s.among.HasFresh(p.List) {
				continue
			}
			lists = append(lists, p)
		}
		if float64(counting)*float64(passed) >= goal || len(all) == mdl.NList() {
			return lists, true
		}
	}
}

// sizeOf is how many rows of the base have a list as their first, and how many codes are in it.
func (s *Searcher) sizeOf(list int32) (rows, codes int) {
	for _, r := range s.snap.Runs(list) {
		if r.Kind == snapshot.Codes {
			start, end := s.parts[r.Part].ListRange(int(list))
			rows, codes = rows+end-start, codes+int(r.End-r.Start)
		}
	}
	return rows, codes
}

// keepAmong puts the hits of a scan that count into the reservoir: codes from first on.
func (s *Searcher) keepAmong(part, first int32, offset float32, hits []uint32) {
	rows := s.parts[part].CodeRows[first:]
	for _, h := range hits {
		if score := offset + s.lut.Scale*float32(h>>16); score >= s.found.floor && s.among.HasBase(int(rows[h&0xffff])) {
			s.found.add(&s.pruner, score, candidate{part, first + int32(h&0xffff)})
		}
	}
}

// scoreAmong offers the rows [start, end) of a part that count.
func (s *Searcher) scoreAmong(ctx context.Context, part, start, end int) error {
	for ; start < end; start += amongRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.at = s.among.AppendRows(s.at[:0], part, start, min(start+amongRows, end))
		s.aheadOfRows(part, s.at)
		s.scoreAt(part, s.at)
	}
	return nil
}

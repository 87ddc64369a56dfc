package search

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/snapshot"
)

// With a filter the neighbours that count are farther away: the k-th best of a share s of the rows is about the (k/s)-th
// best of all. So more lists are searched than the plan says, until they have seen as many rows that count as
//
//	(codes that the plan would scan) * s^amongPower
//
// that is, in s^(amongPower-1) times as many lists where the rows are spread evenly, and in as many as it takes where they
// lie elsewhere. Lists without such rows are passed over.
const amongPower = 0.5

// rowCost is how many codes are scanned in the time in which one row is scored that lies anywhere. Where the rows that count
// cost less than the codes of the lists that lead to them, they are scored without a scan, all of them.
const rowCost = 6

// amongRows is how many rows are looked through at once for those that count, which may be few.
const amongRows = 64 * scoreRows

// probeAmong is probe for a query with a filter.
func (s *Searcher) probeAmong(ctx context.Context, plan Plan) error {
	count, rows := s.among.BaseCount(), s.snap.BaseRows()
	if count <= int64(plan.Refine) { // as many are scored whatever leads to them
		return s.scoreAll(ctx)
	}
	share := float64(count) / float64(rows)
	mdl := s.snap.Model()
	codes := s.codesIn(mdl.Probe(s.level, s.quant, s.scale, plan.NProbe, plan.Margin, s.scratch))
	goal := float64(codes) * math.Pow(share, amongPower)
	if float64(count)*rowCost <= goal/share {
		return s.scoreAll(ctx)
	}
	if err := s.enterLists(ctx, plan); err != nil {
		return err
	}
	lists := s.listsAmong(int(math.Ceil(float64(plan.NProbe)*goal/float64(codes)/share)), goal)
	s.noteProbed(lists)
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

// codesIn is how many codes some lists have.
func (s *Searcher) codesIn(lists []coarse.Probe) (codes int) {
	for _, p := range lists {
		for _, r := range s.snap.Runs(p.List) {
			if r.Kind == snapshot.Codes {
				codes += int(r.End - r.Start)
			}
		}
	}
	return max(codes, 1)
}

// listsAmong returns the best lists that have so many rows of the base that count, or all that have one, and those between them that
// have such rows of segments alone. It looks at nprobe lists at first.
func (s *Searcher) listsAmong(nprobe int, goal float64) []coarse.Probe {
	mdl := s.snap.Model()
	for nprobe = min(nprobe, mdl.NList()); ; nprobe = min(4*nprobe, mdl.NList()) {
		lists := mdl.Probe(s.level, s.quant, s.scale, nprobe, 0, s.scratch)
		slices.SortFunc(lists, func(a, b coarse.Probe) int { return cmp.Compare(b.Base, a.Base) })
		kept, seen := lists[:0], 0.0
		for _, p := range lists {
			if seen >= goal {
				break
			}
			n := s.among.InList(p.List)
			if n > 0 || s.among.HasFresh(p.List) {
				kept, seen = append(kept, p), seen+float64(n)
			}
		}
		if seen >= goal || nprobe == mdl.NList() {
			return kept
		}
	}
}

// keepAmong puts the hits of a scan that count into the reservoir: codes from first on.
func (s *Searcher) keepAmong(part, first int32, offset float32, hits []uint32) {
	rows := s.parts[part].CodeRows[first:]
	for _, h := range hits {
		if score := offset + s.lut.Scale*float32(h>>16); score >= s.found.floor && s.among.HasBase(int(rows[h&0xffff])) {
			s.found.add(candidate{score, part, first + int32(h&0xffff)})
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

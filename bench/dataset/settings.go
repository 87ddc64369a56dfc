package dataset

import (
	"fmt"
	"slices"

	"github.com/adastream/adastream/index/search"
)

// Settings are the plans that are measured, exact search last. The more lists, the more candidates are worth refining, and
// the most with their originals.
func (s *Set) Settings(nlist int) []search.Plan {
	var plans []search.Plan
	for nprobe := 8; nprobe <= max(8, nlist/8); nprobe *= 2 {
		for _, part := range []int{nprobe, nprobe + nprobe/2} {
			for _, each := range []int{1, 2, 4, 8} {
				plans = append(plans, search.Plan{
					NProbe: min(part, nlist), ScanDims: s.Dim, Refine: min(max(40, each*part), 2000), Originals: each == 8,
				})
			}
		}
	}
	return append(slices.Compact(plans), search.Plan{Exact: true}) // few lists are worth the same least
}

// Describe names a plan.
func Describe(p search.Plan) string {
	if p.Exact {
		return "exact"
	}
	if p.Originals {
		return fmt.Sprintf("nprobe=%d refine=%d originals", p.NProbe, p.Refine)
	}
	return fmt.Sprintf("nprobe=%d refine=%d", p.NProbe, p.Refine)
}

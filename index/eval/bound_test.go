package eval

import (
	"slices"
	"testing"
)

// A bounded scan finds what exact search finds, with and without lists, whatever the prefix, and scores few rows whole where the prefix
// carries most.
func TestScanBounded(t *testing.T) {
	b := newBench(t)
	full := b.data.Ladder.Dim()
	for _, coarse := range []*Coarse{nil, {View: prefixOf(8), NList: 16, NProbe: 3}, {View: prefixOf(8), NList: 300, NProbe: 1}} { // lists of less than k rows
		exact, err := b.build(t.Context(), System{Coarse: coarse, Scan: Scan{View: prefixOf(full)}})
		if err != nil {
			t.Fatal(err)
		}
		nprobe := 0
		if coarse != nil {
			nprobe = coarse.NProbe
		}
		plain := b.newSearcher(exact, nprobe)
		for _, bound := range []int{1, 8, 16, full - 1} {
			x, err := b.build(t.Context(), System{Coarse: coarse, Scan: Scan{View: prefixOf(full), Bound: bound}})
			if err != nil {
				t.Fatal(err)
			}
			bounded := b.newSearcher(x, nprobe)
			plain.scanned = 0
			for q := range b.data.Queries.N {
				want := slices.Clone(plain.search(q))
				got := bounded.search(q)
				if len(got) != len(want) {
					t.Fatalf("bound %d, query %d: %d rows, want %d", bound, q, len(got), len(want))
				}
				for i := range got {
					if d := got[i].score - want[i].score; d > 1e-5 || d < -1e-5 {
						t.Errorf("bound %d, query %d: %v, want %v", bound, q, got, want)
						break
					}
				}
			}
			if bounded.scanned != plain.scanned || bounded.completed > bounded.scanned {
				t.Errorf("bound %d: %d rows scored whole, %d scanned, want %d", bound, bounded.completed, bounded.scanned, plain.scanned)
			}
			if coarse == nil && bound == full-1 && bounded.completed > bounded.scanned/10 {
				t.Errorf("all but one dimension leave %d of %d rows", bounded.completed, bounded.scanned)
			}
		}
	}
}

package search_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// selectBy selects the live rows whose ids a test says yes to.
func selectBy(t testing.TB, snap *snapshot.Snapshot, counts func(id string) bool) *filter.Selection {
	t.Helper()
	s, err := filter.Select(t.Context(), snap, func(p *segment.Part) snapshot.BitSet {
		rows := make(snapshot.BitSet, (p.N+63)/64)
		for i := range p.N {
			if counts(p.IDAt(i)) {
				rows[i/64] |= 1 << (i % 64)
			}
		}
		return rows
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// draw is a share of ids, the same each time.
func draw(d *snapshottest.Data, share float64) func(id string) bool {
	r, ids := rand.New(rand.NewPCG(8, 8)), map[string]bool{}
	for _, id := range d.IDs {
		ids[id] = r.Float64() < share
	}
	return func(id string) bool { return ids[id] }
}

// With a filter an exact answer is that of brute force without the other rows, and so is any that leaves no list out, however
// the rows are stored.
func TestAmong_isBruteForceOfWhatIsSelected(t *testing.T) {
	for _, metric := range bothMetrics {
		d := snapshottest.Clustered(snapshottest.Spec(metric, 16, 64), rows, 12)
		level := best(t)
		mdl := d.Train(t, level, nlist)
		for name, groups := range layouts {
			for _, bare := range []bool{false, true} {
				build := snapshottest.Build
				if bare {
					build = snapshottest.BuildBare
				}
				snap := build(t, d, mdl, level, groups, func(i int) bool { return i%7 == 2 })
				for _, share := range []float64{0, 0.001, 0.02, 0.3, 1} {
					t.Run(fmt.Sprintf("%s/%s/bare=%v/%v", metric, name, bare, share), func(t *testing.T) {
						counts := draw(d, share)
						among := selectBy(t, snap, counts)
						s := search.New(level)
						for q := range 5 {
							query := d.Vector(q * 7)
							want := slices.DeleteFunc(bruteForce(snap, query), func(a answer) bool { return !counts(a.id) })
							want = want[:min(20, len(want))]
							plan := everything(mdl)
							plan.Among = among
							compareAnswers(t, "everything", run(t, s, snap, query, 20, plan), want)
							if !snap.HasVectors() {
								compareAnswers(t, "exact", run(t, s, snap, query, 20, search.Plan{Exact: true, Among: among}), want)
								continue
							}
							all := run(t, s, snap, query, rows, search.Plan{Exact: true})
							all = slices.DeleteFunc(all, func(a answer) bool { return !counts(a.id) })
							if got := run(t, s, snap, query, 20, search.Plan{Exact: true, Among: among}); !slices.Equal(got, all[:min(20, len(all))]) {
								t.Errorf("exact: %v, want %v", got, all[:min(20, len(all))])
							}
							plan.Originals = true
							if got := run(t, s, snap, query, 20, plan); !slices.Equal(got, all[:min(20, len(all))]) {
								t.Errorf("everything, by originals: %v, want %v", got, all[:min(20, len(all))])
							}
						}
					})
				}
			}
		}
	}
}

// compareAnswers allows for what float32 does to scores, and so to the order of rows that are all but equal.
func compareAnswers(t *testing.T, what string, got, want []answer) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d hits, want %d", what, len(got), len(want))
	}
	for i := range want {
		if off := float64(got[i].score - want[i].score); off > 1e-3 || off < -1e-3 {
			t.Fatalf("%s: hit %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// However few lists a plan has, an answer holds only what is selected, k of it where there is so much, and most of the best.
func TestAmong_neverFewer(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 64), 20_000, 13)
	level := best(t)
	mdl := d.Train(t, level, 128)
	snap := snapshottest.Build(t, d, mdl, level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: 19_000}, {Kind: snapshottest.Segment, Start: 19_000, End: 20_000}}, func(i int) bool { return i%9 == 1 })
	const k = 10
	for _, share := range []float64{0.0002, 0.005, 0.05, 0.3, 0.9} {
		counts := draw(d, share)
		among := selectBy(t, snap, counts)
		s, found, all, scanned := search.New(level), 0, 0, 0
		for q := range 100 {
			plan := search.Plan{NProbe: 8, ScanDims: 64, Refine: 60, Among: among}
			hits, u, err := s.Search(t.Context(), snap, d.Vector(q), k, plan, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(hits) != int(min(k, among.Count())) {
				t.Fatalf("share %v: %d hits of %d rows", share, len(hits), among.Count())
			}
			best := run(t, s, snap, d.Vector(q), k, search.Plan{Exact: true, Among: among})
			for _, a := range answers(snap, hits) {
				if !counts(a.id) {
					t.Fatalf("share %v: %s is not selected", share, a.id)
				}
				if slices.ContainsFunc(best, func(b answer) bool { return b.id == a.id }) {
					found++
				}
			}
			all += len(best)
			scanned += u.Codes
		}
		if recall := float64(found) / float64(all); recall < 0.9 {
			t.Errorf("share %v: recall %.3f", share, recall)
		}
		if (scanned > 0) != (share >= 0.3) {
			t.Errorf("share %v: %d codes scanned", share, scanned)
		}
	}
}

// A filter that leaves everything costs what no filter does; one that leaves half of the rows, spread evenly, less than twice as much.
func TestAmong_costs(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 64), 20_000, 15)
	level := best(t)
	mdl := d.Train(t, level, 128)
	snap := snapshottest.Build(t, d, mdl, level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: d.N()}}, nil)
	everything, half := selectBy(t, snap, func(string) bool { return true }), selectBy(t, snap, draw(d, 0.5))
	s := search.New(level)
	for _, margin := range []float64{0, 0.1} {
		var codes, ofHalf int
		for q := range 50 {
			plan := search.Plan{NProbe: 24, Margin: margin, ScanDims: 64, Refine: 400}
			ask := func(among *filter.Selection) ([]search.Hit, search.Usage) {
				plan.Among = among
				hits, u, err := s.Search(t.Context(), snap, d.Vector(q), 10, plan, nil)
				if err != nil {
					t.Fatal(err)
				}
				return hits, u
			}
			want, u := ask(nil)
			got, same := ask(everything)
			if same.Lists != u.Lists || !slices.Equal(got, want) {
				t.Fatalf("margin %v: %d lists and %v with a filter that leaves everything, %d and %v without", margin, same.Lists, got, u.Lists, want)
			}
			_, less := ask(half)
			codes, ofHalf = codes+u.Codes, ofHalf+less.Codes
		}
		if ofHalf < codes || ofHalf > 2*codes {
			t.Errorf("margin %v: %d codes for half of the rows, %d for all", margin, ofHalf, codes)
		}
	}
}

// Rows that count are in lists that are far from the query: those are looked for until there are enough.
func TestAmong_elsewhere(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 64), 20_000, 14)
	level := best(t)
	mdl := d.Train(t, level, 128)
	snap := snapshottest.Build(t, d, mdl, level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: d.N()}}, nil)
	s := search.New(level)
	query := d.Vector(5)
	// The half that is farther away.
	all := run(t, s, snap, query, d.N(), search.Plan{Exact: true})
	far := map[string]bool{}
	for _, a := range all[d.N()/2:] {
		far[a.id] = true
	}
	among := selectBy(t, snap, func(id string) bool { return far[id] })
	hits, u, err := s.Search(t.Context(), snap, query, 10, search.Plan{NProbe: 4, ScanDims: 64, Refine: 100, Among: among}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(hits) != 10 || u.Codes == 0 {
		t.Errorf("%d hits, %d codes scanned", len(hits), u.Codes)
	}
	for _, a := range answers(snap, hits) {
		if !far[a.id] {
			t.Errorf("%s is not selected", a.id)
		}
	}
}

// A list whose rows that count are all fresh ones, of segments, is searched as any other: none of the base may have been there yet.
func TestAmong_freshRowsOfListsWithoutOthers(t *testing.T) {
	const fresh = 1900 // rows from here on
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 64), rows, 17)
	level := best(t)
	mdl := d.Train(t, level, nlist)
	snap := snapshottest.Build(t, d, mdl, level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: fresh}, {Kind: snapshottest.Segment, Start: fresh, End: d.N()}}, nil)
	parts, counts := snap.Parts(), map[string]bool{}
	segment := parts[len(parts)-1]
	for row := range segment.N {
		counts[segment.IDAt(row)] = true
	}
	const asked = 7 // a row of the segment
	for _, p := range parts[:len(parts)-1] {
		for row := range p.N {
			counts[p.IDAt(row)] = p.ListAt(row) != segment.ListAt(asked) && p.ListAt(row) != segment.SpillAt(asked)
		}
	}
	query := make([]float32, d.Spec.Dim())
	segment.Vector(level, asked, query)
	among := selectBy(t, snap, func(id string) bool { return counts[id] })
	hits, u, err := search.New(level).Search(t.Context(), snap, query, 1, search.Plan{NProbe: 4, ScanDims: 64, Refine: 20, Among: among}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := answers(snap, hits)[0].id, segment.IDAt(asked); got != want || u.Codes == 0 {
		t.Errorf("the vector of %s finds %s, %d codes scanned", want, got, u.Codes)
	}
}

// Queries of a batch are answered as single ones, and a selection of another generation is refused.
func TestAmong_batch(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 64), rows, 15)
	level := best(t)
	mdl := d.Train(t, level, nlist)
	snap := snapshottest.Build(t, d, mdl, level, layouts["mixed"], nil)
	plan := search.Plan{NProbe: 4, ScanDims: 64, Refine: 40, Among: selectBy(t, snap, draw(d, 0.4))}
	s, results := search.NewSharing(level), make([][]search.Hit, 64)
	if _, _, err := s.SearchBatch(t.Context(), snap, d.Vectors[:64*64], 5, plan, results); err != nil {
		t.Fatal(err)
	}
	for q, got := range results {
		if want := run(t, s, snap, d.Vector(q), 5, plan); !slices.Equal(answers(snap, got), want) {
			t.Errorf("query %d: %v, alone %v", q, answers(snap, got), want)
		}
	}
	other := snapshottest.Build(t, d, mdl, level, layouts["chunks"], nil)
	if _, _, err := s.Search(t.Context(), other, d.Vector(0), 5, plan, nil); err == nil {
		t.Error("a selection of other parts is taken")
	}
}

func TestAmong_allocatesNothing(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 64), rows, 16)
	level := best(t)
	mdl := d.Train(t, level, nlist)
	snap := snapshottest.Build(t, d, mdl, level, layouts["mixed"], nil)
	s, hits := search.New(level), make([]search.Hit, 0, 10)
	for _, share := range []float64{0.01, 0.5} {
		plan := search.Plan{NProbe: 2, ScanDims: 64, Refine: 20, Among: selectBy(t, snap, draw(d, share))}
		if n := testing.AllocsPerRun(20, func() {
			if _, _, err := s.Search(context.Background(), snap, d.Vector(3), 10, plan, hits); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("share %v: %v allocations a query", share, n)
		}
	}
}

package search_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"weak"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// elsewhere has the originals that another snapshot of the same rows is without.
type elsewhere struct {
	snap  *snapshot.Snapshot
	calls int
	most  int // rows of a call
	lacks func(row search.Hit) bool
}

func (e *elsewhere) Originals(_ context.Context, rows []search.Hit) [][]float32 {
	e.calls, e.most = e.calls+1, max(e.most, len(rows))
	brought := make([][]float32, len(rows))
	for i, h := range rows {
		if e.lacks != nil && e.lacks(h) {
			continue
		}
		brought[i] = make([]float32, e.snap.Spec().Dim())
		e.snap.Parts()[h.Part].Vector(avx.Generic, h.Row, brought[i])
	}
	return brought
}

// Originals that are brought decide as those at hand do, to the bit, one query at a time and many; what is lacking leaves the
// answer of int8 rows.
func TestSearch_remote(t *testing.T) {
	for _, metric := range bothMetrics {
		for _, prefix := range []schemas.PrefixMode{schemas.PrefixNative, schemas.PrefixRotate} {
			spec := snapshottest.Spec(metric, 16, 32)
			spec.Prefix = prefix
			d := snapshottest.Clustered(spec, rows, 3)
			mdl := d.Train(t, best(t), nlist)
			dead := func(i int) bool { return i%7 == 0 }
			for name, layout := range layouts {
				full := snapshottest.Build(t, d, mdl, best(t), layout, dead)
				bare := snapshottest.BuildBare(t, d, mdl, best(t), layout, dead)
				for how, plan := range map[string]search.Plan{
					// So many are refined that none of ten is at the edge, where order decides.
					"plan": {NProbe: nlist / 2, ScanDims: 32, Refine: 200, Originals: true}, "exact": {Exact: true},
					"narrow": {NProbe: nlist, ScanDims: 16, Refine: 200, Originals: true, Dims: 16},
				} {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", metric, prefix, name, how), func(t *testing.T) {
						remote := &elsewhere{snap: full}
						from := plan
						from.Remote = remote
						int8s := plan
						int8s.Originals = false
						s := search.New(best(t))
						const queries = 40
						var vectors []float32
						var want [queries][]answer
						for q := range queries {
							query := d.Vector(q * 17)
							vectors = append(vectors, query...)
							want[q] = run(t, s, full, query, 10, plan)
							if got := run(t, s, bare, query, 10, from); !slices.Equal(got, want[q]) {
								t.Fatalf("query %d: %v, want %v", q, got, want[q])
							}
						}
						if bare.HasVectors() != (remote.calls == 0) {
							t.Fatalf("%d calls", remote.calls)
						}
						results := make([][]search.Hit, queries)
						u, _, err := s.SearchBatch(t.Context(), bare, vectors, 10, from, results)
						if err != nil || u.Lacking != 0 || u.Originals < queries*10 {
							t.Fatalf("%+v, %v", u, err)
						}
						for q := range want {
							if got := answers(bare, results[q]); !slices.Equal(got, want[q]) {
								t.Fatalf("query %d of many: %v, want %v", q, got, want[q])
							}
						}
						if bare.HasVectors() {
							return
						}
						remote.lacks = func(h search.Hit) bool { return h.Row%16 == 0 }
						lacking := 0
						for q := range queries {
							query := d.Vector(q * 17)
							hits, u, err := s.Search(t.Context(), bare, query, 10, from, nil)
							if err != nil {
								t.Fatal(err)
							}
							expect := want[q]
							if lacking += u.Lacking; u.Lacking == 1 {
								if u.Originals != 0 {
									t.Fatalf("query %d: %+v", q, u)
								}
								expect = run(t, s, bare, query, 10, int8s)
							}
							if got := answers(bare, hits); !slices.Equal(got, expect) {
								t.Fatalf("query %d, lacking %d: %v, want %v", q, u.Lacking, got, expect)
							}
						}
						if lacking == 0 || lacking == queries {
							t.Fatalf("%d of %d queries lacked an original", lacking, queries)
						}
					})
				}
			}
		}
	}
}

// The zero vector, to which all rows are alike, needs no originals, and the others of its batch get theirs.
func TestSearch_remoteBesideTheZeroVector(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.InnerProduct, 16), 600, 3)
	mdl := d.Train(t, best(t), 8)
	groups := []snapshottest.Group{{Kind: snapshottest.Chunks, End: 600}}
	full, bare := snapshottest.Build(t, d, mdl, best(t), groups, nil), snapshottest.BuildBare(t, d, mdl, best(t), groups, nil)
	clear(d.Vector(0))
	clear(d.Vector(7))
	for _, plan := range []search.Plan{{Exact: true}, {NProbe: mdl.NList(), ScanDims: 16, Refine: 1200, Originals: true}} {
		remote := &elsewhere{snap: full}
		plan.Remote = remote
		s, results := search.New(best(t)), make([][]search.Hit, 20)
		if _, _, err := s.SearchBatch(t.Context(), bare, d.Vectors, 10, plan, results); err != nil {
			t.Fatal(err)
		}
		for q, hits := range results {
			if want := run(t, s, full, d.Vector(q), 10, search.Plan{Exact: true}); !slices.Equal(answers(bare, hits), want) {
				t.Errorf("query %d: %v, want %v", q, answers(bare, hits), want)
			}
		}
		called := remote.calls
		if run(t, s, bare, d.Vector(0), 10, plan); remote.calls != called {
			t.Error("the zero vector asked for originals")
		}
	}
}

// What queries of a batch ask for at a time is bounded.
func TestSearch_remoteInTurns(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 128), 600, 3)
	mdl := d.Train(t, best(t), 8)
	groups := []snapshottest.Group{{Kind: snapshottest.Chunks, End: 600}}
	full, bare := snapshottest.Build(t, d, mdl, best(t), groups, nil), snapshottest.BuildBare(t, d, mdl, best(t), groups, nil)
	remote := &elsewhere{snap: full}
	results := make([][]search.Hit, 64)
	s := search.New(best(t))
	if _, _, err := s.SearchBatch(t.Context(), bare, d.Vectors, 400, search.Plan{Exact: true, Remote: remote}, results); err != nil {
		t.Fatal(err)
	}
	if remote.calls < 6 || remote.most > search.MostRemote {
		t.Errorf("%d calls of up to %d rows", remote.calls, remote.most)
	}
	for q, hits := range results {
		if want := run(t, s, full, d.Vector(q), 400, search.Plan{Exact: true}); !slices.Equal(answers(bare, hits), want) {
			t.Fatalf("query %d", q)
		}
	}
}

// An original agrees with the row that was made of it, whatever kernels look; another one does not, nor one with a bit flipped, unless the
// bit is worth less than the half step that the row leaves open.
func TestAgrees(t *testing.T) {
	for _, metric := range bothMetrics {
		for _, prefix := range []schemas.PrefixMode{schemas.PrefixNative, schemas.PrefixRotate} {
			spec := snapshottest.Spec(metric, 16, 32)
			spec.Prefix = prefix
			d := snapshottest.Clustered(spec, rows, 3)
			snap := snapshottest.Build(t, d, d.Train(t, best(t), nlist), best(t), layouts["chunks"], nil)
			buffer, v := make([]float32, 64), make([]float32, 32)
			rng := rand.New(rand.NewPCG(1, 2))
			flipped, found := 0, 0
			for part, p := range snap.Parts() {
				for row := range p.N {
					for _, level := range avx.Levels() {
						p.Vector(level, row, v)
						if err := search.Agrees(level, snap, part, row, v, buffer); err != nil {
							t.Fatalf("%s, %s, %s: part %d, row %d: %v", metric, prefix, level, part, row, err)
						}
					}
					if err := search.Agrees(best(t), snap, part, (row+1)%p.N, v, buffer); !errors.Is(err, schemas.ErrCorrupt) {
						t.Fatalf("%s: part %d: row %d is taken for the next one: %v", metric, part, row, err)
					}
					i, bit := rng.IntN(len(v)), rng.IntN(32)
					was := v[i]
					v[i] = math.Float32frombits(math.Float32bits(was) ^ 1<<bit)
					err := search.Agrees(best(t), snap, part, row, v, buffer)
					flipped++
					if err != nil {
						found++
						continue
					}
					var squares float64
					for _, x := range v {
						squares += float64(x) * float64(x)
					}
					unit := 1.0
					if metric == schemas.Cosine {
						unit = math.Sqrt(squares)
					}
					// By the axes of a rotating model it is spread over all values, each of them off by a step at most.
					if by := math.Abs(float64(v[i]-was)) / unit; by > 1.1*float64(p.Scales[row])*math.Sqrt(float64(len(v))) {
						t.Fatalf("%s, %s: part %d, row %d: bit %d of value %d makes %g of %g, and agrees", metric, prefix, part, row, bit, i, v[i], was)
					}
				}
			}
			if float64(found) < 0.2*float64(flipped) {
				t.Errorf("%s, %s: %d of %d flipped bits were found", metric, prefix, found, flipped)
			}
			t.Logf("%s, %s: %d of %d flipped bits were found", metric, prefix, found, flipped)
		}
	}
}

// watched remembers what it has brought, but does not keep it.
type watched struct {
	elsewhere
	brought []weak.Pointer[float32]
}

func (w *watched) Originals(ctx context.Context, rows []search.Hit) [][]float32 {
	brought := w.elsewhere.Originals(ctx, rows)
	for _, v := range brought {
		if v != nil {
			w.brought = append(w.brought, weak.Make(&v[0]))
		}
	}
	return brought
}

// A Searcher lets go of originals once they have decided: it may rest for long, and how many a node keeps is bounded elsewhere.
func TestSearch_remoteIsLetGo(t *testing.T) {
	spec := snapshottest.Spec(schemas.Cosine, 16, 32)
	d := snapshottest.Clustered(spec, rows, 3)
	mdl := d.Train(t, best(t), nlist)
	layout := layouts["chunks"]
	full, bare := snapshottest.Build(t, d, mdl, best(t), layout, nil), snapshottest.BuildBare(t, d, mdl, best(t), layout, nil)
	for name, lacks := range map[string]func(search.Hit) bool{"all": nil, "some lacking": func(h search.Hit) bool { return h.Row%2 == 0 }} {
		remote := &watched{elsewhere: elsewhere{snap: full, lacks: lacks}}
		plan := search.Plan{NProbe: nlist, ScanDims: 32, Refine: 60, Originals: true, Remote: remote}
		s := search.New(best(t))
		run(t, s, bare, d.Vector(1), 10, plan)
		const queries = 40
		var vectors []float32
		for q := range queries {
			vectors = append(vectors, d.Vector(q*17)...)
		}
		if _, _, err := s.SearchBatch(t.Context(), bare, vectors, 10, plan, make([][]search.Hit, queries)); err != nil {
			t.Fatal(err)
		}
		remote.letGo(t, name, queries)
		runtime.KeepAlive(s)
	}
}

// letGo checks that nobody keeps what was brought, of each query something.
func (w *watched) letGo(t *testing.T, what string, queries int) {
	t.Helper()
	runtime.GC()
	kept := 0
	for _, v := range w.brought {
		if v.Value() != nil {
			kept++
		}
	}
	if kept > 0 || len(w.brought) < queries {
		t.Errorf("%s: %d of %d originals are kept", what, kept, len(w.brought))
	}
}

// leaves is a remote whose caller is gone when it has brought all that was asked for.
type leaves struct {
	watched
	leave context.CancelFunc
}

func (l *leaves) Originals(ctx context.Context, rows []search.Hit) [][]float32 {
	defer l.leave()
	return l.watched.Originals(ctx, rows)
}

// So does one whose caller left while they were brought.
func TestSearch_remoteIsLetGo_callerGone(t *testing.T) {
	spec := snapshottest.Spec(schemas.Cosine, 16, 32)
	d := snapshottest.Clustered(spec, rows, 3)
	mdl := d.Train(t, best(t), nlist)
	layout := layouts["chunks"]
	full, bare := snapshottest.Build(t, d, mdl, best(t), layout, nil), snapshottest.BuildBare(t, d, mdl, best(t), layout, nil)
	for _, queries := range []int{1, 40} {
		ctx, cancel := context.WithCancel(t.Context())
		remote := &leaves{watched{elsewhere: elsewhere{snap: full}}, cancel}
		plan := search.Plan{NProbe: nlist, ScanDims: 32, Refine: 60, Originals: true, Remote: remote}
		s := search.New(best(t))
		var vectors []float32
		for q := range queries {
			vectors = append(vectors, d.Vector(q*17)...)
		}
		var err error
		if queries == 1 {
			_, _, err = s.Search(ctx, bare, vectors, 10, plan, nil)
		} else {
			_, _, err = s.SearchBatch(ctx, bare, vectors, 10, plan, make([][]search.Hit, queries))
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		remote.letGo(t, fmt.Sprint(queries, " queries"), queries)
		runtime.KeepAlive(s)
	}
}

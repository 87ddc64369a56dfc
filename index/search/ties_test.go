package search

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// However many rows are as good as one another, a query keeps few of them to compare by their originals: under inner product the zero
// vector makes all rows alike, and a batch of it would take gigabytes of a large index.
func TestSearch_contendersAreBounded(t *testing.T) {
	spec := snapshottest.Spec(schemas.InnerProduct, 4)
	d := &snapshottest.Data{Spec: spec}
	const n = 10 * leastContenders
	for i := range n {
		d.IDs = append(d.IDs, fmt.Sprintf("%06d", (i*7919)%n))
		d.Vectors = append(d.Vectors, float32(i%5), 1, float32(i%3), 0)
	}
	snap := snapshottest.Build(t, d, nil, avx.Generic, []snapshottest.Group{{Kind: snapshottest.Unlisted, End: n / 2}, {Kind: snapshottest.Unlisted, Start: n / 2, End: n}},
		func(i int) bool { return (i*7919)%n == 1 })
	for _, query := range [][]float32{{0, 0, 0, 0}, {0, 0, 0, 1}, {0, 1, 0, 0}} {
		s := New(avx.Generic)
		hits, u, err := s.Search(t.Context(), snap, query, 3, Plan{Exact: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"000000", "000002", "000003"} {
			if got := snap.Parts()[hits[i].Part].IDAt(hits[i].Row); got != want {
				t.Errorf("%v: hit %d is %s, want %s", query, i, got, want)
			}
		}
		if c := cap(s.maybe); c > 2*mostContenders {
			t.Errorf("%v: room for %d contenders of %d rows (%+v)", query, c, n, u)
		}
	}
}

// nowhere has no originals, and counts those that it is asked for.
type nowhere struct{ asked int }

func (n *nowhere) Originals(_ context.Context, rows []Hit) [][]float32 {
	n.asked += len(rows)
	return make([][]float32, len(rows))
}

// Where originals are not at hand, and more rows are as good as one another than can be brought, int8 rows decide, and that is said: a query
// does not note all rows. One that a few win is not affected.
func TestSearch_remoteContendersAreBounded(t *testing.T) {
	spec := snapshottest.Spec(schemas.InnerProduct, 4)
	d := &snapshottest.Data{Spec: spec}
	const n = 3 * mostRemoteContenders
	for i := range n {
		d.IDs = append(d.IDs, fmt.Sprintf("%06d", (i*7919)%n))
		d.Vectors = append(d.Vectors, float32(i%5), 1, float32(i%3), 0)
	}
	copy(d.Vectors[4*(n-1):], []float32{100, 0, 0, 0})
	mdl := d.Train(t, avx.Generic, 1)
	dead := func(i int) bool { return (i*7919)%n == 1 }
	layout := []snapshottest.Group{{Kind: snapshottest.Chunks, End: n}}
	full, bare := snapshottest.Build(t, d, mdl, avx.Generic, layout, dead), snapshottest.BuildBare(t, d, mdl, avx.Generic, layout, dead)
	idsOf := func(snap *snapshot.Snapshot, hits []Hit) (ids []string) {
		for _, h := range hits {
			ids = append(ids, snap.Parts()[h.Part].IDAt(h.Row))
		}
		return ids
	}
	for _, query := range [][]float32{{0, 0, 0, 1}, {0, 1, 0, 0}} {
		s, remote := New(avx.Generic), &nowhere{}
		hits, u, err := s.Search(t.Context(), bare, query, 3, Plan{Exact: true, Remote: remote}, nil)
		if err != nil || u.Lacking != 1 || u.Many != 1 || remote.asked != 0 {
			t.Errorf("%v: %+v, %d originals wanted, %v", query, u, remote.asked, err)
		}
		want, _, err := s.Search(t.Context(), bare, query, 3, Plan{Exact: true}, nil) // of int8 rows
		if err != nil || !slices.Equal(hits, want) {
			t.Errorf("%v: found %v, want %v, %v", query, hits, want, err)
		}
		if c := cap(s.maybe); c > 3*mostRemoteContenders {
			t.Errorf("%v: room for %d contenders of %d rows", query, c, n)
		}
		results := make([][]Hit, 3)
		if u, _, err := s.SearchBatch(t.Context(), bare, slices.Concat(query, query, query), 3, Plan{Exact: true, Remote: remote}, results); err != nil || u.Lacking != 3 || u.Many != 3 || !slices.Equal(results[2], want) {
			t.Errorf("%v: %+v finds %v, %v", query, u, results, err)
		}
	}
	s, remote := New(avx.Generic), &nowhere{}
	hits, u, err := s.Search(t.Context(), bare, []float32{1, 0, 0, 0}, 1, Plan{Exact: true, Remote: remote}, nil)
	want, _, wantErr := s.Search(t.Context(), full, []float32{1, 0, 0, 0}, 1, Plan{Exact: true}, nil)
	if err != nil || wantErr != nil || u.Many != 0 || !slices.Equal(idsOf(bare, hits), idsOf(full, want)) {
		t.Errorf("%+v finds %v, want %v: %v, %v", u, idsOf(bare, hits), idsOf(full, want), err, wantErr)
	}
}

// A plan that refines more candidates than there are codes makes room for those that there are.
func TestSearch_roomForCandidates(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16), 1000, 1)
	mdl := d.Train(t, avx.Generic, 4)
	snap := snapshottest.Build(t, d, mdl, avx.Generic, []snapshottest.Group{{Kind: snapshottest.Chunks, End: d.N()}}, nil)
	s := New(avx.Generic)
	if _, _, err := s.Search(t.Context(), snap, d.Vector(0), 10, Plan{NProbe: 4, ScanDims: 16, Refine: 1 << 40}, nil); err != nil {
		t.Fatal(err)
	}
	if c := cap(s.found.list); c > 2*d.N() {
		t.Errorf("room for %d candidates of %d codes", c, 2*d.N())
	}
}

// Queries that share their lists are so many that their turns stay few, however many lists each of them probes.
func TestSearchBatch_turnsAreBounded(t *testing.T) {
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 4), 5000, 2)
	mdl := d.Train(t, level, 3000)
	snap := snapshottest.Build(t, d, mdl, level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: d.N()}}, nil)
	s, results := NewSharing(level), make([][]Hit, batchQueries)
	if _, _, err := s.SearchBatch(t.Context(), snap, d.Vectors, 1, Plan{NProbe: mdl.NList(), ScanDims: 4, Refine: 1}, results); err != nil {
		t.Fatal(err)
	}
	if c := cap(s.turns); c == 0 || c > 2*batchTurns || len(s.turns) > batchTurns {
		t.Errorf("room for %d turns at %d lists", c, mdl.NList())
	}
	if n := batchQueries * mdl.NList() * (ownShare - 1) / ownShare; n <= batchTurns {
		t.Fatalf("%d turns in all, which are no more than are allowed", n)
	}
}

// What the queries of a batch refine together is bounded where most rows are dead too, and each looks for the living among more candidates.
func TestSearchBatch_candidatesAreBounded(t *testing.T) {
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 4), 8000, 3)
	mdl := d.Train(t, level, 8)
	snap := snapshottest.Build(t, d, mdl, level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: d.N()}}, func(i int) bool { return i%200 != 0 })
	s, results := NewSharing(level), make([][]Hit, batchQueries)
	if _, _, err := s.SearchBatch(t.Context(), snap, d.Vectors, 1, Plan{NProbe: mdl.NList(), ScanDims: 4, Refine: 100}, results); err != nil {
		t.Fatal(err)
	}
	room := 0
	for i := range s.batch {
		room += cap(s.batch[i].found.list)
	}
	if room > reservoirFactor*batchCandidates {
		t.Errorf("room for %d candidates", room)
	}
	most := Plan{NProbe: 1, ScanDims: 4, Refine: math.MaxInt}
	if _, _, err := s.SearchBatch(t.Context(), snap, d.Vectors, 1, most, make([][]Hit, 20)); err != nil {
		t.Fatal(err)
	}
}

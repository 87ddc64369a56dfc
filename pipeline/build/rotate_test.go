package build

import (
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// newTurnedWorld is a world of an encoder whose prefixes mean nothing.
func newTurnedWorld(t testing.TB, seed uint64, prefix schemas.PrefixMode) *world {
	t.Helper()
	spec := testSpec()
	spec.Prefix = prefix
	w := newWorldOf(t, seed, spec)
	w.turn = snapshottest.Turning(testDim, seed)
	return w
}

// searched checks that what the plan for a recall of 0.9 finds in the newest generation is that good, and scored as originals
// are, wherever it comes from.
func (w *world) searched() {
	w.t.Helper()
	m := w.settled()
	s := w.snapshot(m)
	const nq, k = 40, 10
	var queries []float32
	for range nq {
		queries = append(queries, w.vector()...)
	}
	truth, err := exact.TopK(w.t.Context(), w.level, 1, s, queries, nq, k, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	plan, _, ok := recall.Choose(m.Plans, 0.9)
	if !ok {
		w.t.Errorf("generation %d has no plan for recall 0.9", m.Generation)
	}
	searcher, found := search.New(w.level), 0
	prepared, buffer := make([]float32, testDim), make([]float32, 2*testDim)
	for q := range nq {
		query := queries[q*testDim:][:testDim]
		hits, _, err := searcher.Search(w.t.Context(), s, query, k, plan, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := search.Prepare(s.Spec(), query, prepared); err != nil {
			w.t.Fatal(err)
		}
		for _, h := range hits {
			if want := search.ScoreOriginal(avx.Generic, s, s.Parts()[h.Part], h.Row, prepared, buffer); max(h.Score-want, want-h.Score) > 0.02 {
				w.t.Fatalf("generation %d: a row of part %d has score %v, its original %v", m.Generation, h.Part, h.Score, want)
			}
			for _, x := range truth[q] {
				if h.Part == x.Part && h.Row == x.Row {
					found++
				}
			}
		}
	}
	if r := float64(found) / nq / k; r < 0.85 {
		w.t.Errorf("generation %d: recall %v by the plan for 0.9", m.Generation, r)
	}
}

// Vectors whose prefixes mean nothing are refused under a native spec, with the figures and what to do. No repair is tried, a
// builder that begins anew refuses them too, and an operator may overrule it.
func TestNativePrefixesAreRefused(t *testing.T) {
	t.Parallel()
	const ids = 4000
	w := newTurnedWorld(t, 32, schemas.PrefixNative)
	b := w.trained(ids)
	refused := func(when string) {
		t.Helper()
		m := w.settled()
		if q := m.Quality; q == nil || q.Promoted || !strings.Contains(q.Reason, "prefix: rotate") || !strings.Contains(q.Reason, "of 8 dimensions 0.") {
			t.Errorf("%s: quality %+v", when, q)
		}
		if len(m.Model.Prefixes) != 2 || b.channel != nil && b.channel.Generation >= m.Quality.Measured {
			t.Errorf("%s: prefixes %v, generation %+v is served", when, m.Model.Prefixes, b.channel)
		}
	}
	refused("trained")
	b.drop()
	if err := b.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.run(b); len(got) != 0 {
		t.Errorf("after a restart: %v was made anew", got)
	}
	refused("after a restart")
	for p := range testPartitions {
		w.ingest(p, 1500, ids, b.model)
		for _, repair := range w.run(b) {
			if repair != model.Nothing {
				t.Errorf("%s of what no repair helps", repair)
			}
		}
	}
	refused("with more rows")
	if _, err := w.log.Promote(t.Context(), b.channel, schemas.Channel{Generation: b.manifest.Generation, Reason: "as it is", By: "mara@ops"}); err != nil {
		t.Fatal(err)
	}
	w.ingest(0, 10, ids, b.model)
	w.run(b)
	if b.channel.Generation != b.manifest.Generation {
		t.Errorf("generation %d is served after one was promoted by hand, the newest is %d", b.channel.Generation, b.manifest.Generation)
	}
}

// A model that rotates serves the same vectors. Its axes stay through repairs of codes, which leave rows files alone, and of
// lists; a full training learns others, under which all int8 rows are made anew. Segments of any of them, or of none, are
// searched rightly in each generation.
func TestRotatingModels(t *testing.T) {
	t.Parallel()
	const ids = 4000
	w := newTurnedWorld(t, 32, schemas.PrefixRotate)
	b := w.trained(ids)
	first := b.model
	late := func() { // segments that the builder has folded and not merged
		t.Helper()
		w.ingest(0, 300, ids, nil)
		w.ingest(1, 300, ids, first)
		w.ingest(2, 300, ids, b.model)
		if _, err := b.fold(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.show(b)
		w.searched()
		w.check(b.manifest)
	}
	shows := func(repair model.Repair) {
		t.Helper()
		if q := b.quality; !q.Promoted || b.modelRef.Repair != string(repair) {
			t.Errorf("%s: model %+v, quality %+v", repair, b.modelRef, q)
		}
		if p := b.modelRef.Prefixes; len(p) != 2 || p[0].Recall < p[0].Chance+0.1 || p[1].Recall < p[1].Chance+0.1 {
			t.Errorf("%s: prefixes %+v", repair, p)
		}
		for i, c := range b.chunks() {
			if c.Axes != b.model.Axes() || c.Axes == "" {
				t.Errorf("%s: chunk %d is of axes %q, the model of %q", repair, i, c.Axes, b.model.Axes())
			}
		}
		w.searched()
		w.check(b.manifest)
	}
	shows(model.Everything)
	late()
	w.run(b)
	for _, tt := range []struct{ tried, want model.Repair }{{"", model.Codes}, {model.Codes, model.Lists}, {model.Lists, model.Everything}} {
		before, axes := b.manifest, b.model.Axes()
		bad := *b.quality
		bad.Promoted, bad.Reason = false, "test"
		b.quality, b.tried = &bad, tt.tried
		if got := w.run(b); len(got) != 1 || got[0] != tt.want {
			t.Fatalf("after %q: %v, want %s", tt.tried, got, tt.want)
		}
		shows(tt.want)
		if (b.model.Axes() == axes) != (tt.want != model.Everything) {
			t.Errorf("%s: axes %.8s after %.8s", tt.want, b.model.Axes(), axes)
		}
		for i, c := range b.manifest.Chunks {
			if tt.want == model.Codes && c.Rows != before.Chunks[i].Rows {
				t.Errorf("chunk %d: other rows with other codes", i)
			}
		}
		late()
		w.run(b)
		w.searched()
	}
	b.drop()
	if err := b.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.ingest(0, 1500, ids, b.model)
	for _, repair := range w.run(b) {
		if repair != model.Nothing {
			t.Errorf("%s of a stream that does not change: %s", repair, b.drift.Reason)
		}
	}
	w.searched()
}

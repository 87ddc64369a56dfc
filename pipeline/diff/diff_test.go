package diff_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/diff"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// liveOf are the versions of a generation, by opening all of it.
func liveOf(t *testing.T, log *commit.Log, generation int64) map[string]segment.Order {
	t.Helper()
	m, err := log.Manifest(t.Context(), generation)
	if err != nil {
		t.Fatal(err)
	}
	s, err := replica.Snapshot(t.Context(), buildtest.Cache(t, log.Bucket()), log.Spec(), avx.Generic, m)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	live := map[string]segment.Order{}
	for i, p := range s.Parts() {
		for row := range p.N {
			if !s.Dead(i).Has(row) {
				live[strings.Clone(p.IDAt(row))] = p.OrderAt(row)
			}
		}
	}
	return live
}

// brute is the difference of two sets of versions.
func brute(from, to map[string]segment.Order) (all []string) {
	for id, order := range to {
		before, known := from[id]
		if known && before == order {
			continue
		}
		all = append(all, fmt.Sprint(diff.Change{ID: id, New: !known}, order))
	}
	for id := range from {
		if _, kept := to[id]; !kept {
			all = append(all, fmt.Sprint(diff.Change{ID: id, Deleted: true}, segment.Order{}))
		}
	}
	slices.Sort(all)
	return all
}

func changes(t *testing.T, o diff.Options, from, to int64) []string {
	t.Helper()
	var all []string
	if err := diff.Run(t.Context(), o, from, to, func(c diff.Change) error {
		all = append(all, fmt.Sprint(c, c.Order))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// What changed between any two generations, forwards and backwards, is what two sets of all their rows say, whatever builders have
// joined and rewritten in between, and whatever is held at a time.
func TestChangesOfRandomHistories(t *testing.T) {
	for seed := range uint64(3) {
		h := buildtest.NewHistory(t, store.NewMemory(), buildtest.HistorySpec(8, 16), seed)
		built := []*schemas.Manifest{}
		for round := range 6 {
			h.Commit(round%2, 60+200*(round%3), 600)
			if round > 1 {
				h.Commit(1-round%2, 40, 30)
			}
			built = append(built, h.Build(func(m *schemas.Manifest) bool { return round < 3 || len(m.Chunks) > 0 }))
		}
		newest := built[len(built)-1].Generation
		all := map[int64]map[string]segment.Order{}
		for g := int64(1); g <= newest; g += max(1, newest/8) {
			all[g] = liveOf(t, h.Index, g)
		}
		all[newest] = liveOf(t, h.Index, newest)
		if live := h.Live(); len(all[newest]) != len(live) {
			t.Errorf("seed %d: %d rows are live, the history has %d", seed, len(all[newest]), len(live))
		}
		changed, cache := 0, buildtest.Cache(t, h.Index.Bucket())
		for from := range all {
			for to := range all {
				want := brute(all[from], all[to])
				for _, held := range []int{0, 7, 100} {
					if got := changes(t, diff.Options{Log: h.Index, Cache: cache, Held: held}, from, to); !slices.Equal(got, want) {
						t.Fatalf("seed %d, generation %d to %d, %d held: %d changes, want %d\n got %.300q\nwant %.300q", seed, from, to, held, len(got), len(want), got, want)
					}
				}
				changed += len(want)
			}
		}
		if changed == 0 {
			t.Errorf("seed %d: nothing changed in %d generations", seed, newest)
		}
	}
}

// Parts that both generations name are read only where rows died in between.
func TestCostFollowsTheChange(t *testing.T) {
	h := buildtest.NewHistory(t, store.NewMemory(), buildtest.HistorySpec(8, 16), 5)
	h.Commit(0, 200, 100_000)
	before := h.Build(nil)
	h.Commit(1, 30, 1_000_000) // of ids that are likely new ones
	after := h.Build(nil)
	if len(after.Segments) != len(before.Segments)+1 {
		t.Fatalf("%d segments, then %d: they are not shared", len(before.Segments), len(after.Segments))
	}
	var read int64
	cache := buildtest.Cache(t, h.Index.Bucket())
	n := 0
	if err := diff.Run(t.Context(), diff.Options{Log: h.Index, Cache: cache, Progress: func(done, _ int64) { read = done }}, before.Generation, after.Generation, func(diff.Change) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	if want := after.Segments[len(after.Segments)-1].Size; n == 0 || read != want {
		t.Errorf("%d changes by reading %d bytes, the new segment has %d", n, read, want)
	}
}

func TestCollectedGenerationIsNotThere(t *testing.T) {
	h := buildtest.NewHistory(t, store.NewMemory(), buildtest.HistorySpec(8, 16), 6)
	h.Commit(0, 60, 40)
	first := h.Build(nil)
	h.Commit(1, 60, 40)
	h.Build(nil)
	buildtest.Collect(t, h.Index)
	newest, err := h.Index.Latest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, missing int64 }{{first.Generation, newest.Generation, first.Generation}, {newest.Generation, 99, 99}} {
		err := diff.Run(t.Context(), diff.Options{Log: h.Index, Cache: buildtest.Cache(t, h.Index.Bucket())}, c.from, c.to, func(diff.Change) error { return nil })
		if !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), fmt.Sprintf("generation %d: ", c.missing)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestChangeIsALine(t *testing.T) {
	lines := map[string]string{}
	for _, c := range []diff.Change{{ID: "a b", New: true}, {ID: "two\nlines"}, {ID: "gone", Deleted: true}} {
		lines[c.ID] = c.String()
	}
	if want := map[string]string{"a b": "+ a b", "two\nlines": `~ "two\nlines"`, "gone": "- gone"}; !maps.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
}

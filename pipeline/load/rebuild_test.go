package load

import (
	"math/rand/v2"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/rebuild"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// An index that is made again from its objects has what was loaded, under the same partitions, and another load goes on behind it.
func TestLoad_rebuilt(t *testing.T) {
	names, want := data(t, rand.New(rand.NewPCG(9, 9)), 3, 400)
	spec := testSpec(2, 3)
	from, to := open(t, store.NewMemory(), spec), open(t, store.NewMemory(), spec)
	for part := range 3 {
		if _, err := Run(t.Context(), options(t, from, names, part, 3)); err != nil {
			t.Fatal(err)
		}
	}
	was, _, _ := state(t, from)
	for n := range from {
		cache, err := store.NewCache(t.TempDir(), from[n].Bucket(), store.CacheOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rebuild.Run(t.Context(), rebuild.Options{From: from[n], To: to[n], Cache: cache, Level: avx.Generic}); err != nil {
			t.Fatal(err)
		}
	}
	is, _, _ := state(t, to)
	for id, v := range was {
		if is[id] != v {
			t.Fatalf("%s is %+v, was %+v", id, is[id], v)
		}
	}
	if len(is) != len(was) {
		t.Errorf("%d ids, want %d", len(is), len(was))
	}
	for part := range 3 {
		report, err := Run(t.Context(), options(t, to, names, part, 3))
		if err != nil || report.Already {
			t.Fatalf("%+v, %v", report, err)
		}
	}
	live, _, _ := state(t, to)
	if len(live) != len(want) {
		t.Errorf("%d ids, want %d", len(live), len(want))
	}
}

// Files are Arrow whatever the messages of the topic are.
func TestLoad_messagesAreJSON(t *testing.T) {
	spec := testSpec(1, 1)
	spec.Messages = &schemas.Messages{Format: schemas.MessagesJSON}
	b := store.NewMemory()
	if err := commit.Create(t.Context(), b, spec); err != nil {
		t.Fatal(err)
	}
	shards := open(t, b, spec)
	if report, err := Run(t.Context(), options(t, shards, write(t, []string{line("a", 1)}), 0, 1)); err != nil || report.Rows != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

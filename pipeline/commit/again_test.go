package commit

import (
	"errors"
	"strings"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
)

// remove deletes all of a bucket, as an operator does who begins anew.
func remove(t *testing.T, b store.Bucket) {
	t.Helper()
	var keys []string
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	for _, key := range keys {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// What is followed is still there as long as its record is, or a collection has taken that; of an index that was removed, and of one that
// was made anew with as many promotions, it is not.
func TestStill(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	l.grow(1)
	at, err := l.log.Follow(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	still := func() error { return l.log.Still(t.Context(), at) }
	if err := still(); err != nil {
		t.Errorf("of what is served: %v", err)
	}
	l.grow(12)
	l.mustCollect()
	if _, err := l.log.Promotion(t.Context(), at.Record.Sequence); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("nothing is shown: promotion %d: %v, want it collected", at.Record.Sequence, err)
	}
	if err := still(); err != nil {
		t.Errorf("of what was collected: %v", err)
	}
	if at, err = l.log.Follow(t.Context(), at); err != nil || at == nil {
		t.Fatal(at, err)
	}
	remove(t, b)
	if err := still(); !errors.Is(err, ErrReplaced) {
		t.Errorf("of an index that was removed: %v", err)
	}
	if _, err := l.log.Again(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("opened an index that was removed: %v", err)
	}
	anew := newLibrary(t, b)
	anew.grow(int(at.Record.Sequence))
	if err := still(); !errors.Is(err, ErrReplaced) {
		t.Errorf("of an index that was made anew: %v", err)
	}
	again, err := l.log.Again(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if at, err = again.Follow(t.Context(), nil); err != nil || at == nil {
		t.Fatal(at, err)
	}
	if err := again.Still(t.Context(), at); err != nil {
		t.Errorf("of the one that is in its place: %v", err)
	}
}

// An epoch is followed as long as both records are there: the root's, and the epoch's own.
func TestStillOfEpochs(t *testing.T) {
	b := store.NewMemory()
	root, epoch := openLog(t, b), openEpoch(t, b, "mini-3")
	mustPublish(t, epoch, 1)
	mustPromote(t, epoch, nil, 1)
	if _, err := root.Promote(t.Context(), nil, toEpoch("mini-3")); err != nil {
		t.Fatal(err)
	}
	at, err := root.Follow(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Still(t.Context(), at); err != nil {
		t.Error(err)
	}
	remove(t, store.Under(b, "epochs/mini-3"))
	if err := root.Still(t.Context(), at); !errors.Is(err, ErrReplaced) || !strings.Contains(err.Error(), "mini-3") {
		t.Errorf("of an epoch that was removed: %v", err)
	}
}

// Who has an index open knows its spec: one of another spec in its place is not opened again.
func TestAgainOfAnotherSpec(t *testing.T) {
	b := store.NewMemory()
	l := openLog(t, b)
	remove(t, b)
	spec := *testSpec()
	spec.Encoder = "other"
	if err := Create(t.Context(), b, &spec); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Again(t.Context()); err == nil || !strings.Contains(err.Error(), "encoder other") {
		t.Errorf("opened again: %v", err)
	}
}

// A shard is opened again by the spec of its index, which is in the folder above.
func TestAgainOfAShard(t *testing.T) {
	spec := testSpec()
	spec.Shards = 2
	b := store.NewMemory()
	if err := Create(t.Context(), b, spec); err != nil {
		t.Fatal(err)
	}
	shards, err := OpenShards(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := shards[1].Over(shards[1].Bucket()).Again(t.Context())
	if err != nil || again.Shard() != 1 || again.Bucket() != shards[1].Bucket() {
		t.Errorf("opened shard 1 again as %+v, %v", again, err)
	}
}

package commit

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
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

// Whoever has worked on an index leaves the one in its place alone: a record of theirs in the middle of its lines would end it. It does not
// matter whether the other one has come further.
func TestWritersOfAnIndexThatWasReplaced(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, b store.Bucket, older map[string][]byte){
		"removed": func(t *testing.T, b store.Bucket, _ map[string][]byte) { remove(t, b) },
		"made anew": func(t *testing.T, b store.Bucket, _ map[string][]byte) {
			remove(t, b)
			openLog(t, b)
		},
		"made anew, as far": func(t *testing.T, b store.Bucket, _ map[string][]byte) {
			remove(t, b)
			grow(t, openLog(t, b), 3)
		},
		"made anew, further": func(t *testing.T, b store.Bucket, _ map[string][]byte) {
			remove(t, b)
			grow(t, openLog(t, b), 5)
		},
		"made anew of another spec": func(t *testing.T, b store.Bucket, _ map[string][]byte) {
			remove(t, b)
			spec := testSpec()
			spec.Encoder = "other"
			if err := Create(t.Context(), b, spec); err != nil {
				t.Fatal(err)
			}
		},
		"put back": func(t *testing.T, b store.Bucket, older map[string][]byte) {
			remove(t, b)
			for key, body := range older {
				mustPutRaw(t, b, key, body)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := store.NewMemory()
			l := openLog(t, b)
			grow(t, l, 2)
			older := contents(t, b)
			at := grow(t, l, 3)
			ingestor, builder, collector := openLog(t, b), openLog(t, b), openLog(t, b)
			if _, err := ingestor.Head(t.Context(), 0, 0); err != nil {
				t.Fatal(err)
			}
			if m, err := builder.Latest(t.Context(), 0); err != nil || m.Generation != 3 {
				t.Fatal(m, err)
			}
			found, err := collector.Find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := collector.Fence(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := builder.Latest(t.Context(), 3); err != nil { // the fence
				t.Fatal(err)
			}
			replace(t, b, older)
			before := contents(t, b)
			for what, do := range map[string]func() error{
				"append":  func() error { return ingestor.Append(t.Context(), plain(30, 40, 0)) },
				"publish": func() error { return builder.Publish(t.Context(), manifest(5, 30)) },
				"promote": func() error {
					_, err := builder.Promote(t.Context(), at, schemas.Channel{Generation: 1, Reason: "by hand", By: "operator"})
					if errors.Is(err, store.ErrNotFound) { // the generation that is to be served is gone
						err = ErrReplaced
					}
					return err
				},
				"collect": func() error {
					_, err := collector.Collect(t.Context(), CollectOptions{Found: found, By: "b"})
					if err == nil && len(before) <= 1 { // nothing to do where there is no generation
						err = ErrReplaced
					}
					return err
				},
				"look at the ingestor's": func() error { return ingestor.Unchanged(t.Context()) },
				"look at the builder's":  func() error { return builder.Unchanged(t.Context()) },
			} {
				if err := do(); !errors.Is(err, ErrReplaced) {
					t.Errorf("%s: %v, want ErrReplaced", what, err)
				}
			}
			if m, err := builder.Latest(t.Context(), 4); m != nil || err != nil && !errors.Is(err, ErrReplaced) {
				t.Errorf("a newer generation: %+v, %v", m, err)
			}
			if after := contents(t, b); !maps.EqualFunc(before, after, bytes.Equal) {
				t.Errorf("%d objects became %d", len(before), len(after))
			}
		})
	}
}

// grow brings an index to a generation, each with a commit of ten records and promoted, and returns the last promotion.
func grow(t *testing.T, l *Log, to int64) *schemas.Channel {
	t.Helper()
	at, err := l.Channel(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	from := int64(1)
	if at != nil {
		from = at.Generation + 1
	}
	for g := from; g <= to; g++ {
		c := plain(10*g-10, 10*g, 0)
		c.Writer = uuid.NewString()
		mustAppend(t, l, c)
		m := manifest(g, 10*g)
		m.Builder = uuid.NewString()
		if err := l.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		at = mustPromote(t, l, at, g)
	}
	return at
}

// contents are all objects of a bucket.
func contents(t *testing.T, b store.Bucket) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		body, err := b.Get(t.Context(), info.Key)
		if err != nil {
			t.Fatal(err)
		}
		all[info.Key] = body
	}
	return all
}

// What an index that was removed has left behind, of somebody who wrote meanwhile, is not to become a part of the next one.
func TestCreateOverRecords(t *testing.T) {
	b := store.NewMemory()
	l := openLog(t, b)
	grow(t, l, 1)
	if err := Create(t.Context(), b, testSpec()); err != nil {
		t.Errorf("of an index that is there: %v", err)
	}
	if err := b.Delete(t.Context(), specKey); err != nil {
		t.Fatal(err)
	}
	if err := Create(t.Context(), b, testSpec()); err == nil || errors.Is(err, store.ErrExists) || !strings.Contains(err.Error(), "commits/000000/") {
		t.Errorf("over records without a spec: %v", err)
	}
	remove(t, b)
	mustPutRaw(t, b, "other/"+specKey, nil)
	if err := Create(t.Context(), b, testSpec()); err != nil {
		t.Errorf("above another index: %v", err)
	}
}

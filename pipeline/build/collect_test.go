package build

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// stored is the keys of the data objects in the store.
func (w *world) stored() (keys []string) {
	w.t.Helper()
	for info, err := range w.bucket.List(w.t.Context(), "", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.HasSuffix(info.Key, ".arrow") || strings.HasPrefix(info.Key, "pages/") {
			keys = append(keys, info.Key)
		}
	}
	return keys
}

// Builders that collect all the time, and keep nothing but what is served, never remove what a generation or a job of theirs
// needs; and in the end nothing is there but what the last ones name.
func TestCollectsWhileItBuilds(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 70+seed)
			w.pageParts = 2 * int(seed)
			o := Options{CollectEvery: time.Millisecond}
			b, stop := w.builder(o)
			collections, removed := 0.0, 0.0
			stopped := func() {
				stop()
				collections += testutil.ToFloat64(b.metrics.collections)
				removed += testutil.ToFloat64(b.metrics.collectedObjects)
				if n := testutil.ToFloat64(b.metrics.collectFailures); n > 0 {
					t.Errorf("%v collections failed", n)
				}
			}
			for range 40 {
				w.ingest(w.rng.IntN(testPartitions), 1+w.rng.IntN(120), 2400, w.current())
				switch w.rng.IntN(10) {
				case 0, 1, 2:
					w.settled()
				case 3:
					before := testutil.ToFloat64(b.metrics.collections)
					for deadline := time.Now().Add(time.Minute); testutil.ToFloat64(b.metrics.collections) < before+2 && time.Now().Before(deadline); {
						time.Sleep(time.Millisecond)
					}
				case 4:
					w.settled()
					stopped()
					w.check(w.latest())
					b, stop = w.builder(o)
				}
			}
			w.settledWith(func(m *schemas.Manifest) bool { return m.Model != nil && len(m.Chunks) > 0 })
			stopped()
			m := w.latest()
			w.check(m)
			if collections < 5 || removed < 50 {
				t.Errorf("%v collections removed %v objects", collections, removed)
			}

			found, err := w.log.Find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := w.log.Fence(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := w.log.Collect(t.Context(), commit.CollectOptions{Found: found, By: "test"}); err != nil {
				t.Fatal(err)
			}
			named := map[string]bool{}
			for g, err := range w.log.Manifests(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				m, err := w.log.Manifest(t.Context(), g)
				if err != nil {
					t.Fatal(err)
				}
				for o := range m.Objects() {
					named[o.Key] = true
				}
			}
			if got, want := w.stored(), slices.Sorted(maps.Keys(named)); !slices.Equal(got, want) {
				t.Errorf("there are %d objects, %d are named", len(got), len(want))
			}
			w.check(w.latest())
		})
	}
}

// latest is the newest generation.
func (w *world) latest() *schemas.Manifest {
	w.t.Helper()
	m, err := w.log.Latest(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// What a running job has put is named by nothing yet: a collection waits until that has landed and been published.
func TestCollectionWaitsForJobs(t *testing.T) {
	w := newWorld(t, 80)
	w.ingest(0, 400, 2400, nil)
	b := w.idle(256)
	b.startJobs(t.Context())
	j := b.jobs[rewrite]
	if j == nil {
		t.Fatal("no rewrite has begun")
	}
	f := &fence{published: make(chan struct{})}
	b.takeFence(f)
	if b.fenceDue() {
		t.Error("due while the job runs")
	}
	w.land(b, <-b.done)
	b.startJobs(t.Context()) // one that began later does not matter
	if !b.fenceDue() {
		t.Error("not due after the job has landed")
	}
	if err := b.publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.fencePublished()
	<-f.published
	if b.fenceDue() {
		t.Error("due again")
	}
}

// What a builder has may be collected while it sleeps, if somebody else published. Then it begins again from there, it does not stop.
func TestOvertakenByCollection(t *testing.T) {
	w := newWorld(t, 81)
	w.ingest(0, 40, 2400, nil)
	b := w.idle(256) // has published, and not promoted yet
	found, err := w.log.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.log.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.log.Collect(t.Context(), commit.CollectOptions{Found: found, By: "test"}); err != nil {
		t.Fatal(err)
	}
	if err := b.overtaken(t.Context(), b.promote(t.Context())); !errors.Is(err, schemas.ErrFenced) {
		t.Errorf("promoting what is collected: %v, want ErrFenced", err)
	}
	missing := fmt.Errorf("segment: %w", store.ErrNotFound)
	b.manifest = w.latest()
	if err := b.overtaken(t.Context(), missing); !errors.Is(err, store.ErrNotFound) || errors.Is(err, schemas.ErrFenced) {
		t.Errorf("an object of the newest generation: %v", err)
	}
}

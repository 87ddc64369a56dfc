package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
	"github.com/adastream/adastream/schemas"
)

// Any way to cut the log into segments, any order of partitions, any restart, any time at which compactions, rewrites and
// retrainings land gives the same live rows and the same exact neighbours.
func TestEveryScheduleGivesTheTruth(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			if seed == 2 {
				w = newTurnedWorld(t, seed, schemas.PrefixRotate)
			}
			w.pageParts = 2 * int(seed)
			_, stop := w.builder(Options{})
			for range 40 {
				var mdl *model.Model
				if w.rng.IntN(3) > 0 { // else an ingestor that has not heard of the model
					mdl = w.current()
				}
				w.ingest(w.rng.IntN(testPartitions), 1+w.rng.IntN(120), 2400, mdl)
				switch w.rng.IntN(8) {
				case 0:
					stop()
					if w.rng.IntN(2) == 0 {
						w.loseDead(w.latest())
					}
					_, stop = w.builder(Options{})
				case 1:
					w.check(w.settled())
				}
			}
			w.check(w.settledWith(func(m *schemas.Manifest) bool { return m.Model != nil && len(m.Chunks) > 0 }))
			stop()
			_, stop = w.builder(Options{}) // and a builder that has to load all of it
			w.ingest(0, 50, 2400, nil)
			w.check(w.settled())
			stop()
		})
	}
}

// Two builders of one index, each sure to be alone, do only harmless work.
func TestTwoBuilders(t *testing.T) {
	w := newWorld(t, 11)
	var log bytes.Buffer
	var mu sync.Mutex
	logger := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	}), nil))
	_, stop1 := w.builder(Options{Logger: logger})
	_, stop2 := w.builder(Options{Logger: logger})
	for range 40 {
		w.ingest(w.rng.IntN(testPartitions), 1+w.rng.IntN(60), 1500, w.current())
		w.settled()
	}
	w.check(w.settled())
	stop1()
	stop2()
	builders := map[string]int{}
	generation := int64(0)
	for g, err := range w.log.Manifests(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if generation++; g != generation {
			t.Fatalf("generation %d follows %d", g, generation-1)
		}
		m, err := w.log.Manifest(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		builders[m.Builder]++
	}
	promoted := int64(0)
	for sequence := int64(1); ; sequence++ {
		body, err := w.bucket.Get(t.Context(), fmt.Sprintf("channels/stable/0000/%020d", sequence))
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		c, err := schemas.ParseChannel(body)
		if err != nil {
			t.Fatal(err)
		}
		if c.Generation < promoted {
			t.Errorf("promotion %d goes back from generation %d to %d", sequence, promoted, c.Generation)
		}
		promoted = c.Generation
	}
	if len(builders) != 2 && !bytes.Contains(log.Bytes(), []byte("another builder published first")) {
		t.Errorf("the builders did not meet: %v", builders)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A commit whose segment is not what it says stops the builder with the object's name, and nothing of it is published.
func TestCorruptSegmentStopsTheBuilder(t *testing.T) {
	w := newWorld(t, 3)
	w.ingest(0, 20, 100, nil)
	m, err := w.log.Since(t.Context(), 0, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	key := m[0].Segment.Key
	body, err := w.bucket.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	body = slices.Clone(body)
	body[len(body)/2] ^= 1
	if err := errors.Join(w.bucket.Delete(t.Context(), key), w.bucket.PutIfAbsent(t.Context(), key, body)); err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Log: w.open(), Cache: w.cache(), Level: w.level})
	if err != nil {
		t.Fatal(err)
	}
	err = b.Run(t.Context())
	if !errors.Is(err, schemas.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(key)) {
		t.Errorf("got %v, want corruption of %s", err, key)
	}
	if b.Ready() == nil {
		t.Error("a stopped builder says that it is ready")
	}
	if latest, err := w.log.Latest(t.Context(), 0); err != nil || latest != nil {
		t.Errorf("published %+v, %v", latest, err)
	}
}

// A builder of an index that was removed ends, whether it has something to do or not, and leaves the one in its place alone.
func TestRemovedIndexEndsTheBuilder(t *testing.T) {
	for name, anew := range map[string]func(w *world){
		"removed":   func(*world) {},
		"made anew": func(w *world) { w.create(testSpec()) },
		"made anew, and filled": func(w *world) {
			w.create(testSpec())
			w.ingest(0, 20, 1500, nil)
			w.ingest(0, 30, 1500, nil) // begins where the builder would go on
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3)
			w.ingest(0, 20, 1500, nil)
			b, err := New(Options{Log: w.open(), Cache: w.cache(), Level: w.level, PublishEvery: 5 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- b.Run(ctx) }()
			w.check(w.settled())
			before := w.keys()
			for key := range before {
				if err := w.bucket.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			anew(w)
			made := w.keys()
			if err := <-ended; !errors.Is(err, commit.ErrReplaced) || !strings.Contains(err.Error(), "start again") {
				t.Errorf("ended with %v, want ErrReplaced", err)
			}
			for key := range w.keys() {
				if record := strings.HasPrefix(key, "manifests/") || strings.HasPrefix(key, "channels/") || strings.HasPrefix(key, "collections/"); record && !before[key] && !made[key] {
					t.Errorf("put %s", key)
				}
			}
			for key := range made {
				if _, err := w.bucket.Stat(t.Context(), key); err != nil {
					t.Errorf("of the one in its place: %v", err)
				}
			}
		})
	}
}

func TestOptionsNameEveryFault(t *testing.T) {
	err := Options{PublishEvery: -1, MinTrainRows: 3, RewriteRows: -1, ChunkBytes: -1, Threads: -1, ProbeEvery: -1}.Validate()
	for _, want := range []string{"log", "cache", "publish interval", "min train rows 3", "rewrite rows -1", "chunk bytes -1", "threads -1", "probe interval -1"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// A builder that runs says that its store overwrites, whatever else goes well, and goes on: to end would have it started again, to be refused.
func TestStoreBeginsToOverwrite(t *testing.T) {
	w := newWorld(t, 12)
	bucket := &storetest.Turncoat{Bucket: w.bucket}
	w.bucket = bucket
	w.ingest(0, 300, 300, nil)
	b, stop := w.start(Options{ProbeEvery: time.Millisecond, PublishEvery: time.Millisecond})
	defer stop()
	w.settled()
	w.awaitTrue("ready", func() bool { return b.Ready() == nil })
	bucket.Overwrites.Store(true)
	w.awaitTrue("not ready", func() bool { return errors.Is(b.Ready(), store.ErrIgnoresCondition) && b.health.shown() == 0 })
	w.ingest(0, 300, 300, nil)
	w.settled()
	if err := b.Ready(); !errors.Is(err, store.ErrIgnoresCondition) {
		t.Errorf("a generation later: %v", err)
	}
	bucket.Overwrites.Store(false)
	w.awaitTrue("ready again", func() bool { return b.Ready() == nil })
}

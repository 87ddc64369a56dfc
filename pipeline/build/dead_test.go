package build

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// loseDead loses the dead rows of a generation. It reports whether it has any; nil has none.
func (w *world) loseDead(m *schemas.Manifest) bool {
	w.t.Helper()
	if m == nil || m.Dead == nil {
		return false
	}
	if err := w.bucket.Delete(w.t.Context(), m.Dead.Key); err != nil {
		w.t.Fatal(err)
	}
	return true
}

// The dead rows of a generation follow from its rows and deletes: a builder that does not find them, or finds them damaged, finds them
// anew, says so, and publishes a generation that has them.
func TestDeadRowsAreLost(t *testing.T) {
	for name, lose := range map[string]func(w *world, m *schemas.Manifest){
		"gone": func(w *world, m *schemas.Manifest) { w.loseDead(m) },
		"damaged": func(w *world, m *schemas.Manifest) {
			body, err := w.bucket.Get(t.Context(), m.Dead.Key)
			if err != nil {
				t.Fatal(err)
			}
			body = slices.Clone(body)
			body[len(body)/2] ^= 1
			w.loseDead(m)
			if err := w.bucket.PutIfAbsent(t.Context(), m.Dead.Key, body); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, m := deadWorld(t)
			lose(w, m)
			var log bytes.Buffer
			_, stop := w.builder(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			again := w.settledWith(func(n *schemas.Manifest) bool { return n.Generation > m.Generation })
			stop()
			w.check(again)
			if again.LiveRows != m.LiveRows || again.Moved != m.Moved || !strings.Contains(log.String(), "publishing them again") {
				t.Errorf("%d live rows, %d moved, were %d and %d:\n%s", again.LiveRows, again.Moved, m.LiveRows, m.Moved, &log)
			}
		})
	}
}

// If what is found is not what the generation says, nothing is published: something else is wrong too.
func TestDeadRowsAreLost_andMore(t *testing.T) {
	w, m := deadWorld(t)
	next := *m
	next.Generation, next.Parent, next.Builder = m.Generation+1, m.Generation, "another"
	next.LiveRows++
	if err := w.log.Publish(t.Context(), &next); err != nil {
		t.Fatal(err)
	}
	w.loseDead(&next)
	b, err := New(w.with(Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), m.Dead.Key) || !strings.Contains(err.Error(), "live and") {
		t.Errorf("ended with %v", err)
	}
	if at := w.latest(); at.Generation != next.Generation {
		t.Errorf("published generation %d", at.Generation)
	}
}

// deadWorld is an index with a base, segments, deletes, and rows that are dead in both.
func deadWorld(t *testing.T) (*world, *schemas.Manifest) {
	t.Helper()
	w := newWorld(t, 91)
	_, stop := w.builder(Options{})
	w.ingest(0, 400, 900, nil)
	w.ingest(1, 400, 900, nil)
	w.settledWith(func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
	stop()
	_, stop = w.start(Options{PublishEvery: time.Millisecond, MinTrainRows: 300, RewriteRows: 1 << 20})
	mdl := w.current()
	for i := range 4 {
		w.ingest(i%testPartitions, 60, 900, mdl)
	}
	w.settledWith(func(m *schemas.Manifest) bool { return m.Dead != nil })
	stop()
	return w, w.latest()
}

// Deletes follow from nothing else: a builder that does not find an object of them, or finds it damaged, ends at it, and says which one it is,
// whose, and what brings the deletes back. An index that is made again without it would have the rows that it deletes.
func TestDeletesAreLost(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"gone":    func([]byte) []byte { return nil },
		"damaged": func(body []byte) []byte { body[len(body)/2] ^= 1; return body },
	} {
		for _, folded := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", folded ", folded), func(t *testing.T) {
				w := newWorld(t, 5)
				w.commit([]string{"a", "b", "c"}, nil)
				of := "commit of offsets [1, 2) of partition 0"
				if folded {
					w.commit(nil, []string{"b"})
				}
				_, stop := w.builder(Options{})
				m := w.settled()
				stop()
				if folded {
					of = fmt.Sprintf("generation %d", m.Generation)
				} else {
					w.commit(nil, []string{"b"})
				}
				key := ""
				for info, err := range w.bucket.List(t.Context(), "tombstones/", "") {
					if err != nil || key != "" {
						t.Fatal(info.Key, err)
					}
					key = info.Key
				}
				body, err := w.bucket.Get(t.Context(), key)
				if err == nil {
					err = w.bucket.Delete(t.Context(), key)
				}
				if body = damage(slices.Clone(body)); err == nil && body != nil {
					err = w.bucket.PutIfAbsent(t.Context(), key, body)
				}
				if err != nil {
					t.Fatal(err)
				}
				b, err := New(w.with(Options{PublishEvery: time.Millisecond}))
				if err != nil {
					t.Fatal(err)
				}
				err = b.Run(t.Context())
				for _, want := range []string{"deletes of " + of, "restore " + key + ", whose sha256 is ", "rebuild from-offsets"} {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%v, want %q", err, want)
					}
				}
			})
		}
	}
}

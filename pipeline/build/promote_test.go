package build

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// act serves a generation as an operator does.
func (w *world) act(generation int64, pinned bool, reason string) *schemas.Channel {
	w.t.Helper()
	return w.record(schemas.Channel{Generation: generation, Pinned: pinned, Reason: reason})
}

// record adds a record of an operator to the channel: on what is there now.
func (w *world) record(c schemas.Channel) *schemas.Channel {
	w.t.Helper()
	c.By = "mara@ops"
	for {
		seen, err := w.log.Channel(w.t.Context(), 0)
		if err != nil {
			w.t.Fatal(err)
		}
		made, err := w.log.Promote(w.t.Context(), seen, c)
		if errors.Is(err, schemas.ErrFenced) {
			continue // the builder was first
		}
		if err != nil {
			w.t.Fatal(err)
		}
		return made
	}
}

// served is the newest record of the channel.
func (w *world) served() *schemas.Channel {
	w.t.Helper()
	c, err := w.log.Channel(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if c == nil {
		return &schemas.Channel{}
	}
	return c
}

func (w *world) awaitTrue(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within a minute: %s; the channel is %+v", what, w.served())
		}
	}
}

// promotions are all records of the channel, in order.
func (w *world) promotions() (line []schemas.Channel) {
	w.t.Helper()
	for sequence := int64(1); ; sequence++ {
		c, err := w.log.Promotion(w.t.Context(), sequence)
		if errors.Is(err, store.ErrNotFound) {
			return line
		}
		if err != nil {
			w.t.Fatal(err)
		}
		line = append(line, *c)
	}
}

// lines is a log, line by line.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	return len(p), nil
}

// with counts the lines that have all of the words.
func (l *lines) with(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for _, line := range l.text {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		n++
	}
	return n
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// An index that nothing was ever sent to is served, without rows: nodes become ready, and answer.
func TestEmptyIndexIsServed(t *testing.T) {
	w := newWorld(t, 4)
	_, stop := w.start(Options{})
	w.awaitTrue("a generation without rows is served", func() bool { return w.served().Generation == 1 })
	w.check(w.settled())
	// A builder promotes after it has published: one that is stopped in between leaves that to the next.
	served := func() {
		t.Helper()
		m := w.settled()
		w.check(m)
		w.awaitTrue("it is served", func() bool { return w.served().Generation == m.Generation })
	}
	w.ingest(1, 50, 40, nil)
	served()
	stop()
	before := w.served().Sequence
	_, stop = w.start(Options{})
	defer stop()
	w.ingest(0, 50, 40, nil)
	served()
	if now := w.served(); now.Sequence != before+1 {
		t.Errorf("the next builder promoted %d times, want once: what is there is no news", now.Sequence-before)
	}
}

// While the channel is pinned a builder goes on publishing, promotes nothing, and says so once. When it is let go, what is
// newest is served without anything new having to come.
func TestPinHoldsTheBuilderOff(t *testing.T) {
	w := newWorld(t, 21)
	log := &lines{}
	b, stop := w.builder(Options{Logger: log.logger()})
	w.ingest(0, 50, 300, nil)
	first := w.settled()
	w.awaitTrue("the first generation is served", func() bool { return w.served().Generation == first.Generation })

	pin := w.act(first.Generation, true, "busy evening")
	for i := range 3 {
		w.ingest(i%testPartitions, 50, 300, nil)
		w.settled()
	}
	w.awaitTrue("the builder knows", func() bool { return testutil.ToFloat64(b.metrics.pinned) == 1 })
	if now := w.served(); now.Sequence != pin.Sequence {
		t.Errorf("the channel is at %+v, pinned was %+v", now, pin)
	}
	stop()
	_, stop = w.builder(Options{Logger: log.logger()}) // a pin outlives the builder
	newest := w.settledWith(func(m *schemas.Manifest) bool { return m.Generation > first.Generation })
	w.ingest(0, 50, 300, nil)
	newest = w.settledWith(func(m *schemas.Manifest) bool { return m.Generation > newest.Generation })
	if now := w.served(); now.Sequence != pin.Sequence {
		t.Errorf("after a restart the channel is at %+v, pinned was %+v", now, pin)
	}
	// A builder looks at the channel after it has published.
	said := func() int { return log.with("channel is pinned", "mara@ops", "busy evening") }
	w.awaitTrue("two builders say that the channel is pinned", func() bool { return said() >= 2 })

	w.act(first.Generation, false, "quiet again")
	w.awaitTrue("the newest generation is served", func() bool { return w.served().Generation == newest.Generation })
	stop()
	if said() != 2 {
		t.Errorf("two builders said %d times that the channel is pinned:\n%s", said(), log.text)
	}
}

// epoch makes an epoch with one empty generation, which its own builder has promoted.
func (w *world) epoch(name string) {
	w.t.Helper()
	place, spec := store.Under(w.log.Bucket(), "epochs/"+name), *w.log.Spec()
	spec.Encoder = name
	if err := commit.Create(w.t.Context(), place, &spec); err != nil {
		w.t.Fatal(err)
	}
	l, err := commit.Open(w.t.Context(), place)
	if err != nil {
		w.t.Fatal(err)
	}
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "theirs", Checkpoint: map[string]int64{}}
	if err := l.Publish(w.t.Context(), m); err != nil {
		w.t.Fatal(err)
	}
	if _, err := l.Promote(w.t.Context(), nil, schemas.Channel{Generation: 1, Reason: "built", By: "theirs"}); err != nil {
		w.t.Fatal(err)
	}
}

// While queries follow an epoch the builder of the root goes on publishing and promotes nothing, also one that starts then,
// and a verdict of the gate is not overridden by it. Once a generation of the root is served again, the newest one is.
func TestEpochHoldsTheBuilderOff(t *testing.T) {
	w := newWorld(t, 24)
	w.epoch("mini-3")
	log := &lines{}
	b, stop := w.builder(Options{Logger: log.logger()})
	w.ingest(0, 50, 300, nil)
	first := w.settled()
	w.awaitTrue("the first generation is served", func() bool { return w.served().Generation == first.Generation })

	followed := w.record(schemas.Channel{Epoch: "mini-3", Reason: "new encoder"})
	said := func() int { return log.with("queries follow an epoch", "epoch=mini-3", "mara@ops", "new encoder") }
	w.awaitTrue("the builder says so", func() bool { return said() == 1 })
	for i := range 3 {
		w.ingest(i%testPartitions, 50, 300, nil)
		w.settled()
	}
	stop()
	if n := testutil.ToFloat64(b.metrics.pinned); n != 0 {
		t.Errorf("pinned is %v, though nothing is", n)
	}
	_, stop = w.builder(Options{Logger: log.logger()})
	newest := w.settledWith(func(m *schemas.Manifest) bool { return m.Generation > first.Generation })
	w.ingest(0, 50, 300, nil)
	newest = w.settledWith(func(m *schemas.Manifest) bool { return m.Generation > newest.Generation })
	w.awaitTrue("two builders say so", func() bool { return said() == 2 })
	if now := w.served(); now.Sequence != followed.Sequence {
		t.Errorf("the channel is at %+v, followed was %+v", now, followed)
	}

	w.act(first.Generation, false, "back")
	w.awaitTrue("the newest generation is served", func() bool { return w.served().Generation == newest.Generation })
	stop()
	held := &Builder{manifest: &schemas.Manifest{Generation: 9, Quality: &schemas.Quality{Measured: 5, Reason: "bad"}}, channel: followed}
	if !held.heldBack() {
		t.Error("a record that names an epoch overrides the gate's verdict on a generation of the root")
	}
}

// An operator who serves a generation that the gate holds back overrides its verdict: for it and those that only add deltas
// to it, not for the next that is measured. One who serves an older one does not.
func TestOverridingTheGate(t *testing.T) {
	w := newWorld(t, 22)
	w.ingest(0, 400, 2400, nil)
	b := w.idle(256)
	b.o.RewriteRows = 100
	if err := b.promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := b.manifest.Generation
	step := func(want int64, held float64) {
		t.Helper()
		if err := b.promote(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.served().Generation; got != want || testutil.ToFloat64(b.metrics.held) != held {
			t.Errorf("generation %d is served and held_back is %v, want %d and %v", got, testutil.ToFloat64(b.metrics.held), want, held)
		}
	}
	fold := func() {
		t.Helper()
		w.ingest(1, 10, 2400, nil)
		if _, err := b.fold(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.rewriteHeldBack(b)
	bad := b.manifest.Generation
	step(good, 1)
	w.act(good, false, "the old one, please")
	step(good, 1)
	fold()
	step(good, 1)
	w.act(bad, false, "better than nothing")
	step(b.manifest.Generation, 0) // a child of the same measurement
	fold()
	step(b.manifest.Generation, 0)
	served := b.manifest.Generation

	w.ingest(2, 200, 2400, nil)
	if _, err := b.fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.rewriteHeldBack(b)
	step(served, 1)
	w.act(good, true, "rollback")
	step(good, 1)
	w.act(good, false, "go on")
	step(good, 1)
}

// An operator and a builder act at once. No pin is undone, the builder begins nothing anew because of it, and in the end
// the newest generation is served.
func TestOperatorRacesABuilder(t *testing.T) {
	w := newWorld(t, 23)
	b, stop := w.builder(Options{})
	done := make(chan struct{})
	var operator sync.WaitGroup
	operator.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if now := w.served(); now.Generation > 0 {
				w.act(max(1, now.Generation-int64(i%3)), i%2 == 0, fmt.Sprint("act ", i))
			}
		}
	})
	for i := range 60 {
		w.ingest(i%testPartitions, 5, 300, nil)
		w.settled()
	}
	close(done)
	operator.Wait()
	w.act(1, false, "end")
	w.settled()
	w.awaitTrue("the newest generation is served", func() bool { return w.served().Generation == w.latest().Generation }) // a compaction may land meanwhile
	stop()
	line, built := w.promotions(), 0
	for i, c := range line {
		if !c.ByOperator() {
			built++
		}
		if i > 0 && line[i-1].Pinned && !c.ByOperator() {
			t.Errorf("promotion %d of a builder follows a pin", c.Sequence)
		}
	}
	if n := testutil.ToFloat64(b.metrics.fenced); n != 0 || built < 3 || built == len(line) {
		t.Errorf("the builder began anew %v times; %d of %d promotions are its own", n, built, len(line))
	}
}

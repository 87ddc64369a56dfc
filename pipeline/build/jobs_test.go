package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// idle is a builder that has folded and published, and runs no jobs of its own accord.
func (w *world) idle(minTrainRows int) *Builder {
	w.t.Helper()
	b, err := New(Options{Log: w.open(), Cache: w.cache(), Level: w.level, MinTrainRows: minTrainRows, Threads: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(b.drop)
	if err := b.load(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := b.fold(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := b.publish(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// A model is trained on everything or not yet: what a running compaction has would be missing, and what is left may be
// a handful of rows.
func TestTrainingWaitsForCompaction(t *testing.T) {
	w := newWorld(t, 5)
	for range 3 {
		w.ingest(0, 200, 2400, nil)
	}
	b := w.idle(256)
	running := &job{kind: compaction}
	b.jobs[compaction] = running
	for _, p := range b.parts[1:] {
		p.busy = true
	}
	b.startJobs(t.Context())
	if j := b.jobs[rewrite]; j != nil {
		t.Errorf("a rewrite that trains has begun on %d of %d rows", j.liveRows(), b.ledger.live)
		<-b.done
		b.forget(j)
	}
	delete(b.jobs, compaction)
	for _, p := range b.parts {
		p.busy = false
	}
	b.startJobs(t.Context())
	j := b.jobs[rewrite]
	if j == nil || j.repair != model.Everything || j.liveRows() != b.ledger.live {
		t.Errorf("after the compaction there is %+v, want a rewrite that trains on everything", j)
	}
}

// A builder that is killed after training, before its job has landed, leaves the model to the next one, unless the rows have
// become others meanwhile.
func TestTrainingIsNotRepeated(t *testing.T) {
	for name, tt := range map[string]struct {
		published bool
		more      int // rows that come before the next builder
		taken     bool
	}{
		"published":     {true, 40, true},
		"killed before": {false, 40, false},
		"other rows":    {true, 2000, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 6)
			w.ingest(0, 900, 5000, nil)
			b := w.idle(256)
			b.startJobs(t.Context())
			j := <-b.done
			if j.err != nil || j.ref == nil {
				t.Fatalf("%v, model %v", j.err, j.ref)
			}
			b.forget(j)
			for _, p := range j.outputs {
				p.Release()
			}
			if tt.published {
				b.keepTrained()
				if err := b.publish(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			w.ingest(0, tt.more, 5000, nil)
			_, stop := w.builder(Options{})
			m := w.settledWith(func(m *schemas.Manifest) bool { return m.Model != nil && len(m.Chunks) > 0 })
			stop()
			first := m
			for first.Parent > 0 && first.Model != nil { // more models may have followed
				parent, err := w.log.Manifest(t.Context(), first.Parent)
				if err != nil {
					t.Fatal(err)
				}
				if parent.Model == nil {
					break
				}
				first = parent
			}
			if taken := first.Model.ID == j.ref.ID; taken != tt.taken {
				t.Errorf("the model of the killed builder was taken: %v, want %v", taken, tt.taken)
			}
			if first.Trained != nil {
				t.Errorf("once it is used there still is %+v", first.Trained)
			}
			w.check(m)
		})
	}
}

// commit appends a commit of upserts and deletes to partition 0, as given.
func (w *world) commit(upserts, deletes []string) {
	w.t.Helper()
	rows := segment.NewRows(w.log.Spec())
	var stones []segment.Tombstone
	start := w.next[0]
	order := segment.Order{Timestamp: 1000 + start, Offset: start}
	for _, id := range upserts {
		v := version{order: order, vector: w.vector()}
		rows.IDs, rows.Orders = append(rows.IDs, id), append(rows.Orders, order)
		rows.AppendFloats(avx.Generic, v.vector)
		rows.Attributes[0].AppendNull()
		w.newest[id] = v
		order.Row++
	}
	for _, id := range deletes {
		stones = append(stones, segment.Tombstone{ID: id, Order: order})
		w.newest[id] = version{order: order, deleted: true}
		order.Row++
	}
	w.append(0, start+1, order.Timestamp, rows, stones, nil)
}

// Nothing can be measured on a row that is alone: the builder goes on.
func TestLastRowIsHeldOut(t *testing.T) {
	w := newWorld(t, 6)
	ids := make([]string, 400)
	for i := range ids {
		ids[i] = fmt.Sprint("id-", i)
	}
	last := slices.IndexFunc(ids, recall.HeldOut)
	w.commit(ids, nil)
	_, stop := w.builder(Options{})
	w.settledWith(func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
	w.commit(nil, slices.Delete(slices.Clone(ids), last, last+1))
	m := w.settledWith(func(m *schemas.Manifest) bool { return m.LiveRows == 1 && m.DeadRows == 0 })
	if len(m.Chunks) != 1 || m.Chunks[0].NumRows != 1 {
		t.Errorf("chunks are %+v, want one with one row", m.Chunks)
	}
	stop()
}

// land takes in a job as the main loop does, and shows it to the world.
func (w *world) land(b *Builder, j *job) {
	w.t.Helper()
	if err := b.land(w.t.Context(), j); err != nil {
		w.t.Fatal(err)
	}
	if want := listLengths(b.parts, b.model); !slices.Equal(b.lengths, want) {
		w.t.Errorf("after a %s lists are taken to have %v rows, and have %v", j.kind, b.lengths, want)
	}
	w.show(b)
}

// show publishes, and promotes.
func (w *world) show(b *Builder) {
	w.t.Helper()
	if err := b.publish(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := b.promote(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// Rows that die while a rewrite runs are looked up in what it has made while commits are folded, not when it lands: again as long as they are
// many, and become fewer.
func TestRewriteCatchesUp(t *testing.T) {
	w := newWorld(t, 11)
	ids := make([]string, 4*landMost)
	for i := range ids {
		ids[i] = fmt.Sprint("id-", i)
	}
	w.commit(ids[:400], nil)
	b := w.idle(256)
	fold := func(upserts, deletes []string) {
		t.Helper()
		w.commit(upserts, deletes)
		if _, err := b.fold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	run := func(repair model.Repair) *job {
		b.start(t.Context(), &job{kind: rewrite, repair: repair}, b.parts)
		return <-b.done
	}
	land := func(ctx context.Context, j *job, more bool) {
		t.Helper()
		if err := b.land(ctx, j); err != nil {
			t.Fatal(err)
		}
		if b.jobs[rewrite] == j != more {
			t.Fatalf("%d rows died before, and it is to catch up: %v, want %v", j.behind, !more, more)
		}
	}
	w.land(b, run(model.Everything))
	fold(ids, nil)
	j := run(model.Nothing)
	fold(ids[:landMost], ids[landMost:2*landMost])
	land(t.Context(), j, true)
	fold(ids[2*landMost:2*landMost+40], ids[:20])
	land(t.Context(), <-b.done, false)
	w.show(b)
	w.check(b.manifest)

	j = run(model.Nothing)
	fold(nil, append(slices.Clone(ids[20:landMost]), ids[2*landMost:2*landMost+40]...))
	land(t.Context(), j, true)
	fold(nil, ids[2*landMost+40:3*landMost+50]) // no fewer than before
	land(t.Context(), <-b.done, false)
	w.show(b)
	w.check(b.manifest)

	// A builder that is to stop does not wait for it.
	fold(ids, nil)
	w.land(b, run(model.Nothing))
	j = run(model.Nothing)
	fold(nil, ids)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	land(ctx, j, true)
	if err := b.land(ctx, <-b.done); !errors.Is(err, context.Canceled) {
		t.Errorf("landing ends with %v", err)
	}
}

// rewriteHeldBack runs and publishes the rewrite that is due, as if the gate held it back. It says whether it was to train.
func (w *world) rewriteHeldBack(b *Builder) (trained bool) {
	w.t.Helper()
	b.startJobs(w.t.Context())
	if b.jobs[rewrite] == nil {
		w.t.Fatal("no rewrite is due")
	}
	j := <-b.done
	if j.quality != nil {
		j.quality.Promoted, j.quality.Reason = false, "test"
	}
	w.land(b, j)
	return j.ref != nil
}

// A generation is held back, and then all of its rows are deleted: there is nothing to train the next model on, and the
// model that is there stays.
func TestHeldBackAndThenEmptied(t *testing.T) {
	w := newWorld(t, 8)
	ids := make([]string, 400)
	for i := range ids {
		ids[i] = fmt.Sprint("id-", i)
	}
	w.commit(ids, nil)
	b := w.idle(256)
	b.o.RewriteRows = 100
	if !w.rewriteHeldBack(b) || testutil.ToFloat64(b.metrics.held) != 1 {
		t.Fatalf("trained %v, held back %v", b.model != nil, testutil.ToFloat64(b.metrics.held))
	}
	trained := b.modelRef
	w.commit(nil, ids)
	if _, err := b.fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.rewriteHeldBack(b) {
		t.Error("a model is to be trained on nothing")
	}
	if b.modelRef != trained || len(b.parts) != 0 {
		t.Errorf("model %+v and %d parts, want %+v and none", b.modelRef, len(b.parts), trained)
	}
	b.startJobs(t.Context())
	if len(b.jobs) > 0 {
		t.Error("a job has begun on nothing")
	}
	w.check(b.manifest)
}

// A rewrite cannot take what a compaction has, so that must not make it due: it would land nothing, again and again.
func TestRewriteDoesNotCountWhatACompactionHas(t *testing.T) {
	w := newWorld(t, 9)
	w.ingest(0, 400, 2400, nil)
	b := w.idle(256)
	b.o.RewriteRows = 100
	w.rewriteHeldBack(b)
	b.quality = nil
	w.ingest(1, 200, 2400, nil)
	if _, err := b.fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if due, _ := b.rewriteDue(); !due {
		t.Error("200 new rows call for no rewrite")
	}
	for _, p := range b.parts {
		p.busy = p.segment != nil
	}
	if due, _ := b.rewriteDue(); due {
		t.Error("a rewrite is due for rows that it cannot take")
	}
}

// What a dashboard shows does not depend on when the builder was started.
func TestMetricsAfterRestart(t *testing.T) {
	w := newWorld(t, 10)
	w.ingest(0, 400, 2400, nil)
	first := w.idle(256)
	w.rewriteHeldBack(first)
	second, err := New(Options{Log: w.open(), Cache: w.cache(), Level: w.level})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.drop)
	if err := second.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]func(*metrics) float64{
		"generation": func(m *metrics) float64 { return testutil.ToFloat64(m.generation) },
		"published":  func(m *metrics) float64 { return testutil.ToFloat64(m.generationTime) },
		"lists":      func(m *metrics) float64 { return testutil.ToFloat64(m.listRows.WithLabelValues("1")) },
		"live rows":  func(m *metrics) float64 { return testutil.ToFloat64(m.liveRows) },
		"recall":     func(m *metrics) float64 { return testutil.ToFloat64(m.recall) },
		"held back":  func(m *metrics) float64 { return testutil.ToFloat64(m.held) },
	} {
		if got, want := of(second.metrics), of(first.metrics); got != want || want == 0 {
			t.Errorf("%s is %v after a restart, was %v", name, got, want)
		}
	}
}

// A builder that is overtaken again and again, and never lands a job, does not keep what it once fetched.
func TestLoadSweepsTheCache(t *testing.T) {
	w := newWorld(t, 7)
	w.ingest(0, 50, 100, nil)
	b := w.idle(256)
	for range 20 {
		w.ingest(0, 50, 100, nil)
		if _, err := b.fold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := b.o.Cache.Stats().Bytes
	b.drop() // before it could publish
	if err := b.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := b.o.Cache.Stats().Bytes; after > before/10 {
		t.Errorf("the cache has %d bytes after loading a generation of one segment, and had %d before", after, before)
	}
}

// What a job has replaced does not stay on the disk.
func TestLandingSweepsTheCache(t *testing.T) {
	w := newWorld(t, 12)
	w.ingest(0, 900, 5000, nil)
	b := w.idle(256)
	var replaced []string
	for _, p := range b.parts {
		replaced = append(replaced, p.segment.SHA256)
	}
	b.startJobs(t.Context())
	w.land(b, <-b.done)
	b.cleaning.Wait()
	used := b.usedFiles()
	for _, name := range replaced {
		if used[name] {
			t.Fatalf("%s is still used", name)
		}
	}
	if freed, err := b.o.Cache.Sweep(func(sha256 string) bool { return used[sha256] }); freed != 0 || err != nil {
		t.Errorf("%d bytes are left, %v", freed, err)
	}
	w.check(b.manifest)
}

// What a job has put into the cache, objects and the table of ids, it finds there when it opens it, although another one lands and sweeps at any
// moment in between.
func TestJobsBesideSweeps(t *testing.T) {
	w := newWorld(t, 5)
	for range 3 {
		w.ingest(0, 400, 2400, nil)
	}
	b := w.idle(256)
	before, used := b.o.Cache.Stats().Downloads, b.usedFiles()
	ctx, cancel := context.WithCancel(t.Context())
	var sweeping sync.WaitGroup
	for range 4 {
		sweeping.Go(func() {
			for ctx.Err() == nil {
				if err := b.sweep(used); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	b.start(t.Context(), &job{kind: rewrite, repair: model.Everything}, b.parts)
	j := <-b.done
	cancel()
	sweeping.Wait()
	if j.err != nil {
		t.Fatal(j.err)
	}
	if again := b.o.Cache.Stats().Downloads - before; again != 0 || j.base.name == "" {
		t.Errorf("%d objects were downloaded again of %d chunks, the table of ids is kept as %q", again, len(j.outputs), j.base.name)
	}
	if err := b.land(t.Context(), j); err != nil {
		t.Fatal(err)
	}
}

// withoutChunks is a store that takes no objects of chunks.
type withoutChunks struct {
	store.Bucket
	taken bool // after all
}

func (b *withoutChunks) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if !b.taken && strings.HasPrefix(key, "chunks/") {
		return fmt.Errorf("put %s: %w", key, store.ErrDenied)
	}
	return b.Bucket.PutIfAbsent(ctx, key, body)
}

// A rewrite that fails ends neither the session nor a compaction beside it, and is not tried again at once: it may have stored all of the index
// before it failed.
func TestJobFails_othersGoOn(t *testing.T) {
	w := newWorld(t, 13)
	for range compactCount {
		w.ingest(0, 50, 5000, nil)
	}
	refusing := &withoutChunks{Bucket: w.bucket}
	w.bucket = refusing
	b := w.idle(256)
	segments := len(b.parts)
	b.startJobs(t.Context())
	failed := <-b.done
	if failed.kind != rewrite || !errors.Is(failed.err, store.ErrDenied) {
		t.Fatalf("%s: %v, want a rewrite that is refused", failed.kind, failed.err)
	}
	w.land(b, failed)
	if n := testutil.ToFloat64(b.metrics.jobFailures.WithLabelValues(string(rewrite))); n != 1 {
		t.Errorf("%v rewrites failed, want 1", n)
	}
	b.startJobs(t.Context())
	if b.jobs[rewrite] != nil || b.jobs[compaction] == nil {
		t.Fatalf("running are %v, want a compaction alone", b.jobs)
	}
	w.land(b, <-b.done)
	if len(b.parts) >= segments {
		t.Errorf("%d of %d segments are left", len(b.parts), segments)
	}
	w.check(b.manifest)

	b.pauses[rewrite].until = time.Time{}
	b.startJobs(t.Context())
	w.land(b, <-b.done)
	if pause := time.Until(b.pauses[rewrite].until); pause < firstPause/2 {
		t.Errorf("the second pause ends in %v", pause)
	}
	refusing.taken = true
	b.pauses[rewrite].until = time.Time{}
	b.startJobs(t.Context())
	w.land(b, <-b.done)
	if len(b.chunks()) == 0 || b.pauses[rewrite] != nil {
		t.Errorf("%d chunks, and a pause %v, once the store takes them", len(b.chunks()), b.pauses[rewrite])
	}
	w.check(b.manifest)
}

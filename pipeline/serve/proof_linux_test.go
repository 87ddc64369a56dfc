package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// closable is a store that can be closed: for what is streamed, or for all that is asked.
type closable struct {
	store.Bucket
	streams, all atomic.Bool
}

func isClosed(key string) error { return fmt.Errorf("%s: %w: closed", key, store.ErrTransient) }

func (c *closable) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if c.streams.Load() || c.all.Load() {
		return nil, 0, isClosed(key)
	}
	return c.Bucket.Open(ctx, key)
}

func (c *closable) Get(ctx context.Context, key string) ([]byte, error) {
	if c.all.Load() {
		return nil, isClosed(key)
	}
	return c.Bucket.Get(ctx, key)
}

func (c *closable) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	if c.all.Load() {
		return func(yield func(store.Info, error) bool) { yield(store.Info{}, isClosed(prefix)) }
	}
	return c.Bucket.List(ctx, prefix, startAfter)
}

// base is a generation with chunks and segments, in a store that can be closed.
func base(t *testing.T) (*publisher, *closable) {
	t.Helper()
	p := newPublisher(t)
	store := &closable{Bucket: p.bucket}
	p.bucket, p.log = store, p.log.Over(store)
	mdl := trainModel(t, p.log.Spec(), 1)
	o, err := p.log.PutModel(t.Context(), mdl)
	if err != nil {
		t.Fatal(err)
	}
	p.m.Model = &schemas.ModelRef{ID: mdl.ID(), Object: o, TrainedRows: mdl.TrainedRows(), NList: mdl.NList()}
	p.chunks(mdl, 0, 2000, 20_000)
	p.putBy(mdl, 2000, 2100)
	p.put(2100, 2150)
	if len(p.m.Chunks) < 2 {
		t.Fatalf("%d chunks", len(p.m.Chunks))
	}
	p.publish()
	return p, store
}

// proven waits until the node has read through what it serves, and written that down.
func (p *publisher) proven(n *Node, dir string) {
	p.t.Helper()
	until(p.t, "all is read through", func() bool { return n.proof.pending() == 0 })
	until(p.t, "that is written down", func() bool {
		_, err := os.Stat(filepath.Join(dir, "opened.json"))
		return err == nil
	})
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

// answers are those of some queries, by a plan and exact.
func answers(t *testing.T, n *Node) (all []answerJSON) {
	t.Helper()
	for row := range 20 {
		for _, how := range []string{`"plan":{"nprobe":4,"refine":50}`, `"exact":true`} {
			a := asked(t, n, row*100, how)
			a.Usage.Microseconds = 0
			all = append(all, a)
		}
	}
	return all
}

func same(t *testing.T, what string, got, want []answerJSON) {
	t.Helper()
	for i := range want {
		sameHits(t, what, got[i], want[i])
	}
}

// A node serves at once what an earlier one has read through, and then reads it through itself; only thereafter may the next one do the same.
func TestRestart_serveWhatWasReadThrough(t *testing.T) {
	p, _ := base(t)
	dir := t.TempDir()
	first, stop := p.nodeIn(dir, Options{})
	p.await(first, 1)
	want := answers(t, first)
	if first.recalled != 0 {
		t.Errorf("the first node recalls %d files", first.recalled)
	}
	p.proven(first, dir)
	stop()
	files := len(p.m.Chunks)*3 + len(p.m.Segments)
	for round := range 2 {
		n, stop := p.nodeIn(dir, Options{})
		p.await(n, 1)
		if n.recalled != files {
			t.Errorf("round %d: %d files are recalled, want %d", round, n.recalled, files)
		}
		same(t, "a node that recalls", answers(t, n), want)
		p.proven(n, dir)
		if s := n.o.Cache.Stats(); s.Downloads != 0 || s.Corrupt != 0 {
			t.Errorf("round %d: %+v", round, s)
		}
		for _, part := range n.parts {
			if part.Recalled() {
				t.Errorf("round %d: part %s was not read through", round, part.ID)
			}
		}
		p.put(3000+round, 3001+round)
		p.publish()
		p.await(n, p.m.Generation)
		want = answers(t, n)
		stop()
		files++ // of the new segment: what is served at a stop is written down
	}
}

// What is served was not read through: if that process dies, the next one takes nothing for granted.
func TestRestart_diesBeforeItHasReadThrough(t *testing.T) {
	p, _ := base(t)
	dir := t.TempDir()
	n, stop := p.nodeIn(dir, Options{})
	p.await(n, 1)
	p.proven(n, dir)
	stop()
	level, cache := n.o.Level, reopened(t, dir, p.bucket)
	dies, err := New(Options{Log: p.log, Cache: cache, Level: level})
	if err != nil {
		t.Fatal(err)
	}
	dies.cache, dies.recalled = cache.Recall(segment.Rules) // as Run does, which then does not get to the end
	if err := dies.advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dies.recalled == 0 || dies.proof.pending() == 0 {
		t.Errorf("%d files are recalled, %d parts to be read through", dies.recalled, dies.proof.pending())
	}
	dies.remember() // at a stop before that
	dies.proof.close()
	dies.Close()
	next, _ := p.nodeIn(dir, Options{})
	p.await(next, 1)
	if next.recalled != 0 {
		t.Errorf("%d files are recalled after a node that had not read them through", next.recalled)
	}
}

func reopened(t testing.TB, dir string, b store.Bucket) *store.Cache {
	t.Helper()
	c, err := store.NewCache(dir, b, store.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a disk has changed behind the file system's back is found beside queries, fetched anew and replaced; as long as that is not possible
// no new queries should come.
func TestRestart_damagedBehind(t *testing.T) {
	for _, object := range []string{"rows", "codes", "vectors", "segment"} {
		t.Run(object, func(t *testing.T) {
			p, bucket := base(t)
			dir := t.TempDir()
			n, stop := p.nodeIn(dir, Options{})
			p.await(n, 1)
			want := answers(t, n)
			p.proven(n, dir)
			stop()
			c := p.m.Chunks[1]
			of := map[string]schemas.Object{"rows": c.Rows, "codes": c.Codes, "vectors": c.Vectors, "segment": p.m.Segments[0].Object}[object]

			bucket.all.Store(true)
			n, _ = p.nodeIn(dir, Options{})
			until(t, "the node has looked at its files, and not read them", func() bool { return errors.Is(n.Stale(), store.ErrTransient) })
			damage(t, filepath.Join(dir, of.SHA256), of.Size-of.Size/4)
			bucket.streams.Store(true)
			bucket.all.Store(false)
			until(t, "it is found", func() bool { return n.Ready() != nil && n.generation() == 1 })
			if err := n.Ready(); !strings.Contains(err.Error(), "changed on this machine's disk") {
				t.Errorf("not ready: %v", err)
			}
			until(t, "the node tries", func() bool { return errors.Is(n.Stale(), store.ErrTransient) })
			bucket.streams.Store(false)
			until(t, "the node is ready", func() bool { return n.Ready() == nil && n.Stale() == nil })
			same(t, "a node that has replaced a part", answers(t, n), want)
			if s := n.o.Cache.Stats(); s.Downloads != 1 || s.Corrupt != 1 {
				t.Errorf("%+v, want one download of what was corrupt", s)
			}
			p.proven(n, dir)
			if w := call(n.Ops(), http.MethodGet, "/readyz", ""); w.Code != http.StatusOK {
				t.Errorf("/readyz: %d %s", w.Code, w.Body)
			}
		})
	}
}

func damage(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// recalling is a node that recalls what one before it has read through, does nothing by itself, and reads nothing through. Of object the byte at
// a place is changed behind it.
func (p *publisher) recalling(object schemas.Object, at int64) *Node {
	p.t.Helper()
	dir := p.t.TempDir()
	n, stop := p.nodeIn(dir, Options{})
	p.await(n, p.m.Generation)
	p.proven(n, dir)
	stop()
	cache := reopened(p.t, dir, p.bucket)
	next, err := New(Options{Log: p.log, Cache: cache, Level: n.o.Level})
	if err != nil {
		p.t.Fatal(err)
	}
	if next.cache, next.recalled = cache.Recall(segment.Rules); next.recalled == 0 {
		p.t.Fatal("nothing is recalled")
	}
	p.t.Cleanup(next.Close)
	p.t.Cleanup(next.proof.close)
	damage(p.t, filepath.Join(dir, object.SHA256), at)
	if err := next.advance(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	return next
}

// What is served no more need not be read through, does not take room in the cache, and if it is damaged that is nobody's concern: also if that
// is found out just then.
func TestProof_ofWhatIsServedNoMore(t *testing.T) {
	for _, begun := range []bool{false, true} {
		p, bucket := base(t)
		gone := p.m.Segments[0]
		n := p.recalling(gone.Object, gone.Size/2)
		var reading heldPart
		for begun && reading.Part == nil {
			part, ok := n.proof.next()
			if !ok {
				t.Fatal("it is not to be read through")
			}
			if part.ID == gone.ID {
				reading = part
				break
			}
			n.proof.done(part, part.Verify(t.Context(), 1) != nil)
		}
		p.m.Segments = p.m.Segments[1:]
		p.m.LiveRows -= int64(gone.NumRows)
		p.publish()
		if err := n.advance(t.Context()); err != nil {
			t.Fatal(err)
		}
		bucket.all.Store(true) // so that nothing could be replaced
		if begun {
			n.proof.done(reading, reading.Verify(t.Context(), 1) != nil)
		}
		n.proveAll(t.Context())
		if err := n.Ready(); err != nil || n.proof.pending() != 0 {
			t.Errorf("not ready: %v, %d parts are to be read through or replaced", err, n.proof.pending())
		}
		if err := n.sweep(n.current.Load().Manifest()); err != nil {
			t.Fatal(err)
		}
		want := int64(0)
		for _, c := range p.m.Chunks {
			want += c.Rows.Size + c.Codes.Size + c.Vectors.Size
		}
		for _, s := range p.m.Segments {
			want += s.Size
		}
		if s := n.cache.Stats(); s.Bytes != want+p.m.Model.Size || !begun && s.Corrupt != 0 {
			t.Errorf("begun %v: %+v, want %d bytes", begun, s, want)
		}
	}
}

// A damaged part is replaced although the channel names a generation that cannot be taken.
func TestProof_newestCannotBeTaken(t *testing.T) {
	p, _ := base(t)
	n := p.recalling(p.m.Chunks[1].Rows, p.m.Chunks[1].Rows.Size/2)
	broken := p.put(4000, 4010)
	p.publish()
	if err := p.bucket.Delete(t.Context(), broken.Key); err != nil {
		t.Fatal(err)
	}
	n.proveAll(t.Context())
	if n.Ready() == nil {
		t.Fatal("ready, with a damaged part")
	}
	if err := n.advance(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("advance: %v", err)
	}
	if err := n.Ready(); err != nil || n.generation() != 1 {
		t.Errorf("generation %d, not ready: %v", n.generation(), err)
	}
	if n.behind.duration() == 0 {
		t.Error("it says that it serves the newest generation")
	}
	n.proveAll(t.Context())
	if s := n.cache.Stats(); n.proof.pending() != 0 || s.Downloads != 1 {
		t.Errorf("%d parts are to be read through or replaced, %+v", n.proof.pending(), s)
	}
}

// What a filter selected of a damaged part is not what it selects of the good one.
func TestProof_filtersOfWhatWasDamaged(t *testing.T) {
	p, _ := base(t)
	p.color = func(row int) string { return []string{"red", "blue"}[row%2] }
	o := p.putBy(nil, 2200, 2220)
	p.publish()
	body, err := p.bucket.Get(t.Context(), o.Key)
	if err != nil {
		t.Fatal(err)
	}
	n := p.recalling(o, int64(bytes.Index(body, []byte("blue"))))
	matching := func() int64 { return *asked(t, n, 1, `"filter":{"color":"blue"}`).Usage.Matching }
	if got := matching(); got != 9 {
		t.Fatalf("%d rows match in the damaged part, want one less than 10", got)
	}
	n.proveAll(t.Context())
	if err := n.advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := matching(); got != 10 || n.Ready() != nil {
		t.Errorf("%d rows match in the good part, want 10; ready: %v", got, n.Ready())
	}
}

// What a disk changes after a node has read it through is found when its turn comes to be read again, which all parts have in time.
func TestProof_readsAgain(t *testing.T) {
	for _, object := range []string{"rows", "codes", "vectors", "segment"} {
		p, bucket := base(t)
		dir := t.TempDir()
		n, err := New(Options{Log: p.log, Cache: reopened(t, dir, p.bucket)})
		if err != nil {
			t.Fatal(err)
		}
		n.cache = n.o.Cache
		t.Cleanup(n.Close)
		t.Cleanup(n.proof.close)
		if err := n.advance(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.remember()
		want, parts := answers(t, n), len(n.parts)
		if pause := n.proof.pause(); pause > rereadEvery/time.Duration(parts) || pause <= 0 {
			t.Errorf("%d parts, one in %v", parts, pause)
		}
		round := func() {
			for range parts {
				n.reread(t.Context())
			}
		}
		round()
		if n.Ready() != nil || n.cache.Stats().Corrupt != 0 {
			t.Fatal(n.Ready())
		}
		c := p.m.Chunks[1]
		of := map[string]schemas.Object{"rows": c.Rows, "codes": c.Codes, "vectors": c.Vectors, "segment": p.m.Segments[0].Object}[object]
		damage(t, filepath.Join(dir, of.SHA256), of.Size-of.Size/4)
		bucket.streams.Store(true)
		round()
		round()
		if err := n.Ready(); err == nil || !strings.Contains(err.Error(), "1 parts have changed") {
			t.Errorf("%s: not found: %v", object, err)
		}
		if err := n.advance(t.Context()); !errors.Is(err, store.ErrTransient) || n.Ready() == nil {
			t.Errorf("%s: while the store is away: %v, ready: %v", object, err, n.Ready())
		}
		bucket.streams.Store(false)
		if err := n.advance(t.Context()); err != nil || n.Ready() != nil {
			t.Errorf("%s: %v, ready: %v", object, err, n.Ready())
		}
		same(t, object, answers(t, n), want)
		round()
		if s := n.cache.Stats(); n.Ready() != nil || s.Corrupt != 1 {
			t.Errorf("%s: %+v, ready: %v", object, s, n.Ready())
		}
		n.remember()
		if _, files := reopened(t, dir, p.bucket).Recall(segment.Rules); files != len(p.m.Chunks)*3+len(p.m.Segments) {
			t.Errorf("%s: the next process recalls %d files", object, files)
		}
	}
}

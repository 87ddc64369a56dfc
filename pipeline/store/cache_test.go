package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
)

// refTo is the reference to body under key.
func refTo(key string, body []byte) store.Ref {
	return store.Ref{Key: key, Size: int64(len(body)), SHA256: fmt.Sprintf("%x", sha256.Sum256(body))}
}

// putRef puts an object of size bytes, which depend on key.
func putRef(t *testing.T, b store.Bucket, key string, size int) (store.Ref, []byte) {
	t.Helper()
	body := bytes.Repeat([]byte(key+"."), size/(len(key)+1)+1)[:size]
	if err := b.PutIfAbsent(t.Context(), key, body); err != nil {
		t.Fatal(err)
	}
	return refTo(key, body), body
}

func newCache(t *testing.T, dir string, b store.Bucket, maxBytes int64) *store.Cache {
	t.Helper()
	c, err := store.NewCache(dir, b, store.CacheOptions{MaxBytes: maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fetch(t *testing.T, c *store.Cache, ref store.Ref, want []byte) *store.Mapped {
	t.Helper()
	m, err := c.Fetch(t.Context(), ref)
	if err != nil {
		t.Fatalf("Fetch(%s): %v", ref.Key, err)
	}
	if !bytes.Equal(m.Bytes(), want) {
		t.Fatalf("Fetch(%s): wrong bytes", ref.Key)
	}
	return m
}

func wantStats(t *testing.T, c *store.Cache, want store.CacheStats) {
	t.Helper()
	if got := c.Stats(); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// files counts what is in the cache directory, without the temporary ones, which must be gone.
func files(t *testing.T, dir string) int {
	t.Helper()
	if left := tempFiles(t, dir); len(left) > 0 {
		t.Errorf("temporary files left: %v", left)
	}
	matches, err := filepath.Glob(filepath.Join(dir, "[0-9a-f]*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(matches)
}

func TestCache_Fetch(t *testing.T) {
	b, dir := store.NewMemory(), t.TempDir()
	c := newCache(t, dir, b, 0)
	ref, body := putRef(t, b, "k", 10000)
	empty, _ := putRef(t, b, "empty", 0)

	first := fetch(t, c, ref, body)
	second := fetch(t, c, ref, body)
	if &first.Bytes()[0] != &second.Bytes()[0] {
		t.Error("mapped twice")
	}
	first.Release()
	first.Release() // must not release the second
	if !bytes.Equal(second.Bytes(), body) {
		t.Error("the bytes went with the first release")
	}
	second.Release()
	fetch(t, c, ref, body).Release()
	fetch(t, c, empty, nil).Release()
	fetch(t, c, empty, nil).Release()
	wantStats(t, c, store.CacheStats{Hits: 3, Downloads: 2, BytesDownloaded: 10000, Bytes: 10000})
	if n := files(t, dir); n != 2 {
		t.Errorf("%d files, want 2", n)
	}

	// Two keys of the same content share a file.
	twin, _ := putRef(t, b, "twin", 0)
	fetch(t, c, twin, nil).Release()
	wantStats(t, c, store.CacheStats{Hits: 4, Downloads: 2, BytesDownloaded: 10000, Bytes: 10000})
}

func TestCache_Fetch_absent(t *testing.T) {
	dir := t.TempDir()
	c := newCache(t, dir, store.NewMemory(), 0)
	if m, err := c.Fetch(t.Context(), refTo("k", nil)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Fetch = %v, %v, want ErrNotFound", m, err)
	}
	for _, ref := range []store.Ref{{Key: "k"}, {Key: "k", SHA256: "../../etc/passwd"}, {Key: "k", SHA256: strings.Repeat("AB", 32)}, {Key: "k", Size: -1, SHA256: strings.Repeat("ab", 32)}} {
		if m, err := c.Fetch(t.Context(), ref); err == nil || !strings.Contains(err.Error(), `"k"`) {
			t.Errorf("Fetch(%+v) = %v, %v, want an error that names the object", ref, m, err)
		}
	}
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files, want none", n)
	}
}

// An object that is not what the manifest says never gets into the cache.
func TestCache_Fetch_corruptObject(t *testing.T) {
	b, dir := store.NewMemory(), t.TempDir()
	c := newCache(t, dir, b, 0)
	if err := b.PutIfAbsent(t.Context(), "k", []byte("body")); err != nil {
		t.Fatal(err)
	}
	for _, claimed := range []string{"bodx", "longer than it", ""} {
		m, err := c.Fetch(t.Context(), refTo("k", []byte(claimed)))
		if !errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrTransient) || !strings.Contains(err.Error(), `"k"`) {
			t.Errorf("Fetch = %v, %v, want ErrCorrupt that names the object", m, err)
		}
	}
	wantStats(t, c, store.CacheStats{Corrupt: 9}) // each was downloaded three times
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files, want none", n)
	}
}

// Files of an earlier process are used if they are intact, and replaced if not.
func TestCache_earlierProcess(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"intact":    func(b []byte) []byte { return b },
		"changed":   func(b []byte) []byte { return append([]byte{b[0] ^ 1}, b[1:]...) },
		"truncated": func(b []byte) []byte { return b[:len(b)-1] },
		"longer":    func(b []byte) []byte { return append(b[:len(b):len(b)], 0) },
		"emptied":   func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			b, dir := store.NewMemory(), t.TempDir()
			ref, body := putRef(t, b, "k", 1000)
			fetch(t, newCache(t, dir, b, 0), ref, body).Release()
			if err := os.WriteFile(filepath.Join(dir, ref.SHA256), damage(body), 0o644); err != nil {
				t.Fatal(err)
			}
			c := newCache(t, dir, b, 0)
			fetch(t, c, ref, body).Release()
			want := store.CacheStats{Hits: 1, Bytes: 1000}
			if name != "intact" {
				want = store.CacheStats{Downloads: 1, BytesDownloaded: 1000, Corrupt: 1, Bytes: 1000}
			}
			wantStats(t, c, want)
		})
	}
}

// A file that another process removed is fetched again; one that is mapped stays usable.
func TestCache_sharedDirectory(t *testing.T) {
	b, dir := store.NewMemory(), t.TempDir()
	ref, body := putRef(t, b, "k", 1000)
	c := newCache(t, dir, b, 0)
	mapped := fetch(t, c, ref, body)
	if _, err := newCache(t, dir, b, 0).Sweep(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if n := files(t, dir); n != 0 {
		t.Fatalf("%d files, want none", n)
	}
	if !bytes.Equal(mapped.Bytes(), body) {
		t.Error("the mapping went with the file")
	}
	mapped.Release()
	fetch(t, c, ref, body).Release()
	wantStats(t, c, store.CacheStats{Downloads: 2, BytesDownloaded: 2000, Bytes: 1000})
}

// Objects of two buckets share files and bound: the content counts, not where it came from.
func TestCache_Of(t *testing.T) {
	b, dir := store.NewMemory(), t.TempDir()
	c := newCache(t, dir, b, 3000)
	other := c.Of(store.Under(b, "other"))
	same, body := putRef(t, b, "k", 2000)
	if err := b.PutIfAbsent(t.Context(), "other/l", body); err != nil {
		t.Fatal(err)
	}
	fetch(t, c, same, body).Release()
	held := fetch(t, other, refTo("l", body), body)
	wantStats(t, other, store.CacheStats{Hits: 1, Downloads: 1, BytesDownloaded: 2000, Bytes: 2000, Mapped: 2000})
	more, moreBody := putRef(t, store.Under(b, "other"), "m", 2000)
	if _, err := c.Fetch(t.Context(), more); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an object of the other bucket: %v, want ErrNotFound", err)
	}
	if _, err := other.Fetch(t.Context(), more); !errors.Is(err, store.ErrCacheFull) {
		t.Errorf("beside one that is held: %v, want ErrCacheFull", err)
	}
	held.Release()
	fetch(t, other, more, moreBody).Release()
	wantStats(t, c, store.CacheStats{Hits: 1, Downloads: 2, BytesDownloaded: 4000, Bytes: 2000})
}

func TestCache_Put(t *testing.T) {
	b, dir := store.NewMemory(), t.TempDir()
	c := newCache(t, dir, b, 0)
	body := []byte("the builder's own chunk")
	ref := refTo("never/put/in/the/bucket", body)
	for range 2 {
		if err := c.Put(t.Context(), ref, body); err != nil {
			t.Fatal(err)
		}
	}
	fetch(t, c, ref, body).Release()
	wantStats(t, c, store.CacheStats{Hits: 1, Bytes: int64(len(body))})
	if err := c.Put(t.Context(), ref, []byte("something else")); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Put of another body = %v, want ErrCorrupt", err)
	}
}

func TestCache_Sweep(t *testing.T) {
	b, dir := store.NewMemory(), t.TempDir()
	c := newCache(t, dir, b, 0)
	kept, keptBody := putRef(t, b, "kept", 100)
	used, usedBody := putRef(t, b, "used", 200)
	idle, idleBody := putRef(t, b, "idle", 400)
	fetch(t, c, kept, keptBody).Release()
	mapped := fetch(t, c, used, usedBody)
	fetch(t, c, idle, idleBody).Release()

	keep := func(sha256 string) bool { return sha256 == kept.SHA256 }
	if freed, err := c.Sweep(keep); freed != 400 || err != nil {
		t.Errorf("Sweep = %d, %v, want 400", freed, err)
	}
	if !bytes.Equal(mapped.Bytes(), usedBody) || files(t, dir) != 2 {
		t.Error("what is in use was removed")
	}
	mapped.Release()
	if freed, err := c.Sweep(keep); freed != 200 || err != nil {
		t.Errorf("Sweep = %d, %v, want 200", freed, err)
	}
	wantStats(t, c, store.CacheStats{Downloads: 3, BytesDownloaded: 700, Bytes: 100})
}

func TestCache_MaxBytes(t *testing.T) {
	b, dir := store.NewMemory(), t.TempDir()
	refs, bodies := make([]store.Ref, 4), make([][]byte, 4)
	for i := range refs {
		refs[i], bodies[i] = putRef(t, b, fmt.Sprintf("k%d", i), 100)
	}
	c := newCache(t, dir, b, 250)
	pinned := fetch(t, c, refs[0], bodies[0])
	fetch(t, c, refs[1], bodies[1]).Release()
	second := fetch(t, c, refs[2], bodies[2]) // evicts 1, not 0, which is older but in use
	if got := c.Stats().Bytes; got != 200 || files(t, dir) != 2 {
		t.Errorf("%d bytes, want 200", got)
	}
	if m, err := c.Fetch(t.Context(), refs[3]); !errors.Is(err, store.ErrCacheFull) || !strings.Contains(err.Error(), "200 of 250") {
		t.Errorf("Fetch into a full cache = %v, %v, want ErrCacheFull", m, err)
	}
	if err := c.Put(t.Context(), refs[3], bodies[3]); !errors.Is(err, store.ErrCacheFull) {
		t.Errorf("Put into a full cache = %v, want ErrCacheFull", err)
	}
	pinned.Release()
	second.Release()
	fetch(t, c, refs[0], bodies[0]).Release() // now 2 is the longest unused
	fetch(t, c, refs[3], bodies[3]).Release()
	downloads := c.Stats().Downloads
	fetch(t, c, refs[0], bodies[0]).Release()
	if c.Stats().Downloads != downloads {
		t.Error("the more recently used file was evicted")
	}
}

// gate is a bucket whose reads wait until it is opened.
type gate struct {
	store.Bucket
	opens   atomic.Int64
	started chan struct{} // closed at the first read
	once    sync.Once
	pass    chan struct{}
}

func newGate(b store.Bucket) *gate {
	return &gate{Bucket: b, started: make(chan struct{}), pass: make(chan struct{})}
}

func (g *gate) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	g.opens.Add(1)
	g.once.Do(func() { close(g.started) })
	select {
	case <-g.pass:
		return g.Bucket.Open(ctx, key)
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

func TestCache_Fetch_concurrent(t *testing.T) {
	b := newGate(store.NewMemory())
	ref, body := putRef(t, b, "k", 1<<16)
	c := newCache(t, t.TempDir(), b, 0)
	var users sync.WaitGroup
	for range 16 {
		users.Go(func() {
			m, err := c.Fetch(t.Context(), ref)
			if err != nil || !bytes.Equal(m.Bytes(), body) {
				t.Errorf("Fetch: %v", err)
				return
			}
			m.Release()
		})
	}
	<-b.started
	if _, err := c.Sweep(func(string) bool { return false }); err != nil { // must not disturb
		t.Error(err)
	}
	close(b.pass)
	users.Wait()
	if b.opens.Load() != 1 {
		t.Errorf("%d downloads, want 1", b.opens.Load())
	}
}

// The caller who runs a download may go away; those who wait for it still get theirs.
func TestCache_Fetch_firstCallerCancelled(t *testing.T) {
	b := newGate(store.NewMemory())
	ref, body := putRef(t, b, "k", 1000)
	c := newCache(t, t.TempDir(), b, 0)
	ctx, cancel := context.WithCancel(t.Context())
	var users sync.WaitGroup
	users.Go(func() {
		if m, err := c.Fetch(ctx, ref); !errors.Is(err, context.Canceled) {
			t.Errorf("Fetch = %v, %v, want context.Canceled", m, err)
		}
	})
	<-b.started
	users.Go(func() {
		m, err := c.Fetch(t.Context(), ref)
		if err != nil || !bytes.Equal(m.Bytes(), body) {
			t.Errorf("Fetch: %v", err)
			return
		}
		m.Release()
	})
	cancel()
	close(b.pass)
	users.Wait()
}

// Users come and go while the cache is swept and is too small for all: nobody reads wrong or unmapped bytes.
func TestCache_churn(t *testing.T) {
	b := store.NewMemory()
	refs, bodies := make([]store.Ref, 8), make([][]byte, 8)
	for i := range refs {
		refs[i], bodies[i] = putRef(t, b, fmt.Sprintf("k%d", i), 4096)
	}
	c := newCache(t, t.TempDir(), b, 5*4096)
	var users sync.WaitGroup
	for u := range 4 {
		users.Go(func() {
			for i := range 100 {
				n := (i*7 + u*3) % len(refs)
				m, err := c.Fetch(t.Context(), refs[n])
				if err != nil || !bytes.Equal(m.Bytes(), bodies[n]) {
					t.Errorf("Fetch: %v", err)
					return
				}
				m.Release()
				if i%10 == 0 {
					if _, err := c.Sweep(func(string) bool { return false }); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	users.Wait()
	if got := c.Stats().Bytes; got > 5*4096 {
		t.Errorf("%d bytes, over the bound", got)
	}
}

// A stream that breaks off is read again, from the start.
func TestCache_Fetch_brokenStream(t *testing.T) {
	place := s3Place(t)
	ref, body := putRef(t, open(t, place, quick), "k", 10000)
	dir := t.TempDir()
	c := newCache(t, dir, openOn(t, place, once("GET", cut(5000, false))), 0)
	fetch(t, c, ref, body).Release()
	wantStats(t, c, store.CacheStats{Downloads: 1, BytesDownloaded: 10000, Bytes: 10000})
	if n := files(t, dir); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
}

// liar is a bucket whose first few reads have a wrong byte, which no checksum of the store's catches.
type liar struct {
	store.Bucket
	lies atomic.Int64
}

func (l *liar) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	body, err := l.Get(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	if l.lies.Add(-1) >= 0 {
		body = bytes.Clone(body)
		body[0] ^= 1
	}
	return io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
}

// A byte that changed on its way does not condemn the object: a builder ends at one that is corrupt.
func TestCache_Fetch_byteFlippedOnItsWay(t *testing.T) {
	b := &liar{Bucket: store.NewMemory()}
	ref, body := putRef(t, b, "k", 10000)
	b.lies.Store(2)
	c := newCache(t, t.TempDir(), b, 0)
	fetch(t, c, ref, body).Release()
	wantStats(t, c, store.CacheStats{Downloads: 1, BytesDownloaded: 10000, Corrupt: 2, Bytes: 10000})
}

// A file that somebody holds is not swept, and is as good as any other afterwards.
func TestCache_hold(t *testing.T) {
	c, none := newCache(t, t.TempDir(), store.NewMemory(), 0), func(string) bool { return false }
	body := []byte("body")
	ref := refTo("k", body)
	release := c.Hold(ref.SHA256)
	if err := c.Put(t.Context(), ref, body); err != nil {
		t.Fatal(err)
	}
	if freed, err := c.Sweep(none); freed != 0 || err != nil || c.Stats().Bytes != ref.Size {
		t.Fatalf("swept %d bytes, %v", freed, err)
	}
	release()
	if freed, err := c.Sweep(none); freed != ref.Size || err != nil || c.Stats().Bytes != 0 {
		t.Fatalf("swept %d bytes, %v", freed, err)
	}
	c.Hold(ref.SHA256)() // of nothing
	if stats := c.Stats(); stats.Bytes != 0 {
		t.Errorf("%+v", stats)
	}
}

// What was kept before is counted and can be swept, also after nothing could be kept in its place.
func TestCache_Keep_fails(t *testing.T) {
	dir, name := t.TempDir(), strings.Repeat("ab", 32)
	if err := newCache(t, dir, store.NewMemory(), 0).Keep(name, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	later := newCache(t, dir, store.NewMemory(), 150)
	for range 2 {
		if err := later.Keep(name, make([]byte, 200)); !errors.Is(err, store.ErrCacheFull) {
			t.Fatalf("Keep = %v, want ErrCacheFull", err)
		}
		if got := later.Stats().Bytes; got != 100 {
			t.Errorf("%d bytes are counted, there are 100", got)
		}
	}
	if freed, err := later.Sweep(func(string) bool { return false }); freed != 100 || err != nil || files(t, dir) != 0 {
		t.Errorf("swept %d bytes, %v, %d files are left", freed, err, files(t, dir))
	}
}

// A download that the bucket itself finds damaged, by a sum that it keeps, counts as one that the cache finds damaged: an alert asks for
// that number.
func TestCache_Fetch_bucketFindsDamage(t *testing.T) {
	b := &summing{Bucket: store.NewMemory()}
	ref, _ := putRef(t, b, "k", 1000)
	log := &bytes.Buffer{}
	c, err := store.NewCache(t.TempDir(), b, store.CacheOptions{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := c.Fetch(t.Context(), ref); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Fetch = %v, %v, want ErrCorrupt", m, err)
	}
	wantStats(t, c, store.CacheStats{Corrupt: 3})
	if n := strings.Count(log.String(), "a download does not match its record"); n != 3 || !strings.Contains(log.String(), "key=k") {
		t.Errorf("it says %d times, wanted: 3, and the key, that something was damaged:\n%s", n, log)
	}
}

// summing finds all that is read damaged, at its end.
type summing struct{ store.Bucket }

func (s *summing) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	r, size, err := s.Bucket.Open(ctx, key)
	return damaged{r}, size, err
}

type damaged struct{ io.ReadCloser }

func (d damaged) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: crc32c", store.ErrCorrupt)
	}
	return n, err
}

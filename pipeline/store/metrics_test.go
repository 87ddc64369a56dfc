package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// value is that of a metric without labels.
func value(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// forgetful has said of a key that it is there, and then does not find it.
type forgetful struct{ Bucket }

func (f forgetful) Get(context.Context, string) ([]byte, error) { return nil, ErrNotFound }

// flipped damages what is read.
type flipped struct{ Bucket }

func (f flipped) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	body, err := f.Get(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	body = bytes.Clone(body)
	body[0] ^= 1
	return io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
}

func TestMeteredCounts(t *testing.T) {
	ctx, r := t.Context(), prometheus.NewRegistry()
	b := NewMeter(r, "test").Of(NewMemory())
	m := b.(*metered)
	count := func(op, result string, want float64) {
		t.Helper()
		if got := testutil.ToFloat64(m.requests.WithLabelValues(op, result)); got != want {
			t.Errorf("%v requests %s were %s, want %v", got, op, result, want)
		}
	}
	if err := b.PutIfAbsent(ctx, "a", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if err := b.PutIfAbsent(ctx, "a", []byte("other")); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, "b"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	stream, _, err := b.Open(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(stream); err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	for range b.List(ctx, "", "") {
		break
	}
	count("put", "ok", 1)
	count("put", "exists", 1)
	count("get", "ok", 1)
	count("get", "not_found", 1)
	count("open", "ok", 1)
	count("read", "ok", 1)
	count("list", "ok", 1)
	count("stat", "ok", 0)
	for name, want := range map[string]float64{"adastream_test_store_read_bytes_total": 10, "adastream_test_store_written_bytes_total": 5, "adastream_test_store_contradictions_total": 0} {
		if got := value(t, r, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// TestMeteredDoubts: a store that does not find what it has taken is counted, one in which it was deleted is not.
func TestMeteredDoubts(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		name    string
		deleted bool
		want    float64
	}{{"forgotten", false, 1}, {"deleted", true, 0}} {
		t.Run(c.name, func(t *testing.T) {
			r := prometheus.NewRegistry()
			b := NewMeter(r, "test").Of(forgetful{NewMemory()})
			if err := b.PutIfAbsent(ctx, "a", []byte("x")); err != nil {
				t.Fatal(err)
			}
			if c.deleted {
				if err := b.Delete(ctx, "a"); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range []string{"a", "never put"} {
				if _, err := b.Get(ctx, key); !errors.Is(err, ErrNotFound) {
					t.Fatal(err)
				}
			}
			if got := value(t, r, "adastream_test_store_contradictions_total"); got != c.want {
				t.Errorf("%v contradictions, want %v", got, c.want)
			}
		})
	}
}

func TestCacheMetrics(t *testing.T) {
	ctx, r, body := t.Context(), prometheus.NewRegistry(), []byte("content")
	b := NewMemory()
	if err := b.PutIfAbsent(ctx, "a", body); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	ref := Ref{Key: "a", Size: int64(len(body)), SHA256: hex.EncodeToString(sum[:])}
	c, err := NewCache(t.TempDir(), b, CacheOptions{MaxBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	c.Register(r, "test")
	if _, err := c.Of(flipped{b}).Fetch(ctx, ref); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	first, err := c.Fetch(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Fetch(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"adastream_test_cache_hits_total": 1, "adastream_test_cache_downloads_total": 1, "adastream_test_cache_downloaded_bytes_total": 7,
		"adastream_test_corrupt_objects_total": corruptTries, "adastream_test_cache_bytes": 7, "adastream_test_cache_limit_bytes": 100, "adastream_test_mapped_bytes": 7,
	} {
		if got := value(t, r, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if free, all := value(t, r, "adastream_test_disk_free_bytes"), value(t, r, "adastream_test_disk_bytes"); free > all || all <= 0 {
		t.Errorf("%v bytes of %v are free", free, all)
	}
	first.Release()
	second.Release()
	if got := value(t, r, "adastream_test_mapped_bytes"); got != 0 {
		t.Errorf("%v bytes are mapped, want none", got)
	}
}

// TestMeteredDoubts_onlyWhatWasSaidBefore: a look that began before a key was put, or long after, says nothing of the store.
func TestMeteredDoubts_onlyWhatWasSaidBefore(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{{-time.Second, 0}, {time.Second, 1}, {recently + time.Second, 0}} {
		r := prometheus.NewRegistry()
		m := NewMeter(r, "test").Of(NewMemory()).(*metered)
		m.remember("a")
		m.doubt("a", time.Now().Add(c.after), ErrNotFound)
		if got := value(t, r, "adastream_test_store_contradictions_total"); got != c.want {
			t.Errorf("a look %v after the put: %v contradictions, want %v", c.after, got, c.want)
		}
	}
}

// A disk or a mount that fails for a moment is waited for, as one that is full is.
func TestClassifyOS_disk(t *testing.T) {
	for _, code := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		if err := classifyOS(&fs.PathError{Op: "write", Path: "/x", Err: code}); !errors.Is(err, ErrTransient) || !errors.Is(err, code) {
			t.Errorf("%v: %v, want ErrTransient", code, err)
		}
	}
}

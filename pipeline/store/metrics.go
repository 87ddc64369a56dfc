package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Register shows in r, as metrics of a role, what the cache did and what it takes. The caches of Of are one with c.
func (c *Cache) Register(r prometheus.Registerer, role string) {
	f := promauto.With(r)
	counter := func(name, help string, value func(CacheStats) int64) {
		f.NewCounterFunc(prometheus.CounterOpts{Namespace: "adastream", Subsystem: role, Name: name, Help: help},
			func() float64 { return float64(value(c.Stats())) })
	}
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: role, Name: name, Help: help}, value)
	}
	counter("cache_hits_total", "Number of cache hits: objects found in the cache.", func(s CacheStats) int64 { return s.Hits })
	counter("cache_downloads_total", "Number of objects downloaded into the cache and found intact.", func(s CacheStats) int64 { return s.Downloads })
	counter("cache_downloaded_bytes_total", "Bytes of objects downloaded into the cache and found intact.", func(s CacheStats) int64 { return s.BytesDownloaded })
	counter("corrupt_objects_total", "Number of downloads and cached files whose bytes did not match their record. Should be 0, else a disk, the network or the store damages data.",
		func(s CacheStats) int64 { return s.Corrupt })
	gauge("cache_bytes", "Size of the cache, in bytes.", func() float64 { return float64(c.Stats().Bytes) })
	gauge("cache_limit_bytes", "Maximum size of the cache, in bytes. 0 is unlimited.", func() float64 { return float64(c.maxBytes) })
	gauge("mapped_bytes", "Bytes of files mapped into memory, resident or not.", func() float64 { return float64(c.Stats().Mapped) })
	gauge("disk_free_bytes", "Free bytes on the file system of the cache. NaN if the system does not say.", func() float64 {
		free, _ := diskSpace(c.dir)
		return free
	})
	gauge("disk_bytes", "Size of the file system of the cache, in bytes. NaN if the system does not say.", func() float64 {
		_, all := diskSpace(c.dir)
		return all
	})
}

// What a request to a bucket came to, as labels of metrics. The first class that an error wraps counts.
var outcomes = []struct {
	label string
	class error
}{
	{"not_found", ErrNotFound},
	{"exists", ErrExists},
	{"corrupt", ErrCorrupt},
	{"denied", ErrDenied},
	{"unknown", ErrUnknown},
	{"cancelled", context.Canceled},
	{"transient", ErrTransient},
}

const (
	succeeded = "ok"
	otherwise = "other"
)

func outcomeOf(err error) string {
	if err == nil {
		return succeeded
	}
	for _, o := range outcomes {
		if errors.Is(err, o.class) {
			return o.label
		}
	}
	return otherwise
}

// recently is for how long a key that was put must be found.
const recently = 10 * time.Second

// Meter counts what is asked of buckets.
type Meter struct {
	requests       *prometheus.CounterVec
	seconds        *prometheus.HistogramVec
	read, written  prometheus.Counter
	contradictions prometheus.Counter
}

// metered is a bucket that counts.
type metered struct {
	Bucket
	*Meter

	mu  sync.Mutex
	put [256]struct { // keys that were put or exist by what the bucket said, the newest ones, in a ring
		key string
		at  time.Time
	}
	next int // place in the ring
}

// NewMeter returns a Meter that shows in r, as metrics of a role, what is asked of all its buckets and what they answer.
func NewMeter(r prometheus.Registerer, role string) *Meter {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "adastream", Subsystem: role, Name: name, Help: help}
	}
	m := &Meter{
		requests: f.NewCounterVec(counter("store_requests_total", "Number of requests to the object store, each with all its retries, by operation and result: put (if absent), get, open and then read of an object, range read, stat, list, delete. "+
			"A put with result exists lost a race, which is normal. unknown, corrupt and denied should be rare."), []string{"op", "result"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: role, Name: "store_seconds",
			Help: "Duration of a request to the object store including retries, in seconds. A list counts to its end, a read from open to close.", Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour}, []string{"op"}),
		read:    f.NewCounter(counter("store_read_bytes_total", "Bytes read from the object store.")),
		written: f.NewCounter(counter("store_written_bytes_total", "Bytes of objects that the object store acknowledged.")),
		contradictions: f.NewCounter(counter("store_contradictions_total", "Number of times that the object store did not find a key that it had shown to exist less than 10 seconds before. "+
			"Should be 0, else the store is not consistent or somebody deletes in it.")),
	}
	for _, op := range []string{"put", "get", "open", "read", "range", "stat", "list", "delete"} {
		for _, o := range outcomes {
			m.requests.WithLabelValues(op, o.label)
		}
		m.requests.WithLabelValues(op, succeeded)
		m.requests.WithLabelValues(op, otherwise)
		m.seconds.WithLabelValues(op)
	}
	return m
}

// Of is b, counted.
func (m *Meter) Of(b Bucket) Bucket { return &metered{Bucket: b, Meter: m} }

func (m *Meter) done(op string, began time.Time, err error) {
	m.requests.WithLabelValues(op, outcomeOf(err)).Inc()
	m.seconds.WithLabelValues(op).Observe(time.Since(began).Seconds())
}

// PutIfAbsent implements Bucket.
func (m *metered) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	began := time.Now()
	err := m.Bucket.PutIfAbsent(ctx, key, body)
	m.done("put", began, err)
	if err == nil {
		m.written.Add(float64(len(body)))
	}
	if err == nil || errors.Is(err, ErrExists) {
		m.remember(key)
	}
	return err
}

// Get implements Bucket.
func (m *metered) Get(ctx context.Context, key string) ([]byte, error) {
	began := time.Now()
	body, err := m.Bucket.Get(ctx, key)
	m.done("get", began, err)
	m.read.Add(float64(len(body)))
	m.doubt(key, began, err)
	return body, err
}

// Open implements Bucket.
func (m *metered) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	began := time.Now()
	r, size, err := m.Bucket.Open(ctx, key)
	m.done("open", began, err)
	m.doubt(key, began, err)
	if err != nil {
		return nil, 0, err
	}
	return &meteredReader{ReadCloser: r, m: m, began: began}, size, nil
}

// meteredReader counts what is read, and the first error as what became of it.
type meteredReader struct {
	io.ReadCloser
	m     *metered
	began time.Time
	err   error // other than io.EOF
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.m.read.Add(float64(n))
	if err != nil && err != io.EOF && r.err == nil {
		r.err = err
	}
	return n, err
}

func (r *meteredReader) Close() error {
	r.m.done("read", r.began, r.err)
	return r.ReadCloser.Close()
}

// Range implements Bucket.
func (m *metered) Range(ctx context.Context, key string, at, n int64) ([]byte, error) {
	began := time.Now()
	body, err := m.Bucket.Range(ctx, key, at, n)
	m.done("range", began, err)
	m.read.Add(float64(len(body)))
	m.doubt(key, began, err)
	return body, err
}

// Stat implements Bucket.
func (m *metered) Stat(ctx context.Context, key string) (Info, error) {
	began := time.Now()
	info, err := m.Bucket.Stat(ctx, key)
	m.done("stat", began, err)
	m.doubt(key, began, err)
	return info, err
}

// List implements Bucket.
func (m *metered) List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		began := time.Now()
		var failed error
		defer func() { m.done("list", began, failed) }()
		for info, err := range m.Bucket.List(ctx, prefix, startAfter) {
			failed = err
			if !yield(info, err) {
				return
			}
		}
	}
}

// Delete implements Bucket.
func (m *metered) Delete(ctx context.Context, key string) error {
	m.forget(key) // before it is gone for others
	began := time.Now()
	err := m.Bucket.Delete(ctx, key)
	m.done("delete", began, err)
	return err
}

func (m *metered) remember(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put[m.next].key, m.put[m.next].at = key, time.Now()
	m.next = (m.next + 1) % len(m.put)
}

func (m *metered) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.put {
		if m.put[i].key == key {
			m.put[i].key = ""
		}
	}
}

// doubt counts that a key was not found, if the bucket had said before the request began that it is there.
func (m *metered) doubt(key string, began time.Time, err error) {
	if !errors.Is(err, ErrNotFound) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.put {
		if p.key == key && p.at.Before(began) && began.Sub(p.at) < recently {
			m.contradictions.Inc()
			return
		}
	}
}

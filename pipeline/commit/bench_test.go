package commit

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
)

// moved counts the bytes of manifests and pages that are written and read.
type moved struct {
	store.Bucket
	written, read atomic.Int64
}

func counts(key string) bool {
	return strings.HasPrefix(key, "manifests/") || strings.HasPrefix(key, pages)
}

func (m *moved) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if counts(key) {
		m.written.Add(int64(len(body)))
	}
	return m.Bucket.PutIfAbsent(ctx, key, body)
}

func (m *moved) Get(ctx context.Context, key string) ([]byte, error) {
	body, err := m.Bucket.Get(ctx, key)
	if counts(key) {
		m.read.Add(int64(len(body)))
	}
	return body, err
}

func (m *moved) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	r, size, err := m.Bucket.Open(ctx, key)
	if counts(key) {
		m.read.Add(size)
	}
	return r, size, err
}

// BenchmarkGenerations is what a generation of many chunks costs beside its data, over a store in memory: publishing one with one
// more segment, or with one other chunk, following these, and opening one anew. Bytes are those of manifests and pages, cpu is the
// time of processors: a busy machine changes it less.
func BenchmarkGenerations(b *testing.B) {
	for _, way := range []struct {
		name  string
		parts int
	}{{"in-line", 1 << 30}, {"pages", pageParts}} {
		for _, n := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/chunks=%d", way.name, n), func(b *testing.B) { benchmarkGenerations(b, way.parts, n) })
		}
	}
}

func benchmarkGenerations(b *testing.B, parts, n int) {
	bucket := &moved{Bucket: store.NewMemory()}
	builder := openLog(b, bucket).WithPages(parts)
	follower := openLog(b, bucket)
	chunks, segments := partsOf(n, 20)
	generation := int64(0)
	segment := func() { segments = append(slices.Clone(segments[len(segments)-20:]), segmentOf(int(generation))) }
	chunk := func() {
		at := int(generation) % n
		chunks = slices.Clone(chunks)
		chunks[at] = chunkOf(at, n+int(generation))
	}
	publish := func() {
		generation++
		mustPublishParts(b, builder, generation, chunks, segments)
	}
	follow := func() {
		if _, err := follower.Manifest(b.Context(), generation); err != nil {
			b.Fatal(err)
		}
	}
	publish()
	follow()
	for _, of := range []struct {
		name        string
		prepare, do func()
	}{
		{"publish-segment", segment, publish},
		{"publish-chunk", chunk, publish},
		{"follow-segment", func() { segment(); publish() }, follow},
		{"follow-chunk", func() { chunk(); publish() }, follow},
		{"open", func() { follower = openLog(b, bucket) }, follow},
	} {
		b.Run(of.name, func(b *testing.B) {
			var written, read int64
			var cpu time.Duration
			follow() // what there is by now
			for b.Loop() {
				b.StopTimer()
				of.prepare()
				written, read, cpu = written-bucket.written.Load(), read-bucket.read.Load(), cpu-processors(b)
				b.StartTimer()
				of.do()
				b.StopTimer()
				written, read, cpu = written+bucket.written.Load(), read+bucket.read.Load(), cpu+processors(b)
				b.StartTimer()
			}
			b.ReportMetric(float64(written)/float64(b.N), "written-bytes/op")
			b.ReportMetric(float64(read)/float64(b.N), "read-bytes/op")
			b.ReportMetric(cpu.Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// processors is the time of processors that this process has had.
func processors(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

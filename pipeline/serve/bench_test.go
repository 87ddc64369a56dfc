//go:build unix

package serve

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/adastream/adastream/index/search"
)

// benchForm is a form of requests: queries each, how the body is made, how it is sent.
type benchForm struct {
	name    string
	queries int
	path    string
	kind    string
	body    func(vectors []float32) []byte
}

// BenchmarkHTTP answers queries of 256 dimensions over a loopback connection, client and server on one core, beside the
// library alone, query by query and by the batch. It reports queries a second, the processor time of a query, which other
// processes disturb less, and of that the shares of reading the request, of search, and of writing the answer, each
// measured apart. The rest is HTTP, its client included.
func BenchmarkHTTP(b *testing.B) {
	const dim, batch, k = 256, 500, 10
	n, data := clusteredNode(b, 50_000, 256, 64, dim)
	snap := n.hold()
	defer snap.Release()
	plan := search.Plan{NProbe: 16, ScanDims: dim, Refine: 100}
	b.Run("library", func(b *testing.B) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		s := search.New(n.o.Level)
		hits := make([]search.Hit, 0, k)
		queries, busy := 0, cpuTime(b)
		for b.Loop() {
			if _, _, err := s.Search(b.Context(), snap.Snapshot, data.Vector(queries%batch), k, plan, hits); err != nil {
				b.Fatal(err)
			}
			queries++
		}
		report(b, queries, cpuTime(b)-busy)
	})
	b.Run("library batch", func(b *testing.B) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		s := search.New(n.o.Level)
		results := make([][]search.Hit, batch)
		queries, busy := 0, cpuTime(b)
		for b.Loop() {
			for i := range results {
				results[i] = results[i][:0]
			}
			if _, _, err := s.SearchBatch(b.Context(), snap.Snapshot, data.Vectors[:batch*dim], k, plan, results); err != nil {
				b.Fatal(err)
			}
			queries += batch
		}
		report(b, queries, cpuTime(b)-busy)
	})
	const how = `"plan":{"nprobe":16,"refine":100}`
	const arrowPath = "/v1/search?plan.nprobe=16&plan.refine=100"
	for _, f := range []benchForm{
		{"json", 1, "/v1/search", jsonType, func(v []float32) []byte { return fmt.Appendf(nil, `{"vector":%s,%s}`, vectorJSON(v), how) }},
		{"vectors", batch, "/v1/search", jsonType, func(v []float32) []byte { return fmt.Appendf(nil, `{"vectors":%s,%s}`, rowsJSON(dim, v), how) }},
		{"vectors_f32", batch, "/v1/search", jsonType, func(v []float32) []byte { return fmt.Appendf(nil, `{"vectors_f32":"%s",%s}`, base64Rows(v), how) }},
		{"arrow_f32", batch, arrowPath, arrowType, func(v []float32) []byte { return vectorsStream(b, singleItems, dim, v) }},
		{"arrow_f16", batch, arrowPath, arrowType, func(v []float32) []byte { return vectorsStream(b, halfItems, dim, v) }},
	} {
		b.Run(f.name, func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			f.run(b, n, data.Vectors[:batch*dim])
		})
	}
}

func (f benchForm) run(b *testing.B, n *Node, vectors []float32) {
	dim := n.current.Load().Spec().Dim()
	var bodies [][]byte
	for start := 0; start < len(vectors); start += f.queries * dim {
		bodies = append(bodies, f.body(vectors[start:][:f.queries*dim]))
	}
	server := httptest.NewServer(n.API())
	defer server.Close()
	requests, busy := 0, cpuTime(b)
	b.ReportAllocs()
	for b.Loop() {
		response, err := server.Client().Post(server.URL+f.path, f.kind, bytes.NewReader(bodies[requests%len(bodies)]))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
			b.Fatal(response.Status, err)
		}
		response.Body.Close()
		requests++
	}
	busy = cpuTime(b) - busy
	report(b, requests*f.queries, busy)
	f.reportShares(b, n, bodies[0], busy/time.Duration(requests))
}

func report(b *testing.B, queries int, busy time.Duration) {
	b.ReportMetric(float64(queries)/b.Elapsed().Seconds(), "queries/s")
	b.ReportMetric(busy.Seconds()*1e6/float64(queries), "cpu-µs/query")
}

// cpuTime is the processor time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// reportShares measures the steps of a request that takes so much processor time as a whole.
func (f benchForm) reportShares(b *testing.B, n *Node, body []byte, whole time.Duration) {
	snap := n.hold()
	defer snap.Release()
	var q *queries
	var o *searchOptions
	var a *searchAnswer
	var written []byte
	var err error
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"read", func() error {
			r, err := http.NewRequest(http.MethodPost, f.path, bytes.NewReader(body))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", f.kind)
			queriesOf, options, err := n.readSearch(r)
			if err != nil {
				return err
			}
			o = options
			q, err = queriesOf(snap.Spec())
			return err
		}},
		{"search", func() error { a, err = n.answer(b.Context(), snap, q, o, 0); return err }},
		{"write", func() (err error) {
			if f.kind == arrowType {
				_, err = a.arrow()
			} else {
				written, err = a.json(written[:0])
			}
			return err
		}},
	} {
		started, busy, times := time.Now(), cpuTime(b), 0
		for ; times < 3 || time.Since(started) < 100*time.Millisecond; times++ {
			if err := step.do(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(100*(cpuTime(b)-busy).Seconds()/float64(times)/whole.Seconds(), step.name+"-%")
	}
}

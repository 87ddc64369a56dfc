package main

import (
	"context"
	"encoding/json"
	"fmt"
	"github.com/adastream/adastream/schemas"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
)

const (
	target  = 0.98
	floor   = 0.8
	timeout = 500 * time.Millisecond
	lasting = 5 * time.Second
)

// overload offers a node several times what it can do: queries for a recall of target arrive at a fixed rate, whether
// others have ended or not. It prints what was answered, and how long that took from when it was due, for a node that
// keeps to what is asked for and for one that may degrade to floor. The handler is called in this process: what arrives is
// made and read by the same cores.
func (b *bench) overload(ctx context.Context) error {
	if err := b.log.Publish(ctx, b.manifest); err != nil {
		return err
	}
	if _, err := b.log.Promote(ctx, nil, schemas.Channel{Generation: b.manifest.Generation, Reason: "benchmark", By: b.manifest.Builder}); err != nil {
		return err
	}
	bodies := make([]string, b.set.Queries)
	for i := range bodies {
		vector, err := json.Marshal(b.set.Query(i))
		if err != nil {
			return err
		}
		bodies[i] = fmt.Sprintf(`{"vector":%s,"fields":[],"target_recall":%v}`, vector, target)
	}
	var capacity float64
	fmt.Printf("\n| may degrade to | offered/s | answered/s | p50 ms | p99 ms | refused | degraded | recall to expect |\n|---|---|---|---|---|---|---|---|\n")
	for _, to := range []float64{0, floor} {
		err := b.serve(ctx, to, func(api http.Handler) error {
			if capacity == 0 {
				capacity = rateOf(api, bodies)
			}
			for _, times := range []float64{0.5, 1, 1.5, 2, 4} {
				o := offer(api, bodies, times*capacity)
				slices.Sort(o.took)
				n := len(o.took)
				if n == 0 {
					return fmt.Errorf("load %v: nothing was answered", times)
				}
				fmt.Printf("| %v | %.0f (%v times) | %.0f | %.1f | %.1f | %.1f %% | %.1f %% | %.4f |\n", to, times*capacity, times, float64(n)/lasting.Seconds(),
					o.took[n/2].Seconds()*1e3, o.took[n*99/100].Seconds()*1e3, 100*float64(o.refused)/float64(n+o.refused), 100*float64(o.degraded)/float64(n), o.recall/float64(n))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// serve runs a node of the generation that was published.
func (b *bench) serve(ctx context.Context, to float64, do func(api http.Handler) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := os.MkdirTemp("", "elastic")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files, err := store.NewCache(dir, b.bucket, store.CacheOptions{})
	if err != nil {
		return err
	}
	node, err := serve.New(serve.Options{Log: b.log, Cache: files, Level: b.level, PollEvery: time.Minute, MaxRunning: b.o.Threads, MaxWaiting: 4 * b.o.Threads,
		Timeout: timeout, DegradeTo: to, DegradeAfter: 5 * time.Millisecond})
	if err != nil {
		return err
	}
	defer node.Close()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = node.Run(ctx) })
	for node.Ready() != nil {
		time.Sleep(10 * time.Millisecond)
	}
	return do(node.API())
}

func post(api http.Handler, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/search", strings.NewReader(body)))
	return w
}

// rateOf is how many queries a second two clients get that wait for their answers.
func rateOf(api http.Handler, bodies []string) float64 {
	queries := int64(4 * len(bodies))
	var next atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range 2 {
		all.Go(func() {
			for i := next.Add(1); i <= queries; i = next.Add(1) {
				post(api, bodies[int(i)%len(bodies)])
			}
		})
	}
	all.Wait()
	return float64(queries) / time.Since(began).Seconds()
}

// outcome is what became of queries that were offered.
type outcome struct {
	mu                sync.Mutex
	took              []time.Duration // of those that were answered, from when they were due
	refused, degraded int
	recall            float64 // sum of what is to expect
}

// offer sends queries at a rate.
func offer(api http.Handler, bodies []string, rate float64) *outcome {
	o := &outcome{}
	var all sync.WaitGroup
	began := time.Now()
	for i := 0; ; i++ {
		due := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if due.Sub(began) > lasting {
			break
		}
		time.Sleep(time.Until(due))
		all.Go(func() { o.add(post(api, bodies[i%len(bodies)]), due) })
	}
	all.Wait()
	return o
}

func (o *outcome) add(w *httptest.ResponseRecorder, due time.Time) {
	took := time.Since(due)
	var a struct {
		Degraded       string   `json:"degraded"`
		ExpectedRecall *float64 `json:"expected_recall"`
	}
	answered := w.Code == http.StatusOK && json.Unmarshal(w.Body.Bytes(), &a) == nil
	o.mu.Lock()
	defer o.mu.Unlock()
	if !answered {
		o.refused++
		return
	}
	o.took = append(o.took, took)
	if a.Degraded != "" {
		o.degraded++
	}
	if a.ExpectedRecall != nil {
		o.recall += *a.ExpectedRecall
	}
}

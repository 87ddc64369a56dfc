package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/bench/fleet"
)

const (
	warmUp   = 2 * time.Second // before the capacity is measured
	trial    = 5 * time.Second // that measures it
	waiting  = 8               // clients of the trial, which wait for their answers
	settling = 2 * time.Second // after a window with swaps
)

type client struct {
	http   http.Client
	url    string
	bodies [][]byte
}

func newClient(api string, set *dataset.Set, nprobe, refine int) (*client, error) {
	// Idle connections go before the node, which keeps them for two minutes, closes one that is just being used.
	c := &client{url: api + "/v1/search", http: http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Minute}}}
	for i := range set.Queries {
		vector, err := json.Marshal(set.Query(i))
		if err != nil {
			return nil, err
		}
		c.bodies = append(c.bodies, fmt.Appendf(nil, `{"vector":%s,"k":%d,"fields":[],"plan":{"nprobe":%d,"refine":%d}}`, vector, dataset.K, nprobe, refine))
	}
	return c, nil
}

// ask sends query i and checks that the answer is whole.
func (c *client) ask(i int) error {
	var a struct {
		Hits []struct {
			ID string `json:"id"`
		} `json:"hits"`
	}
	if err := fleet.Call(context.Background(), &c.http, c.url, c.bodies[i%len(c.bodies)], &a); err != nil {
		return err
	}
	if len(a.Hits) != dataset.K {
		return fmt.Errorf("%d hits of %d", len(a.Hits), dataset.K)
	}
	return nil
}

// capacity is how many queries a second clients get that wait for their answers.
func (c *client) capacity(ctx context.Context) (float64, error) {
	if _, err := c.closed(ctx, warmUp); err != nil {
		return 0, err
	}
	n, err := c.closed(ctx, trial)
	return float64(n) / trial.Seconds(), err
}

func (c *client) closed(ctx context.Context, lasting time.Duration) (answered int64, err error) {
	var asked, ok atomic.Int64
	var first error
	var once sync.Once
	var all sync.WaitGroup
	end := time.Now().Add(lasting)
	for range waiting {
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				if err := c.ask(int(asked.Add(1))); err != nil {
					once.Do(func() { first = err })
					return
				}
				ok.Add(1)
			}
		})
	}
	all.Wait()
	return ok.Load(), first
}

// outcome is what became of queries that were offered.
type outcome struct {
	mu      sync.Mutex
	took    []time.Duration // of those that were answered, from when they were due
	refused []time.Duration // of those that the node had no place for
	errors  int             // all others
	first   error
	lasted  time.Duration // to the last answer
}

func (o *outcome) add(took time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil:
		o.took = append(o.took, took)
		return
	case refused(err):
		o.refused = append(o.refused, took)
		return
	}
	o.errors++
	if o.first == nil {
		o.first = err
	}
}

// merge takes in what became of others.
func (o *outcome) merge(other *outcome) {
	o.took, o.refused = append(o.took, other.took...), append(o.refused, other.refused...)
	o.errors += other.errors
	if o.first == nil {
		o.first = other.first
	}
}

func (o *outcome) asked() int { return len(o.took) + len(o.refused) + o.errors }

// quantile is 0 of nothing.
func quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[int(q*float64(len(of)-1))]
}

// offer sends queries at a rate for so long, and waits for the last answer.
func (c *client) offer(ctx context.Context, rate float64, lasting time.Duration) *outcome {
	o := &outcome{}
	var all sync.WaitGroup
	began := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		after := time.Duration(float64(i) / rate * float64(time.Second))
		if after >= lasting {
			break
		}
		due := began.Add(after)
		time.Sleep(time.Until(due))
		all.Go(func() {
			err := c.ask(i)
			o.add(time.Since(due), err)
		})
	}
	all.Wait()
	o.lasted = time.Since(began)
	return o
}

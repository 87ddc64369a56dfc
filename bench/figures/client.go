package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/schemas"
)

// serving is what GET /v1/snapshots says of the generation that is served.
type serving struct {
	Generation int64              `json:"generation"`
	LiveRows   int64              `json:"live_rows"`
	Model      string             `json:"model"`
	Offsets    map[string]int64   `json:"offsets"`
	Chunks     int                `json:"chunks"`
	Segments   int                `json:"segments"`
	Lists      *schemas.ListStats `json:"lists"`
	Quality    *schemas.Quality   `json:"quality"`
}

func (s *serving) nlist() int {
	if s.Lists == nil {
		return 0
	}
	return s.Lists.NList
}

func (s *serving) builderRecall() float64 {
	if s.Quality == nil {
		return 1
	}
	return s.Quality.Recall
}

// call asks the query node; a body makes it a POST.
func (d *daemons) call(ctx context.Context, path string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	return fleet.Call(ctx, http.DefaultClient, d.api+path, text, into)
}

// current is the generation that is served, nil before the first.
func (d *daemons) current(ctx context.Context) (*serving, error) {
	var a struct {
		Serving *serving `json:"serving"`
	}
	err := d.call(ctx, "/v1/snapshots", nil, &a)
	return a.Serving, err
}

// watch notes when batches become searchable, and searches meanwhile, until all are.
func (d *daemons) watch(ctx context.Context, batches <-chan sent, s *streamed) error {
	var waiting []sent
	produced := false
	for !produced || len(waiting) > 0 {
		if err := ctx.Err(); err != nil { // producing has failed
			return err
		}
		for more := true; more && !produced; {
			select {
			case b, ok := <-batches:
				if !ok {
					produced = true
				} else {
					waiting = append(waiting, b)
				}
			default:
				more = false
			}
		}
		if err := d.ended(); err != nil {
			return err
		}
		g, err := d.current(ctx)
		if err != nil || g == nil { // the node is starting
			time.Sleep(10 * time.Millisecond)
			continue
		}
		now := time.Now()
		for len(waiting) > 0 && reached(g.Offsets, waiting[0].ends) {
			s.fresh = append(s.fresh, now.Sub(waiting[0].at))
			waiting = waiting[1:]
		}
		for range 4 {
			if err := d.searchOnce(ctx, s); err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return nil
}

// searchOnce asks one query and notes how it went.
func (d *daemons) searchOnce(ctx context.Context, s *streamed) error {
	var a struct{ Hits []struct{ ID string } }
	started := time.Now()
	err := d.call(ctx, "/v1/search", map[string]any{"vector": s.probe(), "k": k}, &a)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.queries++
	if err != nil {
		s.failed++
	}
	s.latencies = append(s.latencies, time.Since(started))
	return nil
}

func reached(offsets map[string]int64, ends map[int]int64) bool {
	for p, end := range ends {
		if offsets[strconv.Itoa(p)] < end {
			return false
		}
	}
	return true
}

// settled is the last generation, once nothing changes any more.
type settled struct {
	serving
	took time.Duration
}

// settle waits until all rows are searchable, no job runs and no new generation has come for a while.
func (d *daemons) settle(ctx context.Context, rows int64) (*settled, error) {
	const quiet, limit = 3 * time.Second, 10 * time.Minute
	started := time.Now()
	last, since := int64(0), time.Now()
	for time.Since(started) < limit {
		g, err := d.current(ctx)
		if err != nil {
			return nil, err
		}
		busy, err := d.building(ctx)
		if err != nil {
			return nil, err
		}
		if g == nil || busy || g.Generation != last {
			since = time.Now()
			if g != nil {
				last = g.Generation
			}
		}
		if g != nil && g.LiveRows >= rows && g.Model != "" && time.Since(since) > quiet {
			return &settled{*g, since.Sub(started)}, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, fmt.Errorf("not settled within %v: generation %d", limit, last)
}

// building says whether the builder has a background job.
func (d *daemons) building(ctx context.Context) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.builderOps+"/metrics", nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return bytes.Contains(raw, []byte(`adastream_builder_jobs_running{kind="rewrite"} 1`)) ||
		bytes.Contains(raw, []byte(`adastream_builder_jobs_running{kind="compaction"} 1`)), err
}

// searched is what the default plan found.
type searched struct {
	n              int
	recall         float64
	codes, refined float64
	plan           struct {
		NProbe   int `json:"nprobe"`
		ScanDims int `json:"scan_dims"`
		Refine   int `json:"refine"`
	}
	took []time.Duration
}

// recall asks every query with the default plan and compares with the truth.
func (d *daemons) recall(ctx context.Context, data *table, queries []float32, truth [][]int) (*searched, error) {
	s := &searched{n: len(truth)}
	found, wanted := 0, 0
	for q := range truth {
		var a struct {
			Hits  []struct{ ID string }
			Usage struct {
				Plan         *json.RawMessage `json:"plan"`
				Codes        int              `json:"codes_scanned"`
				Refined      int              `json:"refined"`
				Microseconds int64            `json:"microseconds"`
			}
		}
		// One more than k: a query that is a row finds itself.
		if err := d.call(ctx, "/v1/search", map[string]any{"vector": queries[q*data.dim : (q+1)*data.dim], "k": k + 1}, &a); err != nil {
			return nil, err
		}
		if a.Usage.Plan != nil {
			if err := json.Unmarshal(*a.Usage.Plan, &s.plan); err != nil {
				return nil, err
			}
		}
		s.codes += float64(a.Usage.Codes) / float64(s.n)
		s.refined += float64(a.Usage.Refined) / float64(s.n)
		s.took = append(s.took, time.Duration(a.Usage.Microseconds)*time.Microsecond)
		want := map[string]bool{}
		for _, row := range truth[q] {
			want[data.ids[row]] = true
		}
		hits := 0
		for _, h := range a.Hits {
			if want[h.ID] {
				hits++
			}
		}
		found += hits
		wanted += len(truth[q])
	}
	slices.Sort(s.took)
	s.recall = float64(found) / float64(wanted)
	return s, nil
}

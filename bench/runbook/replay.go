package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/adastream/adastream/bench/fleet"
)

// task is a runbook with all that a replay needs.
type task struct {
	runbook *runbook
	vectors *vectors
	queries []float32
	ladder  []int
	truth   [][][]int32 // of each search
	bin     *fleet.Binaries
	dir     string // for what systems write
	data    string // file of the vectors
	asked   string // file of the queries
}

// replayed is what one replay of a runbook on a system gave.
type replayed struct {
	System   string            `json:"system"`
	Runbook  string            `json:"runbook"`
	Round    int               `json:"round"`
	About    about             `json:"about"`
	Setting  string            `json:"setting"`
	Updates  map[string]*spent `json:"updates"` // by operation
	Searches []searched        `json:"searches"`
	Empty    int64             `json:"empty_bytes"` // resident before the first row
	Resident int64             `json:"resident_bytes"`
	Peak     int64             `json:"peak_bytes"`
	CPU      float64           `json:"cpu_seconds"`    // of its processes, for everything
	Queued   float64           `json:"queued_seconds"` // its threads were ready to run, while others had the cores
	Total    float64           `json:"total_seconds"`  // updates, waits, and each search once
	Load     string            `json:"load"`           // averages of the machine at the end
}

// spent is what the updates of one kind took, with their share of the waits until they were searchable.
type spent struct {
	Rows    int     `json:"rows"`
	Seconds float64 `json:"seconds"`
	Waited  float64 `json:"waited_seconds"` // of these seconds
}

// searchable is rows a second until searches see them, taken until the system has them.
func (s *spent) searchable() float64 { return float64(s.Rows) / s.Seconds }
func (s *spent) taken() float64      { return float64(s.Rows) / (s.Seconds - s.Waited) }

type searched struct {
	Step   int     `json:"step"`
	Live   int     `json:"live_rows"`
	Wait   float64 `json:"wait_seconds"` // until all steps before it were searchable
	Recall float64 `json:"recall"`       // of the first pass
	QPS    float64 `json:"qps"`          // median of the passes
	How    string  `json:"how,omitempty"`
}

// replay carries out the steps of a task. A setting below 0 is chosen at the first search.
func (t *task) replay(ctx context.Context, s system, o *options, setting int) (*replayed, int, error) {
	r := &replayed{Runbook: t.runbook.Name, About: s.about(), Updates: map[string]*spent{}}
	u, err := s.usage()
	if err != nil {
		return nil, 0, err
	}
	r.Empty = u.resident
	live := newRows(t.vectors.n)
	var pending []*step // since the last search
	for i := range t.runbook.Steps {
		step := &t.runbook.Steps[i]
		if step.Operation != opSearch {
			took, err := s.update(ctx, step)
			if err != nil {
				return nil, 0, fmt.Errorf("step %d, %s: %w", i+1, step.Operation, err)
			}
			if err := live.apply(step); err != nil {
				return nil, 0, err
			}
			r.updated(step, took)
			pending = append(pending, step)
			continue
		}
		wait, err := s.settle(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("step %d, waiting: %w", i+1, err)
		}
		r.waited(pending, wait)
		pending = nil
		truth := t.truth[len(r.Searches)]
		if setting < 0 {
			if setting, err = tune(ctx, s, truth, o.Recall); err != nil {
				return nil, 0, fmt.Errorf("step %d, tuning: %w", i+1, err)
			}
		}
		p, err := t.search(ctx, s, setting, o.Passes, truth)
		if err != nil {
			return nil, 0, fmt.Errorf("step %d, search: %w", i+1, err)
		}
		p.Step, p.Live, p.Wait = i+1, live.count, wait.Seconds()
		r.Total += float64(len(truth)) / p.QPS
		r.Searches = append(r.Searches, *p)
	}
	wait, err := s.settle(ctx) // of what came after the last search
	if err != nil {
		return nil, 0, err
	}
	r.waited(pending, wait)
	if u, err = s.usage(); err != nil {
		return nil, 0, err
	}
	r.Resident, r.Peak, r.CPU, r.Queued = u.resident, u.peak, u.cpu.Seconds(), u.queued.Seconds()
	if setting >= 0 {
		r.Setting = r.About.Settings[setting]
	}
	r.Load = load()
	return r, setting, nil
}

func (r *replayed) updated(s *step, took time.Duration) {
	kind, ok := r.Updates[s.Operation]
	if !ok {
		kind = &spent{}
		r.Updates[s.Operation] = kind
	}
	kind.Rows += s.rows()
	kind.Seconds += took.Seconds()
	r.Total += took.Seconds()
}

// waited shares a wait among the updates that it was for, by their rows.
func (r *replayed) waited(updates []*step, wait time.Duration) {
	r.Total += wait.Seconds()
	rows := 0
	for _, s := range updates {
		rows += s.rows()
	}
	for _, s := range updates {
		share := wait.Seconds() * float64(s.rows()) / float64(rows)
		r.Updates[s.Operation].Seconds += share
		r.Updates[s.Operation].Waited += share
	}
}

// tune is the fastest setting that has the recall, or else the slowest. More is found by slower settings.
func tune(ctx context.Context, s system, truth [][]int32, wanted float64) (int, error) {
	var failed error
	settings := len(s.about().Settings)
	setting := sort.Search(settings-1, func(i int) bool {
		if failed != nil {
			return true
		}
		a, err := s.search(ctx, i)
		if err != nil {
			failed = err
			return true
		}
		return recall(truth, a.found) >= wanted
	})
	return setting, failed
}

// search asks all queries so many times.
func (t *task) search(ctx context.Context, s system, setting, passes int, truth [][]int32) (*searched, error) {
	p := &searched{}
	var rates []float64
	for pass := range passes {
		a, err := s.search(ctx, setting)
		if err != nil {
			return nil, err
		}
		if pass == 0 {
			p.Recall, p.How = recall(truth, a.found), a.how
		}
		rates = append(rates, float64(len(truth))/a.took.Seconds())
	}
	p.QPS = median(rates)
	return p, nil
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// load is the averages of the machine over 1, 5 and 15 minutes.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Join(strings.Fields(string(raw))[:3], " ")
}

package eval

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// defaultTiming is what Options.Timing = 0 stands for.
	defaultTiming = time.Millisecond
	// Many short rounds: of those in which another program held the core there are fewer than half.
	timingRounds = 25
)

// Result is what a system reaches, as means over all queries.
type Result struct {
	Name   string  `json:"name"`
	Family string  `json:"family"`
	System *System `json:"system,omitempty"` // nil for [Product]
	Plan   string  `json:"plan,omitempty"`   // of [Product]

	Quality
	MFLOPs  float64 `json:"mflops"`           // million multiply-adds of a query by the model of the papers, lists being balanced
	Counted float64 `json:"mflops_counted"`   // the same with the rows that the lists really held
	Bytes   float64 `json:"bytes_per_vector"` // all that a search may read, over the number of rows
	Micros  float64 `json:"microseconds"`     // of a query on one thread: median of rounds

	Queries []Grade `json:"-"`
}

// Quality is how good answers are. What needs labels is 0 without.
type Quality struct {
	Top1      float64 `json:"top1"`
	Top1Error float64 `json:"top1_error"` // standard error
	MAP       float64 `json:"map10"`
	Precision float64 `json:"precision10"`
	Recall    float64 `json:"recall10"` // of the 10 neighbours by exact search on the full width of the encoder
}

// Grade is what is right about the answer to one query.
type Grade struct {
	First     bool    // the first row is of the query's class
	Average   float32 // precision at each row of the class, summed, over the most such rows that 10 places can hold
	Precision float32 // share of rows of the class
	Recall    float32 // share of the true neighbours
}

// Run measures a system.
func (b *Bench) Run(ctx context.Context, s System) (*Result, error) {
	if err := s.Validate(b.data); err != nil {
		return nil, err
	}
	x, err := b.build(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("system %q: %w", s.Name(), err)
	}
	nprobe := 0
	if s.Coarse != nil {
		nprobe = s.Coarse.NProbe
	}
	answers, did, err := b.answers(ctx, s, x, nprobe)
	if err != nil {
		return nil, fmt.Errorf("system %q: %w", s.Name(), err)
	}
	r := &Result{
		Name: s.Name(), Family: s.Family, System: &s,
		MFLOPs:  s.Cost(b.data.Rows.N, did.completed, b.data.width) / 1e6,
		Counted: s.cost(did, b.data.width) / 1e6,
		Bytes:   float64(x.bytes()) / float64(b.data.Rows.N),
	}
	if r.Queries, err = b.grade(ctx, b.data.reference(s.Scan.Column), answers); err != nil {
		return nil, err
	}
	r.Quality = b.quality(r.Queries)
	timed := b.newSearcher(x, nprobe)
	r.Micros, err = b.time(ctx, func(q int) error {
		timed.search(q)
		return nil
	})
	return r, err
}

// answers returns the rows found for each query, [queries][k] with -1 where there are none, and what a query does.
// Scans of all floats are done for all queries at a time: they find the same rows.
func (b *Bench) answers(ctx context.Context, s System, x *index, nprobe int) (answers []int32, did work, err error) {
	nq := b.data.Queries.N
	answers = make([]int32, nq*k)
	var shortlists [][]scored
	if x.centroids == nil && x.quantizer == nil && x.tails == nil && x.depth() <= b.depth(s.Scan.View) {
		if shortlists, err = b.exact(ctx, s.Scan.View); err != nil {
			return nil, work{}, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	scanned, completed := 0, 0
	for w := range b.o.Threads {
		g.Go(func() error {
			one := b.newSearcher(x, nprobe)
			for q := w; q < nq && ctx.Err() == nil; q += b.o.Threads {
				var found []scored
				if shortlists == nil {
					found = one.search(q)
				} else {
					one.rows.items = append(one.rows.items[:0], shortlists[q][:min(x.depth(), len(shortlists[q]))]...)
					one.scanned += b.data.Rows.N
					found = one.rerank(q)
				}
				for i := range k {
					answers[q*k+i] = -1
					if i < len(found) {
						answers[q*k+i] = found[i].item
					}
				}
			}
			mu.Lock()
			scanned += one.scanned
			completed += one.completed
			mu.Unlock()
			return ctx.Err()
		})
	}
	err = g.Wait()
	return answers, work{float64(scanned) / float64(nq), float64(completed) / float64(nq)}, err
}

// grade judges answers, [queries][k], by labels and by the neighbours on the full width of a column.
func (b *Bench) grade(ctx context.Context, column string, answers []int32) ([]Grade, error) {
	truth, err := b.exact(ctx, View{Column: column, Dims: b.data.width(column)})
	if err != nil {
		return nil, err
	}
	grades := make([]Grade, b.data.Queries.N)
	for q := range grades {
		found := answers[q*k:][:k]
		grades[q] = Grade{Recall: share(found, truth[q])}
		if b.data.Rows.Labels != nil {
			label := b.data.Queries.Labels[q]
			grades[q].judge(found, b.data.Rows.Labels, label, b.class[label])
		}
	}
	return grades, nil
}

// judge sets what labels decide; of is how many rows the class has.
func (g *Grade) judge(found, labels []int32, label int32, of int) {
	hits, sum := 0, float32(0)
	for i, row := range found {
		if row >= 0 && labels[row] == label {
			hits++
			sum += float32(hits) / float32(i+1)
			g.First = g.First || i == 0
		}
	}
	g.Average = sum / float32(max(1, min(k, of)))
	g.Precision = float32(hits) / k
}

// share is how many of the true neighbours were found.
func share(found []int32, truth []scored) float32 {
	truth = truth[:min(k, len(truth))]
	hits := 0
	for _, t := range truth {
		if slices.Contains(found, t.item) {
			hits++
		}
	}
	return float32(hits) / float32(max(1, len(truth)))
}

// quality is the mean of grades.
func (b *Bench) quality(grades []Grade) (q Quality) {
	n := float64(len(grades))
	for _, g := range grades {
		if g.First {
			q.Top1 += 1 / n
		}
		q.MAP += float64(g.Average) / n
		q.Precision += float64(g.Precision) / n
		q.Recall += float64(g.Recall) / n
	}
	q.Top1Error = math.Sqrt(max(0, q.Top1*(1-q.Top1)) / n)
	return q
}

// time returns the microseconds of a query on this goroutine: the median over rounds, each of other queries and as long as
// the options say.
func (b *Bench) time(ctx context.Context, search func(q int) error) (float64, error) {
	nq := b.data.Queries.N
	var rounds []float64
	q := 0
	for round := range timingRounds + 1 {
		started, n := time.Now(), 0
		for ; n == 0 || time.Since(started) < b.o.Timing; n++ {
			if err := search(q); err != nil {
				return 0, err
			}
			q = (q + 1) % nq
		}
		if round > 0 { // the first warms up
			rounds = append(rounds, float64(time.Since(started).Nanoseconds())/1000/float64(n))
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	slices.Sort(rounds)
	return rounds[len(rounds)/2], nil
}

package eval

import (
	"context"
	"fmt"
	"strconv"

	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// Product is an index of this product and what is asked of it. Its own code does all the work: package bulk builds it,
// package recall measures its plans on held-out rows as the builder does, and package search answers.
type Product struct {
	Family      string
	Vector      string // column; the ladder is the data's
	ListsPerRow int    // 1 or 2
	CoarseDims  int    // level that lists are chosen by; 0 is measured
	// Targets are values of recall@10: the measured plan that the builder would choose for each is run.
	Targets []float64
}

// Products returns the indexes to measure on data: with each row in one list and in two, and with lists on each width.
func Products(d *Data) []Product {
	targets := []float64{0.7, 0.8, 0.9, 0.95, 0.98}
	products := []Product{
		{Family: ProductOne, Vector: d.Vector, ListsPerRow: 1, Targets: targets},
		{Family: ProductTwo, Vector: d.Vector, ListsPerRow: 2, Targets: targets},
	}
	for _, w := range d.Ladder {
		products = append(products, Product{Family: ProductDC, Vector: d.Vector, ListsPerRow: 2, CoarseDims: w, Targets: []float64{0.95}})
	}
	return products
}

// What package coarse does for a query.
const funnelDims, funnelFactor, funnelMore = 128, 2, 128

// RunProduct measures an index at each target.
func (b *Bench) RunProduct(ctx context.Context, p Product) ([]*Result, error) {
	rows, err := b.matrix(ctx, View{Column: p.Vector, Dims: b.data.width(p.Vector)})
	if err != nil {
		return nil, err
	}
	spec := schemas.Spec{Name: "eval", Ladder: b.data.Ladder, Encoder: "eval", Vectors: schemas.Float32, ListsPerRow: p.ListsPerRow,
		Topic: schemas.Topic{Name: "eval", Partitions: 1}}.WithDefaults()
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Family, err)
	}
	snap, _, bytes, err := bulk.Open(ctx, &spec, rows, b.data.Rows.N, bulk.Options{
		Level: b.o.Level, Threads: b.o.Threads, CoarseDims: p.CoarseDims,
		HeldOut: func(row int) bool { return recall.HeldOut(strconv.Itoa(row)) },
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Family, err)
	}
	defer snap.Close()
	sample, err := recall.Draw(ctx, b.o.Level, b.o.Threads, snap, recall.Queries(b.data.Rows.N, spec.Dim()), k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Family, err)
	}
	plans, err := recall.Table(ctx, b.o.Level, b.o.Threads, snap, sample, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Family, err)
	}
	var results []*Result
	seen := map[search.Plan]bool{}
	for _, target := range p.Targets {
		plan, _, _ := recall.Choose(plans, target)
		if seen[plan] {
			continue
		}
		seen[plan] = true
		r, err := b.runPlan(ctx, snap, p.Vector, plan)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Family, err)
		}
		m := snap.Model()
		r.Family, r.Bytes = p.Family, float64(bytes)/float64(b.data.Rows.N)
		r.Plan = fmt.Sprintf("d_c %d, lists %d, probe %d, scan %d dims in %d bytes, refine %d", m.CoarseDims(), m.NList(), plan.NProbe,
			plan.ScanDims, (m.Subs(plan.ScanDims)+1)/2, plan.Refine)
		r.Name = fmt.Sprintf("%s %s, for recall %g", p.Family, r.Plan, target)
		results = append(results, r)
	}
	return results, nil
}

// runPlan measures a plan on all queries, on one thread.
func (b *Bench) runPlan(ctx context.Context, snap *snapshot.Snapshot, column string, plan search.Plan) (*Result, error) {
	queries, nq := b.data.Queries.Columns[column], b.data.Queries.N
	s := search.New(b.o.Level)
	answers := make([]int32, nq*k)
	var hits []search.Hit
	var total search.Usage
	for q := range nq {
		var u search.Usage
		var err error
		if hits, u, err = s.Search(ctx, snap, queries.Row(q), k, plan, hits[:0]); err != nil {
			return nil, err
		}
		total.Codes += u.Codes
		total.Refined += u.Refined
		for i := range k {
			row := -1
			if i < len(hits) {
				if row, err = strconv.Atoi(snap.Parts()[hits[i].Part].IDAt(hits[i].Row)); err != nil {
					return nil, err
				}
			}
			answers[q*k+i] = int32(row)
		}
	}
	r := &Result{}
	var err error
	if r.Queries, err = b.grade(ctx, column, answers); err != nil {
		return nil, err
	}
	r.Quality = b.quality(r.Queries)
	r.Counted = planCost(snap.Model(), plan, float64(total.Codes)/float64(nq), float64(total.Refined)/float64(nq)) / 1e6
	r.MFLOPs = r.Counted // lists are not balanced, and nobody supposes it
	r.Micros, err = b.time(ctx, func(q int) error {
		var err error
		hits, _, err = s.Search(ctx, snap, queries.Row(q), k, plan, hits[:0])
		return err
	})
	return r, err
}

// planCost is the multiply-adds of a query, of int8 values where the papers have floats: the funnel of package coarse, the
// rotation and table of the query, look-ups, and rows refined.
func planCost(m *model.Model, plan search.Plan, codes, refined float64) float64 {
	nlist, shortlist := float64(m.NList()), float64(funnelFactor*plan.NProbe+funnelMore)
	short := float64(min(funnelDims, m.CoarseDims()))
	if 2*shortlist > nlist {
		short, shortlist = 0, nlist // all are looked at in full
	}
	sum := nlist*short + shortlist*float64(m.CoarseDims())
	if m.CoarseDims() < m.Dim() {
		sum += float64(plan.NProbe * m.Dim())
	}
	ladder := m.Ladder()
	for i, w := range ladder {
		if w <= plan.ScanDims {
			sum += float64((w - ladder.Start(i)) * (w - ladder.Start(i)))
		}
	}
	return sum + float64(opq.Codewords*plan.ScanDims) + codes*float64(m.Subs(plan.ScanDims)) + refined*float64(m.Dim())
}

package build

import (
	"context"
	"fmt"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

const (
	gateK       = 10
	gateQueries = 256
	gateMargin  = 0.02 // by how much the best plan may be worse than the parent's
)

// measure compares the job's outputs with exact search, on held-out rows as queries that are not allowed to find
// themselves, and writes the plan table and the verdict.
func (b *Builder) measure(ctx context.Context, j *job) error {
	spec := b.o.Log.Spec()
	snap, err := openOutputs(spec, j)
	if err != nil {
		return err
	}
	defer snap.Close()
	s, err := recall.Draw(ctx, b.o.Level, b.o.Threads, snap, gateQueries, gateK)
	if err != nil {
		return err
	}
	if s.N == 0 || snap.Live() < 2 {
		return nil // too few rows to say anything, or a row without neighbours; the gate stays open
	}
	if j.plans, err = recall.Table(ctx, b.o.Level, snap, s, gateK); err != nil {
		return err
	}
	j.quality = verdict(j.plans, j.parent, spec.Defaults.TargetRecall, s.N)
	if !j.quality.Promoted {
		b.o.Logger.Error("quality gate holds the generation back", "reason", j.quality.Reason, "queries", s.N)
	}
	return nil
}

// verdict judges measured plans. A generation is held back when even the upper end of the confidence interval of its
// default plan is below the objective, or when its best plan is worse than the parent's by more than gateMargin.
func verdict(plans, parent []schemas.PlanPoint, objective float64, queries int) *schemas.Quality {
	_, chosen, _ := recall.Choose(plans, objective)
	q := &schemas.Quality{
		Recall: chosen.Recall, Low: chosen.Low, High: chosen.High,
		Queries: queries, Objective: objective, Promoted: true,
	}
	best, before := bestOf(plans), bestOf(parent)
	switch {
	case q.High < objective:
		q.Reason = fmt.Sprintf("recall@%d %.3f (at most %.3f) is below the objective %.3f", gateK, q.Recall, q.High, objective)
	case best.Recall < before.Low-gateMargin:
		q.Reason = fmt.Sprintf("best recall@%d %.3f is worse than the parent's %.3f by more than %.2f", gateK, best.Recall, before.Recall, gateMargin)
	}
	q.Promoted = q.Reason == ""
	return q
}

// bestOf is the plan of the highest recall; the zero value of no plans.
func bestOf(plans []schemas.PlanPoint) (best schemas.PlanPoint) {
	for _, p := range plans {
		if p.Recall > best.Recall {
			best = p
		}
	}
	return best
}

// openOutputs makes a snapshot of the job's outputs alone. It borrows the parts: the job keeps them mapped.
func openOutputs(spec *schemas.Spec, j *job) (*snapshot.Snapshot, error) {
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1}
	parts := make([]*segment.Part, len(j.outputs))
	for i, p := range j.outputs {
		m.Chunks = append(m.Chunks, *p.chunk)
		m.LiveRows += int64(p.N)
		parts[i] = p.Part.Part
	}
	m.Model = &schemas.ModelRef{ID: j.mdl.ID(), NList: j.mdl.NList()}
	return snapshot.Open(spec, m, j.mdl, parts, nil, func() {})
}

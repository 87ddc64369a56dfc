package build

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

const (
	gateK      = 10
	gateMargin = 0.02 // by how much the best plan may be worse than the parent's
	gateCodes  = 1024 // codes that are made anew, of those that are compared with the model

	// A slice is held to be lost only when it is this far below the objective: parts of an index differ, and a
	// gate that fires on the nature of the data holds fresh data back for nothing.
	sliceMargin = 0.1
	sliceError  = 0.01 // chance that it fires on any of the slices though all are good enough
)

// measure compares the job's outputs with exact search, on rows as queries that are not allowed to find themselves, and
// writes the plan table and the verdict.
func (b *Builder) measure(ctx context.Context, j *job) error {
	started := time.Now()
	spec := b.o.Log.Spec()
	snap, err := openOutputs(spec, j)
	if err != nil {
		return err
	}
	defer snap.Close()
	held, recent, err := b.queries(ctx, snap)
	if err != nil {
		return err
	}
	if held.N == 0 || snap.Live() < 2 {
		return nil // too few rows to say anything, or a row without neighbours; the gate stays open
	}
	if j.plans, err = recall.Table(ctx, b.o.Level, b.o.Threads, snap, held, gateK); err != nil {
		return err
	}
	m := evidence{plans: j.plans, parent: j.parent, objective: spec.Defaults.TargetRecall, queries: held.N, prefixes: b.unordered(j.prefixes)}
	if err := b.measureDefault(ctx, snap, held, recent, &m); err != nil {
		return err
	}
	audit, err := segment.AuditCodes(ctx, spec, j.mdl, b.o.Level, b.o.Threads, snap.Parts(), gateCodes)
	if err != nil {
		return err
	}
	m.damage = audit.Err()
	j.misplaced = audit.Missing > 0 || audit.Strange > 0
	j.quality = verdict(m)
	b.o.Logger.Info("measured", "recall", j.quality.Recall, "queries", held.N, "recent", recent.N, "slices", len(m.slices), "took", time.Since(started).Round(time.Millisecond))
	if !j.quality.Promoted {
		b.o.Logger.Error("quality gate holds the generation back", "reason", j.quality.Reason, "queries", held.N)
	}
	return nil
}

// measureDefault runs the default plan on the queries of the last hour, and on each of the slices.
func (b *Builder) measureDefault(ctx context.Context, snap *snapshot.Snapshot, held, recent recall.Sample, m *evidence) error {
	plan, _, _ := recall.Choose(m.plans, m.objective)
	found, err := recall.Each(ctx, b.o.Level, b.o.Threads, snap, held, gateK, plan)
	if err != nil {
		return err
	}
	m.slices = slicesOf(snap, held, found)
	if recent.N == 0 {
		return nil
	}
	if found, err = recall.Each(ctx, b.o.Level, b.o.Threads, snap, recent, gateK, plan); err != nil {
		return err
	}
	var t recall.Tally
	for _, f := range found {
		t.Add(f)
	}
	e := estimate(&t)
	m.recent = &e
	return nil
}

func estimate(t *recall.Tally) schemas.Estimate {
	low, high := t.Interval(recall.Z95)
	return schemas.Estimate{Recall: t.Mean(), Low: low, High: high, Queries: int(t.Effective())}
}

// evidence is what a verdict rests on.
type evidence struct {
	plans, parent []schemas.PlanPoint // of the held-out rows
	objective     float64
	queries       int
	recent        *schemas.Estimate // of the last hour, by the default plan; nil for too few
	slices        []slice           // of the held-out rows, by the default plan, worst first
	damage        error             // of the codes
	prefixes      error             // why they mean nothing
}

// verdict judges what was measured. A generation is held back when its codes are damaged; when its prefixes mean nothing;
// when even the upper end of an interval of its default plan is below the objective, over all held-out rows or over those of
// the last hour; when its best plan is worse than the parent's by more than gateMargin; or when a slice is lost.
func verdict(m evidence) *schemas.Quality {
	_, chosen, _ := recall.Choose(m.plans, m.objective)
	q := &schemas.Quality{
		Recall: chosen.Recall, Low: chosen.Low, High: chosen.High, Queries: m.queries,
		Recent: m.recent, Objective: m.objective,
	}
	var reasons []string
	refuse := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	if m.damage != nil {
		refuse("codes are damaged: %v", m.damage)
	}
	if m.prefixes != nil {
		refuse("%v", m.prefixes)
	}
	if q.High < m.objective {
		refuse("recall@%d %.3f (at most %.3f) is below the objective %.3f", gateK, q.Recall, q.High, m.objective)
	}
	if r := m.recent; r != nil && r.High < m.objective {
		refuse("recall@%d %.3f (at most %.3f) of the last hour's rows is below the objective %.3f", gateK, r.Recall, r.High, m.objective)
	}
	if best, before := bestOf(m.plans), bestOf(m.parent); best.Recall < before.Low-gateMargin {
		refuse("best recall@%d %.3f is worse than the parent's %.3f by more than %.2f", gateK, best.Recall, before.Recall, gateMargin)
	}
	for i, s := range m.slices {
		if _, high := s.tally.Interval(recall.Quantile(sliceError / float64(len(m.slices)))); high < m.objective-sliceMargin {
			refuse("recall@%d %.3f (at most %.3f) around %q is below the objective %.3f by more than %.1f", gateK, s.tally.Mean(), high, s.around, m.objective, sliceMargin)
		}
		if i < shownSlices {
			q.Slices = append(q.Slices, schemas.Slice{Estimate: estimate(&s.tally), Lists: s.lists, Around: s.around})
		}
	}
	q.Reason = strings.Join(reasons, "; ")
	q.Promoted = len(reasons) == 0
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

package build

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// runRewrite merges its inputs into chunks, under a new model if that is what j.repair says or the drift asks for, and
// measures the result.
func (b *Builder) runRewrite(ctx context.Context, j *job) error {
	if j.liveRows() == 0 {
		return nil
	}
	if j.repair == "" {
		j.repair = model.Nothing
		if j.drift = b.findDrift(j); j.drift != nil {
			b.o.Logger.Info("looked at drift", "repair", j.drift.Repair, "reason", j.drift.Reason, "rows", j.drift.Rows, "strange", j.drift.Strange)
			if model.Repair(j.drift.Repair) == model.Lists { // codes come after: then rows need not move
				j.repair = model.Lists
			}
		}
	}
	if j.repair != model.Nothing {
		if err := b.train(ctx, j); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	inputs := make([]segment.Input, len(j.inputs))
	for i, in := range j.inputs {
		inputs[i] = segment.Input{Part: in.part.Part.Part, Skip: in.skip}
	}
	var memory rowMemory
	defer memory.release()
	o := segment.MergeOptions{ChunkBytes: b.o.ChunkBytes, Memory: memory.of(b.o.Cache), Threads: b.o.Threads}
	err := segment.Merge(ctx, b.o.Log.Spec(), j.mdl, b.o.Level, inputs, o, func(bodies segment.ChunkBodies) error {
		c, err := b.o.Log.PutChunk(ctx, bodies)
		if err != nil {
			return err
		}
		for _, put := range []struct {
			o    schemas.Object
			body []byte
		}{{c.Rows, bodies.Rows}, {c.Codes, bodies.Codes}, {c.Vectors, bodies.Vectors}} {
			if err := b.putCached(ctx, put.o, put.body); err != nil {
				return err
			}
		}
		part, err := b.openChunk(ctx, c)
		if err != nil {
			return err
		}
		j.outputs = append(j.outputs, part)
		return nil
	})
	if err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	if j.ref != nil {
		j.ref.Balance = statsOf(listLengths(j.outputs, j.ref)).Balance
	}
	if err := b.measure(ctx, j); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}

// rowMemory is scratch memory for what a merge keeps of rows: a rewrite takes no heap that grows with them.
type rowMemory []*store.Scratch

func (m *rowMemory) of(c *store.Cache) func(bytes int64) ([]byte, error) {
	return func(bytes int64) ([]byte, error) {
		s, err := c.Scratch(bytes)
		if err != nil {
			return nil, err
		}
		*m = append(*m, s)
		return s.Bytes(), nil
	}
}

func (m *rowMemory) release() {
	for _, s := range *m {
		s.Release()
	}
}

// train makes a new model from a sample of the live rows. Held-out rows are left out: they are what recall is measured on. If
// a job that never landed, since its builder was killed, made such a model of about as many rows, it takes that one.
func (b *Builder) train(ctx context.Context, j *job) error {
	spec := b.o.Log.Spec()
	total := j.liveRows()
	from := ""
	if j.mdl != nil {
		from = j.mdl.ID()
	}
	if t := j.trained; t != nil && t.From == from && t.Model.Repair == string(j.repair) && 4*max(t.Rows, int64(total)) <= 5*min(t.Rows, int64(total)) {
		mdl, err := replica.Model(ctx, b.o.Cache, t.Model)
		if err != nil {
			return err
		}
		ref := t.Model
		j.mdl, j.ref, j.prefixes = mdl, &ref, ref.Prefixes
		b.o.Logger.Info("takes the model that a job before had trained", "model", ref.ID, "rows", t.Rows)
		return nil
	}
	sample, n := b.sample(j, model.SampleRows(int64(total), spec.Dim(), j.repair))
	sample, unseen := apart(sample, spec.Dim())
	n -= len(unseen) / spec.Dim()
	mdl, err := model.Train(ctx, spec, sample, n, int64(total), model.Options{
		Repair: j.repair, From: j.mdl,
		Level: b.o.Level, Threads: b.o.Threads, Seed: 1,
		Progress: func(stage string, done, of int) {
			b.o.Logger.Debug("training", "stage", stage, "done", done, "of", of)
		},
	})
	if err != nil {
		return err
	}
	if j.prefixes, err = mdl.Prefixes(ctx, b.o.Level, b.o.Threads, sample, n); err != nil {
		return err
	}
	o, err := b.o.Log.PutModel(ctx, mdl)
	if err != nil {
		return err
	}
	b.metrics.put(o)
	j.mdl = mdl
	j.ref = &schemas.ModelRef{ID: mdl.ID(), Object: o, TrainedRows: mdl.TrainedRows(), NList: mdl.NList(), Repair: string(j.repair), Balance: j.balance, Prefixes: j.prefixes}
	j.ref.Fit = b.baseline(j, unseen)
	b.made.Store(&schemas.Trained{Model: *j.ref, From: from, Rows: int64(total)})
	return nil
}

// keepTrained has a model that a running job has made published, so that it need not be made again if this process is killed.
func (b *Builder) keepTrained() {
	if t := b.made.Swap(nil); t != nil {
		b.trained, b.changed = t, true
	}
}

// baseline is what later rows are compared with: how well the job's model fits rows that it has not seen, or the rows that
// called for it if it fits these worse. They are what is to come, and another repair would not do more for them.
func (b *Builder) baseline(j *job, unseen []float32) *schemas.Fit {
	fit := fitOf(b.o.Level, j.mdl, unseen)
	if last := len(fit.Coarse) - 1; len(j.fresh) > 0 {
		if fresh := fitOf(b.o.Level, j.mdl, j.fresh); fresh.Coarse[last] > fit.Coarse[last] {
			return &fresh
		}
	}
	return &fit
}

// apart takes up to an eighth of a sample out of it, evenly spaced: rows that a model will not have seen.
func apart(sample []float32, dim int) (rest, unseen []float32) {
	n := len(sample) / dim
	every := max(8, n/freshMost)
	rest = sample[:0]
	for i := range n {
		row := sample[i*dim:][:dim]
		if i%every == every-1 {
			unseen = append(unseen, row...)
		} else {
			rest = append(rest, row...)
		}
	}
	return rest, unseen
}

// sample draws up to most searched vectors evenly from the job's live rows that are not held out, by reservoir sampling
// with a fixed seed: the same inputs give the same model.
func (b *Builder) sample(j *job, most int) ([]float32, int) {
	type row struct {
		part *heldPart
		i    int
	}
	rng := rand.New(rand.NewPCG(1, 2))
	rows := make([]row, 0, most)
	seen := 0
	for _, in := range j.inputs {
		for i := range in.part.N {
			if in.skip.ContainsInt(i) || recall.HeldOut(in.part.IDAt(i)) {
				continue
			}
			seen++
			if len(rows) < most {
				rows = append(rows, row{in.part, i})
			} else if k := rng.IntN(seen); k < most {
				rows[k] = row{in.part, i}
			}
		}
	}
	spec := b.o.Log.Spec()
	sample := make([]float32, 0, len(rows)*spec.Dim())
	for _, r := range rows {
		sample = appendSearched(b.o.Level, spec, sample, r.part, r.i)
	}
	return sample, len(rows)
}

// runCompaction joins its inputs into one segment of the current model.
func (b *Builder) runCompaction(ctx context.Context, j *job) error {
	spec := b.o.Log.Spec()
	rows := segment.NewRows(spec)
	for _, in := range j.inputs {
		for i := range in.part.N {
			if in.skip.ContainsInt(i) {
				continue
			}
			if err := rows.AppendFrom(b.o.Level, in.part.Part.Part, i); err != nil {
				return err
			}
		}
	}
	if rows.Len() == 0 {
		return nil
	}
	body, err := segment.Write(spec, j.mdl, b.o.Level, rows)
	if err != nil {
		return err
	}
	s, err := b.o.Log.PutCompacted(ctx, body)
	if err != nil {
		return err
	}
	if err := b.putCached(ctx, s, body); err != nil {
		return err
	}
	ref := schemas.Segment{ID: s.SHA256, Object: s, NumRows: rows.Len()}
	if j.mdl != nil {
		ref.Model = j.mdl.ID()
	}
	part, err := b.openSegment(ctx, ref)
	if err != nil {
		return err
	}
	j.outputs = append(j.outputs, part)
	return nil
}

package build

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/adastream/adastream/index/model"
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
	if err := b.merge(ctx, j); err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	if j.ref != nil {
		j.ref.Balance = statsOf(listLengths(j.outputs, j.mdl)).Balance
	}
	if err := b.measure(ctx, j); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}

// merge makes chunks of a job's inputs by its model. Each thread makes one, stores it and opens it, then the next.
func (b *Builder) merge(ctx context.Context, j *job) error {
	inputs := make([]segment.Input, len(j.inputs))
	for i, in := range j.inputs {
		inputs[i] = segment.Input{Part: in.part.Part.Part, Skip: in.skip}
	}
	var memory scratch
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
			defer b.o.Cache.Hold(put.o.SHA256)()
			if err := b.putCached(ctx, put.o, put.body); err != nil {
				return err
			}
		}
		return b.addChunk(ctx, j, c)
	})
	j.sortOutputs()
	return err
}

// addChunk opens a chunk that a job has made, beside others that it makes at the same time.
func (b *Builder) addChunk(ctx context.Context, j *job, c schemas.Chunk) error {
	part, err := b.openChunk(ctx, c)
	if err != nil {
		return err
	}
	j.making.Lock()
	defer j.making.Unlock()
	j.outputs = append(j.outputs, part)
	return nil
}

// scratch is memory for what a rewrite keeps of rows and learns from: it takes no heap that grows with them.
type scratch []*store.Scratch

func (m *scratch) of(c *store.Cache) func(bytes int64) ([]byte, error) {
	return func(bytes int64) ([]byte, error) {
		s, err := c.Scratch(bytes)
		if err != nil {
			return nil, err
		}
		*m = append(*m, s)
		return s.Bytes(), nil
	}
}

func (m *scratch) floats(c *store.Cache) func(values int) ([]float32, error) {
	return func(values int) ([]float32, error) {
		bytes, err := m.of(c)(4 * int64(values))
		if err != nil {
			return nil, err
		}
		return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(bytes))), values), nil
	}
}

func (m *scratch) release() {
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
	var memory scratch
	defer memory.release()
	sample, unseen, err := b.sample(j, model.SampleRows(int64(total), spec.Dim(), j.repair), &memory)
	if err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	n := len(sample) / spec.Dim()
	mdl, err := model.Train(ctx, spec, sample, n, int64(total), model.Options{
		Repair: j.repair, From: j.mdl, Memory: memory.floats(b.o.Cache),
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

// runCompaction joins its inputs into one segment of the current model.
func (b *Builder) runCompaction(ctx context.Context, j *job) error {
	spec := b.o.Log.Spec()
	rows := segment.NewRows(spec)
	for _, in := range j.inputs {
		for i := range in.part.N {
			if in.skip.ContainsInt(i) {
				continue
			}
			if err := rows.AppendFrom(in.part.Part.Part, i); err != nil {
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
	defer b.o.Cache.Hold(s.SHA256)()
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

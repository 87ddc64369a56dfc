package build

import (
	"fmt"
	"math"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

const (
	freshMost = 2048 // rows that came after the model, of which a rewrite looks at so many
	freshFew  = 256  // of fewer nothing is said
	stale     = 1.07 // errors that have grown by this factor, beyond noise, are worth a repair
	rowNoise  = 0.6  // 1.5 standard deviations of a row's error, over their mean: a sum over n rows is that much off, over sqrt(n)
	uneven    = 1.5  // and scans that have become dearer by this factor because lists are uneven,
	unevenFew = 1.2  // or by this one, if the longest list
	longList  = 3    // is so many times the mean

	growth    = 4     // with so many times the rows, or as few, there should be twice as many lists, or half
	smallFull = 65536 // a model of fewer rows is not worth keeping lists of: the width that they are chosen by may be another

	strangeFrom  = 0.5 // see docs/drift.md: other topics of the same encoder are at 0.2 to 0.35, another encoder at 0.6 and more
	newestRows   = 256 // newest rows that are remembered, about
	newestSample = 64  // rows of a segment that are looked at
)

// newest is how strange the newest rows are, on average. Old ones fade.
type newest struct{ rows, strange float64 }

func (n *newest) add(rows int, strange float64) {
	if rows == newestSample && strange >= strangeFrom {
		*n = newest{} // a whole segment of them: what came before is no comfort
	}
	n.rows, n.strange = n.rows+float64(rows), n.strange+float64(rows)*strange
	if n.rows > newestRows {
		n.rows, n.strange = n.rows/2, n.strange/2
	}
}

func (n *newest) mean() float64 { return n.strange / max(n.rows, 1) }

// unlike reports whether the newest rows are unlike anything that the model was made for.
func (b *Builder) unlike() bool {
	return b.newest.rows >= newestSample && b.newest.mean() >= strangeFrom
}

// strange reports whether they are, and no operator has promoted a generation with them. Then they are another encoder's,
// whatever their messages say: no generation with them is served, and no model learns from them.
func (b *Builder) strange() bool {
	return b.unlike() && !(b.strangeSince > 0 && b.channel != nil && b.channel.Generation >= b.strangeSince)
}

// noteStrange remembers the generation, the one to be published now, with which the rows began to be strange.
func (b *Builder) noteStrange(generation int64) {
	switch {
	case !b.unlike():
		if b.strangeSince > 0 {
			b.o.Logger.Info("the newest rows are like those of the model again", "generation", generation)
		}
		b.strangeSince = 0
	case b.strangeSince == 0:
		b.strangeSince = generation
		b.tellStrange(generation, b.strangeReason())
	}
}

// tellStrange tells of a generation that is held back for its newest rows, of which no measurement tells.
func (b *Builder) tellStrange(generation int64, reason string) {
	b.o.Logger.Error("quality gate holds the generation back", "generation", generation, "reason", reason)
}

func (b *Builder) strangeReason() string {
	return fmt.Sprintf("the newest rows are unlike any that the model was made for, strangeness %.2f of at most %.2f: vectors of another encoder? If they are right, promote this generation by hand", b.newest.mean(), strangeFrom)
}

// lookAt sees how strange rows of a fresh segment are.
func (b *Builder) lookAt(p *heldPart) {
	if b.model == nil || b.modelRef.Fit == nil || p.Model != b.modelRef.ID {
		return
	}
	n := min(p.N, newestSample)
	rows, lists := make([]float32, 0, n*b.model.Dim()), make([]int32, n)
	for i := range n {
		row := i * p.N / n
		rows, lists[i] = appendSearched(b.o.Level, b.o.Log.Spec(), rows, p, row), p.ListAt(row)
	}
	b.newest.add(n, b.modelRef.Fit.Strange(b.model.FirstLevel(b.o.Level, rotated(b.o.Level, b.model, rows), lists)))
}

// rotated returns searched vectors as a model wants them.
func rotated(level avx.Level, mdl *model.Model, vectors []float32) []float32 {
	to := make([]float32, len(vectors))
	mdl.Rotate(level, to, vectors)
	return to
}

// fitOf measures how well a model describes searched vectors.
func fitOf(level avx.Level, mdl *model.Model, vectors []float32) schemas.Fit {
	return mdl.Fit(level, rotated(level, mdl, vectors), len(vectors)/mdl.Dim(), model.NewScratch())
}

// appendSearched appends the searched vector of a row.
func appendSearched(level avx.Level, spec *schemas.Spec, to []float32, p *heldPart, row int) []float32 {
	at, dim := len(to), spec.Dim()
	to = append(to, make([]float32, dim)...)
	p.Vector(level, row, to[at:])
	if spec.Metric == schemas.Cosine {
		mrl.Normalize(level, to[at:], to[at:]) // rows without a direction are never stored
	}
	return to
}

// findDrift compares rows that came after the model with those that it was made for, and chooses the cheapest repair of what
// is worse. It returns nil when there is nothing to compare with.
func (b *Builder) findDrift(j *job) *schemas.Drift {
	if j.fit == nil || j.mdl == nil {
		return nil
	}
	j.fresh = b.fresh(j)
	fit := fitOf(b.o.Level, j.mdl, j.fresh)
	d := &schemas.Drift{Measured: j.generation, Fit: fit, Strange: j.fit.Strange(fit.Coarse[0])}
	repair, reason := decide(j.fit, d, statsOf(listLengths(j.parts(), j.mdl)), j.balance, j.accepted)
	d.Repair, d.Reason = string(repair), reason
	return d
}

// decide chooses a repair. Lists are those of now, and wasBalance is their balance when the model was made, 0 if that is not known.
// Strange rows are another encoder's unless an operator has accepted them. Equal rows that make a list long do so when the model
// is made too: they do not call for a repair again and again.
func decide(was *schemas.Fit, d *schemas.Drift, lists *schemas.ListStats, wasBalance float64, accepted bool) (model.Repair, string) {
	last := len(was.Coarse) - 1
	if d.Rows < freshFew {
		return model.Nothing, fmt.Sprintf("%d rows came after the model, too few to compare", d.Rows)
	}
	coarse := d.Coarse[last] / was.Coarse[last]
	most := stale + rowNoise/math.Sqrt(float64(max(was.Rows, 1))) + rowNoise/math.Sqrt(float64(d.Rows))
	codes := d.Codes[last] / was.Codes[last] / coarse // of what centroids leave
	longest, allowed := float64(lists.Longest)/lists.Mean, uneven
	if longest > longList {
		allowed = unevenFew
	}
	switch {
	case d.Strange >= strangeFrom && !accepted:
		return model.Nothing, fmt.Sprintf("new rows are unlike any of the model, strangeness %.2f: another encoder's?", d.Strange)
	case coarse > most:
		return model.Lists, fmt.Sprintf("centroids leave %.2f of new rows, %.2f of those of the model", d.Coarse[last], was.Coarse[last])
	case wasBalance > 0 && lists.Balance > allowed*wasBalance:
		return model.Lists, fmt.Sprintf("lists are uneven: scans are %.2f times as dear as with even ones, %.2f when the model was made; the longest is %.1f times the mean",
			lists.Balance, wasBalance, longest)
	case codes > most:
		return model.Codes, fmt.Sprintf("codes leave %.3f of new rows, %.3f of those of the model", d.Codes[last], was.Codes[last])
	}
	return model.Nothing, fmt.Sprintf("new rows fit: centroids leave %.2f (%.2f), codes %.3f (%.3f)", d.Coarse[last], was.Coarse[last], d.Codes[last], was.Codes[last])
}

// fresh returns searched vectors of live rows of segments, evenly spaced.
func (b *Builder) fresh(j *job) (rows []float32) {
	total := 0
	for _, in := range j.inputs {
		if in.part.segment != nil {
			total += in.part.N
		}
	}
	step := max(1, total/freshMost)
	at := 0 // of all rows of segments
	for _, in := range j.inputs {
		if in.part.segment == nil {
			continue
		}
		for row := range in.part.N {
			if at++; at%step == 0 && !in.skip.ContainsInt(row) {
				rows = appendSearched(b.o.Level, b.o.Log.Spec(), rows, in.part, row)
			}
		}
	}
	return rows
}

// outgrown returns what to make anew because there are far more rows than the model was made for, or far fewer.
func (b *Builder) outgrown(live int) model.Repair {
	trained := b.modelRef.TrainedRows
	if int64(live) < growth*trained && (growth*int64(live) > trained || live < b.o.MinTrainRows) || b.strange() {
		return ""
	}
	if trained < smallFull {
		return model.Everything
	}
	return model.Lists
}

// poor reports whether the model, or what was made by it, was measured and is not good enough to be served, and whether a repair
// may help.
func (b *Builder) poor() bool {
	return b.quality != nil && !b.quality.Promoted && !b.strange() && b.modelRef != nil && b.unordered(b.modelRef.Prefixes) == nil
}

// unordered says why the prefixes of an index that takes them as they are mean nothing, or nil.
func (b *Builder) unordered(found []schemas.PrefixRecall) error {
	if b.o.Log.Spec().Rotates() {
		return nil
	}
	return model.CheckPrefixes(found)
}

// nextRepair is what to try after the repairs that left the generation held back, the cheapest first; "" when all were
// tried: then more rows may help.
func (b *Builder) nextRepair() model.Repair {
	switch b.tried {
	case "", model.Nothing:
		return model.Codes
	case model.Codes:
		return model.Lists
	case model.Lists:
		return model.Everything
	}
	return ""
}

// repaired notes what a rewrite or a recode did.
func (b *Builder) repaired(j *job) {
	b.wanted = ""
	if j.drift != nil {
		b.drift = j.drift
		b.metrics.drifted(b.o.Log.Spec().Ladder, j.drift, j.fit)
		if j.drift.Repair == string(model.Codes) {
			b.wanted = model.Codes // now that rows are where they belong
		}
	}
	b.tried = ""
	if b.poor() {
		if b.tried = j.repair; j.misplaced && j.repair == model.Nothing {
			b.tried = model.Codes
		}
	}
	if j.ref != nil {
		b.newest = newest{}
		b.metrics.repairs.WithLabelValues(string(j.repair)).Inc()
	}
}

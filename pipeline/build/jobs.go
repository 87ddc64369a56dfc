package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cenkalti/backoff/v5"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type jobKind string

const (
	compaction jobKind = "compaction"
	rewrite    jobKind = "rewrite"
	recode     jobKind = "recode" // never beside a rewrite: both are about the base
)

const (
	compactCount = 16   // idle small segments that make a compaction worth it
	compactRows  = 8192 // rows up to which a segment is small
	compactMost  = 65536
	rewriteShare = 4    // deltas or dead rows of more than 1/4 of the base call for a rewrite
	landMost     = 1024 // rows that died while a rewrite ran, up to which they are looked up while nothing is folded
)

// job is work beside the main loop, on inputs that are its own. The main loop owns inputs and outputs again once the
// job has come through Builder.done.
type job struct {
	kind       jobKind
	repair     model.Repair // rewrite and recode: what of the model is made anew; "" = a rewrite decides by the drift that it finds
	inputs     []jobInput
	mdl        *model.Model           // to encode with; replaced by the new one, if one is made; nil before the first
	fit        *schemas.Fit           // of mdl when it was made; nil before the first
	balance    float64                // of the lists of mdl when it was made; 0 before the first
	prefixes   []schemas.PrefixRecall // of mdl, the new one if one is made; nil if not known
	accepted   bool                   // an operator has promoted a generation with rows that are strange
	generation int64                  // that the job began from
	trained    *schemas.Trained       // by a job before this one that never landed, nil if there is none
	parent     []schemas.PlanPoint    // measured plans of the generation that the job began from
	started    time.Time

	making    sync.Mutex // of outputs, while several threads add to them
	outputs   []*heldPart
	base      *baseIDs          // of the outputs, of a rewrite
	behind    int               // rows that had died in the inputs when it began to catch up last, of a rewrite
	lengths   []int             // rows of each list of mdl in the outputs, less those in the inputs; nil without a model
	ref       *schemas.ModelRef // of the new model, nil when none was trained
	quality   *schemas.Quality  // of the outputs, not of a compaction
	plans     []schemas.PlanPoint
	fresh     []float32      // searched vectors that the drift was found on
	drift     *schemas.Drift // that a rewrite found, nil when it did not look
	misplaced bool           // codes of the outputs are missing, or where they do not belong: other codes would be as well
	damaged   bool           // an input is not what it was on this disk: a session that begins again has it fetched
	err       error
}

// jobInput is a part with its dead rows as they were when the job began, or when it caught up.
type jobInput struct {
	part *heldPart
	skip *roaring.Bitmap
}

// died are the rows that are dead by now and not skipped. It is the main loop's to ask.
func (in jobInput) died() *roaring.Bitmap { return roaring.AndNot(in.part.dead, in.skip) }

// sortOutputs puts chunks, which were added as they were made, in the order of their lists.
func (j *job) sortOutputs() {
	slices.SortFunc(j.outputs, func(x, y *heldPart) int { return x.FirstList - y.FirstList })
}

// release gives up what the job has made.
func (j *job) release() {
	for _, p := range j.outputs {
		p.Release()
	}
	if j.base != nil {
		j.base.release()
	}
}

func (j *job) liveRows() (n int) {
	for _, in := range j.inputs {
		n += in.part.N - int(in.skip.GetCardinality())
	}
	return n
}

// startJobs starts what is due and can run: at most one job of each kind, on parts that no other job has.
func (b *Builder) startJobs(ctx context.Context) {
	if b.manifest == nil {
		return
	}
	if b.jobs[rewrite] == nil && b.jobs[recode] == nil {
		due, repair := b.rewriteDue()
		switch {
		case due && repair == model.Codes:
			b.start(ctx, &job{kind: recode, repair: repair}, b.chunks())
		case due && repair != "" && b.jobs[compaction] != nil:
			// A rewrite takes everything that is idle: an input that a compaction has now comes with the next one. Training
			// waits for it instead: what is idle may be a handful of rows, or none.
		case due:
			b.start(ctx, &job{kind: rewrite, repair: repair}, b.parts)
		}
	}
	if b.jobs[compaction] == nil {
		if due := b.compactionDue(); len(due) > 0 {
			b.start(ctx, &job{kind: compaction}, due)
		}
	}
}

// Pauses of jobs of one kind after one that failed. Each may have stored as much as the whole index by then.
const (
	firstPause = 5 * time.Second
	maxPause   = 5 * time.Minute
)

// jobPause is the pause of jobs of one kind.
type jobPause struct {
	until time.Time
	next  *backoff.ExponentialBackOff
}

func newJobPause() *jobPause {
	return &jobPause{next: &backoff.ExponentialBackOff{InitialInterval: firstPause, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: maxPause}}
}

// begin begins a pause, longer than the one before.
func (r *jobPause) begin() (pause time.Duration) {
	pause = r.next.NextBackOff()
	r.until = time.Now().Add(pause)
	return pause
}

func (b *Builder) start(ctx context.Context, j *job, parts []*heldPart) {
	if r := b.pauses[j.kind]; r != nil && time.Now().Before(r.until) {
		return
	}
	for _, p := range parts {
		if !p.busy {
			p.busy = true
			j.inputs = append(j.inputs, jobInput{p, p.dead.Clone()})
		}
	}
	j.mdl, j.trained, j.parent, j.started, j.generation = b.model, b.trained, b.plans, time.Now(), b.manifest.Generation
	if b.modelRef != nil {
		j.fit, j.balance, j.prefixes = b.modelRef.Fit, b.modelRef.Balance, b.modelRef.Prefixes
	}
	j.accepted = b.unlike() && !b.strange()
	b.jobs[j.kind] = j
	b.metrics.jobsRunning.WithLabelValues(string(j.kind)).Set(1)
	b.o.Logger.Info("job started", "kind", j.kind, "repair", j.repair, "parts", len(j.inputs), "rows", j.liveRows())
	hash := b.ledger.hash
	ctx, span := b.o.Tracer.Start(ctx, string(j.kind))
	span.Int("adastream.rows", int64(j.liveRows()))
	go func() {
		if j.err = j.verify(ctx); j.err == nil {
			j.err = b.runJob(ctx, j, hash)
		} else {
			j.damaged = true
		}
		span.End(j.err)
		b.done <- j // always received: by the main loop, or by drop
	}()
}

func (b *Builder) runJob(ctx context.Context, j *job, hash idHash) (err error) {
	switch j.kind {
	case compaction:
		err = b.runCompaction(ctx, j)
	case recode:
		err = b.runRecode(ctx, j)
	case rewrite:
		if err = b.runRewrite(ctx, j); err == nil {
			j.base, err = newBaseIDs(b.o.Cache, hash, j.outputs)
		}
	}
	if err != nil {
		return err
	}
	if j.base != nil {
		b.keepBase(j.base)
	}
	j.lengths = listLengths(j.outputs, j.mdl)
	for list, rows := range listLengths(j.parts(), j.mdl) {
		j.lengths[list] -= rows
	}
	return nil
}

// parts are the inputs of a job.
func (j *job) parts() []*heldPart {
	parts := make([]*heldPart, len(j.inputs))
	for i, in := range j.inputs {
		parts[i] = in.part
	}
	return parts
}

// catchUp has a rewrite that is done look up the rows that have died in its inputs while it ran, beside the main loop, and says
// whether it does: not if they are few. Rows die meanwhile, so it does again, as long as each time they are at most half as many.
func (b *Builder) catchUp(ctx context.Context, j *job) bool {
	if j.kind != rewrite || j.err != nil {
		return false
	}
	died, rows := make([]*roaring.Bitmap, len(j.inputs)), 0
	for i, in := range j.inputs {
		died[i] = in.died()
		rows += int(died[i].GetCardinality())
	}
	if rows <= landMost || j.behind > 0 && rows > j.behind/2 {
		return false
	}
	j.behind = rows
	b.o.Logger.Info("job catches up", "kind", j.kind, "dead_rows", rows)
	go func() {
		for i, in := range j.inputs {
			if j.err = ctx.Err(); j.err != nil {
				break
			}
			j.base.bury(in, died[i])
		}
		b.done <- j
	}()
	return true
}

// verify reads inputs through that were recalled: what is on this machine's disk alone must not get into what is published.
func (j *job) verify(ctx context.Context) error {
	for _, in := range j.inputs {
		if err := in.part.Verify(ctx, 1); err != nil {
			return err
		}
	}
	return nil
}

// rewriteDue says whether a rewrite is worth it, or a recode, and what it should make anew; "" leaves that to what it finds.
// What a compaction has is not counted: the rewrite could not take it, and would be due again as soon as it had landed.
func (b *Builder) rewriteDue() (due bool, repair model.Repair) {
	live := b.ledger.live
	if b.model == nil {
		return live >= b.o.MinTrainRows, model.Everything
	}
	if repair := b.outgrown(live); repair != "" {
		return true, repair
	}
	repair = b.wanted
	if b.poor() && live >= b.o.MinTrainRows {
		repair = b.nextRepair()
	}
	if repair == model.Codes && len(b.chunks()) == 0 {
		repair = model.Lists
	}
	if repair != "" {
		return true, repair
	}
	var base, delta, dead int
	for _, p := range b.parts {
		if p.busy {
			continue
		}
		dead += int(p.dead.GetCardinality())
		if p.chunk != nil && p.Model == b.modelRef.ID {
			base += p.N
		} else {
			delta += p.live()
		}
	}
	if b.poor() && live >= b.o.MinTrainRows {
		repair = model.Everything // all was tried; with other rows it may do
	}
	worth := max(b.o.RewriteRows, base/rewriteShare)
	return delta >= worth || dead >= worth, repair
}

// chunks returns the parts of the base.
func (b *Builder) chunks() (chunks []*heldPart) {
	for _, p := range b.parts {
		if p.chunk != nil {
			chunks = append(chunks, p)
		}
	}
	return chunks
}

// compactionDue returns small idle segments, when there are many, and idle segments of another model than the
// generation's, which queries have to search whole.
func (b *Builder) compactionDue() []*heldPart {
	var small, stale []*heldPart
	for _, p := range b.parts {
		switch {
		case p.busy || p.segment == nil:
		case b.model != nil && p.Model != b.modelRef.ID:
			stale = append(stale, p)
		case p.N <= compactRows:
			small = append(small, p)
		}
	}
	if len(stale) == 0 && len(small) < compactCount {
		return nil
	}
	due := append(stale, small...)
	rows := 0
	for i, p := range due {
		if rows += p.N; rows > compactMost && i > 0 {
			return due[:i]
		}
	}
	return due
}

// forget ends the bookkeeping of a job that has come through done.
func (b *Builder) forget(j *job) {
	delete(b.jobs, j.kind)
	b.metrics.jobsRunning.WithLabelValues(string(j.kind)).Set(0)
}

// land takes in a job that has come through done, unless it has to catch up.
func (b *Builder) land(ctx context.Context, j *job) error {
	if b.catchUp(ctx, j) {
		return nil
	}
	b.forget(j)
	if j.err != nil {
		j.release()
		b.metrics.jobFailures.WithLabelValues(string(j.kind)).Inc()
		return b.giveUp(ctx, j)
	}
	delete(b.pauses, j.kind)
	inputs := make(map[*heldPart]bool, len(j.inputs))
	for _, in := range j.inputs {
		inputs[in.part] = true
	}
	rest := slices.DeleteFunc(slices.Clone(b.parts), func(p *heldPart) bool { return inputs[p] })
	switch j.kind {
	case rewrite:
		b.ledger.rebase(j.inputs, j.base)
	case recode:
		b.ledger.recoded(j.inputs, j.outputs)
	case compaction:
		b.ledger.joined(inputs, j.outputs)
	}
	b.parts = append(rest, j.outputs...)
	slices.SortStableFunc(b.parts, func(x, y *heldPart) int { return kindRank(x) - kindRank(y) })
	if j.ref != nil {
		b.model, b.modelRef, b.trained = j.mdl, j.ref, nil
		b.made.Store(nil)
	}
	if j.ref == nil && j.mdl == b.model {
		for list, rows := range j.lengths {
			b.lengths[list] += rows
		}
	} else { // few are of a model that is new
		b.lengths = listLengths(b.parts, b.model)
	}
	if j.kind != compaction {
		b.quality, b.plans = j.quality, j.plans
		if b.quality != nil {
			b.quality.Measured = b.manifest.Generation + 1
		}
		b.repaired(j)
	}
	b.changed = true
	took := time.Since(j.started)
	b.metrics.jobSeconds.WithLabelValues(string(j.kind)).Observe(took.Seconds())
	b.o.Logger.Info("job landed", "kind", j.kind, "repair", j.repair, "parts", len(j.outputs), "took", took.Round(time.Millisecond))
	if j.kind != compaction {
		b.remember()
	}
	b.clean(inputs)
	return nil
}

// giveUp has a job that failed for what may pass tried again after a pause, beside which folding and other jobs go on. Any other error is
// the session's.
func (b *Builder) giveUp(ctx context.Context, j *job) error {
	why := causeOf(j.err)
	if why == "" || j.damaged || ctx.Err() != nil || errors.Is(j.err, store.ErrNotFound) {
		return fmt.Errorf("%s: %w", j.kind, j.err)
	}
	for _, in := range j.inputs {
		in.part.busy = false
	}
	r := b.pauses[j.kind]
	if r == nil {
		r = newJobPause()
		b.pauses[j.kind] = r
	}
	b.metrics.transient.WithLabelValues(why).Inc()
	b.o.Logger.Warn("job failed, will try again", "kind", j.kind, "reason", why, "in", r.begin().Round(time.Second), "error", j.err)
	b.clean(nil)
	return nil
}

func kindRank(p *heldPart) int {
	if p.chunk != nil {
		return 0
	}
	return 1
}

// clean gives back parts that a job has replaced, and their files, beside the main loop: of many that takes a while. What is
// left, if it fails, goes the next time.
func (b *Builder) clean(replaced map[*heldPart]bool) {
	used := b.usedFiles()
	b.cleaning.Go(func() {
		for p := range replaced {
			p.Release()
		}
		if err := b.sweep(used); err != nil {
			b.o.Logger.Warn("files that are no longer used could not be removed", "error", err)
		}
	})
}

// usedFiles are the files of the cache that the current generation has, by SHA-256.
func (b *Builder) usedFiles() map[string]bool {
	used := b.partFiles()
	used[b.ledger.base.name] = true
	if b.modelRef != nil {
		used[b.modelRef.SHA256] = true
	}
	if b.trained != nil {
		used[b.trained.Model.SHA256] = true
	}
	for _, o := range b.buried {
		used[o.SHA256] = true
	}
	if m := b.manifest; m != nil && m.Dead != nil {
		used[m.Dead.SHA256] = true
	}
	return used
}

// sweep frees the cache of what is not used, by nobody who has it open either. Safe for concurrent use.
func (b *Builder) sweep(used map[string]bool) error {
	freed, err := b.o.Cache.Sweep(func(sha256 string) bool { return used[sha256] })
	if err != nil {
		return fmt.Errorf("sweep cache: %w", err)
	}
	if freed > 0 {
		b.o.Logger.Debug("swept cache", "bytes", freed)
	}
	return nil
}

// putCached hands an object that this process wrote to the cache, so that it is not downloaded again. The caller holds it until it is
// opened: else a job that lands meanwhile sweeps it.
func (b *Builder) putCached(ctx context.Context, o schemas.Object, body []byte) error {
	b.metrics.put(o)
	return b.o.Cache.Put(ctx, store.Ref(o), body)
}

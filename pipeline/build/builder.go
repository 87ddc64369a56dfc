package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/trace"
	"github.com/adastream/adastream/schemas"
)

// Options of a Builder. Log and Cache are required; the zero value of everything else works.
type Options struct {
	Log   *commit.Log
	Cache *store.Cache // local copies of the objects of the current generation
	Level avx.Level

	PublishEvery time.Duration // shortest time between two generations, and longest between two looks at the chains; 0 is 250 ms
	MinTrainRows int           // live rows before a first model is trained; until then search is exact; 0 is 8192
	RewriteRows  int           // fewest delta or dead rows that make a rewrite worth it; 0 is 8192
	ChunkBytes   int64         // target size of a chunk's objects together; 0 is 32 MiB
	Threads      int           // of training, rewriting and measuring; 0 is half of the CPUs, at least 1. A rewrite takes memory for each, see segment.Merge

	CollectEvery time.Duration // between two collections of garbage; 0 is never
	KeepFor      time.Duration // how long generations are kept, see commit.CollectOptions
	ProbeEvery   time.Duration // between two probes whether the store honours put-if-absent still; 0 is store.WatchEvery

	Logger   *slog.Logger          // nil discards
	Registry prometheus.Registerer // nil registers nothing
	Tracer   *trace.Tracer         // nil traces nothing
}

// Validate joins all faults of o.
func (o Options) Validate() error {
	var faults []error
	if o.Log == nil {
		faults = append(faults, errors.New("builder log: missing"))
	}
	if o.Cache == nil {
		faults = append(faults, errors.New("builder cache: missing"))
	}
	if o.PublishEvery < 0 {
		faults = append(faults, fmt.Errorf("builder publish interval %v: must be positive, or 0 for 250ms", o.PublishEvery))
	}
	if o.MinTrainRows != 0 && o.MinTrainRows < leastTrainRows {
		faults = append(faults, fmt.Errorf("builder min train rows %d: must be at least %d, or 0 for 8192", o.MinTrainRows, leastTrainRows))
	}
	if o.RewriteRows < 0 {
		faults = append(faults, fmt.Errorf("builder rewrite rows %d: must be positive, or 0 for 8192", o.RewriteRows))
	}
	if o.ChunkBytes < 0 {
		faults = append(faults, fmt.Errorf("builder chunk bytes %d: must be positive, or 0 for 32 MiB", o.ChunkBytes))
	}
	if o.CollectEvery < 0 {
		faults = append(faults, fmt.Errorf("builder collection interval %v: must be positive, or 0 for never", o.CollectEvery))
	}
	if o.KeepFor < 0 {
		faults = append(faults, fmt.Errorf("builder keeps generations for %v: must be positive, or 0 for the newest and the served one only", o.KeepFor))
	}
	if o.ProbeEvery < 0 {
		faults = append(faults, fmt.Errorf("builder probe interval %v: must be positive, or 0 for %v", o.ProbeEvery, store.WatchEvery))
	}
	if o.Threads < 0 {
		faults = append(faults, fmt.Errorf("builder threads %d: must be positive, or 0 for half of the CPUs", o.Threads))
	}
	return errors.Join(faults...)
}

// leastTrainRows is below what any model is worth.
const leastTrainRows = 256

func (o Options) withDefaults() Options {
	if o.PublishEvery == 0 {
		o.PublishEvery = 250 * time.Millisecond
	}
	if o.MinTrainRows == 0 {
		o.MinTrainRows = 8192
	}
	if o.RewriteRows == 0 {
		o.RewriteRows = 8192
	}
	if o.ChunkBytes == 0 {
		o.ChunkBytes = 32 << 20
	}
	if o.Threads == 0 {
		o.Threads = max(1, runtime.NumCPU()/2)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	return o
}

// Builder publishes the generations of one index. Two builders of one index do only harmless work: a generation is
// published by exactly one of them, and the other one begins again from it.
type Builder struct {
	o       Options
	id      string // of this process, in every manifest that it writes
	metrics *metrics
	health  health
	watch   *store.Watch

	// The current generation, owned by the goroutine of Run.
	manifest      *schemas.Manifest // last published; nil before the first
	model         *model.Model      // nil until trained
	parts         []*heldPart       // chunks, then segments
	ledger        *ledger
	lengths       []int            // rows of each list of the model, dead ones too; nil without one
	buried        []schemas.Object // tombstone objects
	heads         map[int]chainHead
	looked        time.Time    // at all partitions of loads
	lookedLoading time.Time    // at those of loading
	loading       map[int]bool // partitions that an unfinished load is in, as far as this session has seen
	changed       bool         // something to publish
	causes        trace.Causes // spans of the commits that are to be published
	quality       *schemas.Quality
	plans         []schemas.PlanPoint
	modelRef      *schemas.ModelRef
	trained       *schemas.Trained // by a job that has not landed

	unchanged  time.Time // when the index was last seen to be the one that is built
	began      bool      // some session has, and what the process before had remembered is used up
	recalled   int       // files that this process may do without reading through
	rememberAt time.Time // when the next process may too; zero for not before something else says so

	channel *schemas.Channel // newest promotion that was seen; nil before the first. Outlives sessions: promotions never change

	newest       newest
	strangeSince int64 // generation with which the newest rows began to be strange, 0 if they are not
	drift        *schemas.Drift
	wanted       model.Repair // that the last rewrite found to be needed and did not do itself
	tried        model.Repair // last one of those that left the generation held back

	jobs   map[jobKind]*job
	pauses map[jobKind]*jobPause // of kinds whose last job failed. Outlive sessions
	done   chan *job
	made   atomic.Pointer[schemas.Trained] // by a running job, until the main loop takes it

	cleaning sync.WaitGroup // of what jobs have replaced

	fences chan *fence
	fence  *fence // of a collection that waits, nil for none
}

// chainHead is how far a partition is folded.
type chainHead struct {
	next      int64 // checkpoint
	watermark int64
	produced  int64
	active    bool // behind the log, or folded since the last generation
	behind    bool
}

// New returns a Builder. It does nothing until Run.
func New(o Options) (*Builder, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	o.Logger = trace.Logger(o.Logger)
	o.Log = o.Log.Over(store.NewMeter(o.Registry, "builder").Of(o.Log.Bucket()))
	o.Cache = o.Cache.Of(o.Log.Bucket())
	b := &Builder{o: o, id: uuid.NewString(), done: make(chan *job), jobs: map[jobKind]*job{}, pauses: map[jobKind]*jobPause{}, fences: make(chan *fence)}
	b.metrics = newMetrics(o.Registry, &b.health)
	b.metrics.objective.Set(o.Log.Spec().Defaults.TargetRecall)
	o.Cache.Register(o.Registry, "builder")
	b.watch = store.NewWatch(o.Log.Bucket(), store.WatchOptions{Every: o.ProbeEvery, Tell: b.health.doubt, Logger: o.Logger, Registry: o.Registry, Role: "builder"})
	b.health.set(errors.New("builder has not loaded the index yet"))
	return b, nil
}

// Ready says why the builder is not doing its work, or nil. Safe for concurrent use.
func (b *Builder) Ready() error { return b.health.get() }

// Run builds until ctx ends, and returns nil then. It returns early only with an error that waiting cannot mend: a
// corrupt object, a configuration that the store refuses, or an index that was removed or made anew (commit.ErrReplaced).
func (b *Builder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { b.watch.Run(ctx) })
	defer watching.Wait()
	defer cancel()
	pause := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 10 * time.Second}
	others := newConflicts()
	for {
		err := b.session(ctx, pause.Reset)
		if ctx.Err() != nil {
			return nil
		}
		b.health.set(err)
		switch why := causeOf(err); {
		case errors.Is(err, schemas.ErrFenced):
			b.metrics.fenced.Inc()
			others.tell(b.o.Logger, err)
		case why != "": // rights and space are mended outside of this process, which should go on then
			b.metrics.transient.WithLabelValues(why).Inc()
			b.o.Logger.Warn("build failed, will try again", "reason", why, "error", err)
		default:
			b.o.Logger.Error("builder stopped", "error", err)
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// session loads the newest generation and works from it until an error or the end of ctx. What is in memory is dropped
// at its end: only what was published counts.
func (b *Builder) session(ctx context.Context, healthy func()) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var collecting sync.WaitGroup
	defer b.drop()
	defer collecting.Wait()
	defer cancel() // before drop: jobs must end before the parts that they read are unmapped
	defer func() { err = b.overtaken(ctx, err) }()
	if err := b.load(ctx); err != nil {
		return err
	}
	defer func() {
		if ctx.Err() != nil { // a stop that was asked for
			b.remember()
		}
	}()
	if b.o.CollectEvery > 0 {
		collecting.Go(func() { b.collect(ctx) })
	}
	published := time.Now().Add(-b.o.PublishEvery)
	for {
		looked, appended := time.Now(), b.o.Log.Appended()
		behind, err := b.fold(ctx)
		if err != nil {
			return err
		}
		b.keepTrained()
		fenced := b.fenceDue()
		if b.changed || fenced {
			if err := b.publish(ctx); err != nil {
				return err
			}
			published = looked
		}
		if fenced {
			b.fencePublished()
		}
		if err := b.promote(ctx); err != nil {
			return err
		}
		b.health.set(nil)
		healthy()
		if !b.rememberAt.IsZero() && time.Now().After(b.rememberAt) {
			b.remember()
		}
		if time.Since(b.unchanged) > unchangedEvery*b.o.PublishEvery {
			if err := b.o.Log.Unchanged(ctx); err != nil {
				return err
			}
			b.unchanged = time.Now()
		}
		b.startJobs(ctx)
		next := looked.Add(b.o.PublishEvery)
		if behind {
			next = looked
		}
		if err := b.pause(ctx, next, published.Add(b.o.PublishEvery), appended); err != nil {
			return err
		}
	}
}

// pause waits until the next look at the chains is due, or there is something to do. If this process appends to a chain meanwhile, it looks
// sooner, but when it may publish and when commits that come together with that are there.
func (b *Builder) pause(ctx context.Context, next, publish time.Time, appended <-chan struct{}) error {
	due := time.NewTimer(time.Until(next))
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-due.C:
			return nil
		case <-appended:
			appended = nil
			wait := max(time.Until(publish), b.o.PublishEvery/gatherShare)
			due.Reset(min(wait, time.Until(next)))
		case f := <-b.fences:
			b.takeFence(f)
			return nil
		case j := <-b.done:
			return b.land(ctx, j)
		}
	}
}

// gatherShare of the interval of publishing is what commits that come together are apart.
const gatherShare = 10

// unchangedEvery is how many looks at the chains there are to one at whether it is still the same index, for when nothing is published.
const unchangedEvery = 40

// overtaken is err, unless something is wrong because the index is another one, or missing because another builder or an operator has
// published since, and what this session had, or was about to fold, is collected.
func (b *Builder) overtaken(ctx context.Context, err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, schemas.ErrCorrupt) {
		if gone := b.o.Log.Unchanged(ctx); errors.Is(gone, commit.ErrReplaced) {
			err = gone
		}
	}
	if errors.Is(err, commit.ErrReplaced) {
		return fmt.Errorf("%w: start again for the one in its place", err)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	at := int64(0)
	if b.manifest != nil {
		at = b.manifest.Generation
	}
	newer, lookErr := b.o.Log.LatestRecord(ctx, at)
	switch {
	case lookErr != nil:
		return lookErr
	case newer == nil:
		return err
	}
	return fmt.Errorf("generation %d is there by now: %w: %v", newer.Generation, schemas.ErrFenced, err)
}

// drop forgets the session's state after its jobs have ended.
func (b *Builder) drop() {
	for len(b.jobs) > 0 {
		j := <-b.done
		b.forget(j)
		j.release()
	}
	b.cleaning.Wait()
	for _, p := range b.parts {
		p.Release()
	}
	if b.ledger != nil {
		b.ledger.release()
	}
	b.manifest, b.model, b.modelRef, b.parts, b.ledger, b.buried, b.heads = nil, nil, nil, nil, nil, nil, nil
	b.quality, b.plans, b.changed, b.trained, b.lengths = nil, nil, false, nil, nil
	b.made.Store(nil)
	b.newest, b.strangeSince, b.drift, b.wanted, b.tried = newest{}, 0, nil, "", ""
	b.fence, b.looked, b.loading = nil, time.Time{}, nil
	b.causes.Reset()
}

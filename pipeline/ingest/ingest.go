package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/follow"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/trace"
	"github.com/adastream/adastream/schemas"
)

// Ingestor works on the partitions that its consumer group gives it. Any number of ingestors may run; what they would
// do twice the chains of commits sort out.
type Ingestor struct {
	o         Options
	metrics   *metrics
	board     *board
	followers []*follower // of each shard
	identity  *identity
	refusals  *refusals
	watch     *store.Watch
}

// New returns an Ingestor. It does nothing until Run.
func New(o Options) (*Ingestor, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	o.Logger = trace.Logger(o.Logger)
	i := &Ingestor{o: o, board: newBoard(), refusals: newRefusals()}
	i.metrics = newMetrics(o.Registry, i.board)
	meter := store.NewMeter(o.Registry, "ingestor")
	for n, log := range o.Shards {
		f := &follower{every: o.FollowEvery, kind: modelKind, logger: o.Logger, metrics: i.metrics, board: i.board}
		if len(o.Shards) > 1 {
			f.kind, f.logger = fmt.Sprintf("%s of shard %d", modelKind, n), o.Logger.With("shard", n)
		}
		f.Follower = follow.New(log.Over(meter.Of(log.Bucket())), f.logger)
		i.followers = append(i.followers, f)
	}
	i.watch = store.NewWatch(meter.Of(o.Shards[0].Bucket()), store.WatchOptions{Every: o.ProbeEvery, Tell: func(err error) { i.board.say("store", err) },
		Logger: o.Logger, Registry: o.Registry, Role: "ingestor"})
	i.identity = &identity{source: o.Source, want: o.spec().Topic}
	return i, nil
}

// Ready says why some or all of the work is not done, or nil. Safe for concurrent use.
func (i *Ingestor) Ready() error { return i.board.ready() }

// Stopped says which partitions have met what waiting does not mend, and why. Safe for concurrent use.
func (i *Ingestor) Stopped() map[int]error { return i.board.stopped() }

// Run ingests until ctx ends, and returns nil then. It returns early only with an error that waiting cannot mend and
// that concerns all partitions: another topic than the index is for, a consumer group that cannot be, or an index that was removed or
// made anew (commit.ErrReplaced). A partition with an error of its own stops alone, see Ready.
func (i *Ingestor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { i.watch.Run(ctx) })
	defer watching.Wait()
	defer cancel()
	begun := time.Now()
	if err := UntilPassed(ctx, func() error { return i.identity.check(ctx, begun) }, i.waiting("identity")); err != nil {
		return i.ended(ctx, err)
	}
	// Segments of the first cuts should be assigned already, if there is a model.
	for _, f := range i.followers {
		if err := UntilPassed(ctx, func() error { return f.Follow(ctx) }, i.waiting(modelKind)); err != nil && ctx.Err() == nil {
			f.logger.Error("model cannot be loaded, segments are written without one", "error", err)
			i.board.say(f.kind, err)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, f := range i.followers {
		g.Go(func() error { return f.run(gctx) })
	}
	g.Go(func() error {
		err := i.o.Source.Join(gctx, i.o.Group, i.generation)
		if err == nil {
			err = errors.New("left the consumer group")
		}
		return err
	})
	return i.ended(ctx, g.Wait())
}

// ended is what Run returns: ctx ending is what it waits for.
func (i *Ingestor) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("ingest %s: %w", i.o.spec().Name, err)
}

// waiting tells of faults before there are partitions.
func (i *Ingestor) waiting(kind string) func(error) {
	return func(err error) {
		i.metrics.transient.WithLabelValues(kind).Inc()
		i.board.say(kind, err)
		i.o.Logger.Warn("no answer, will try again", "kind", kind, "error", err)
	}
}

// generation works on the partitions of one generation of the group.
func (i *Ingestor) generation(ctx context.Context, a *source.Assignment) {
	i.board.say("identity", nil)
	i.board.say("topic", nil)
	i.board.assign(a.Partitions)
	i.metrics.assigned(len(a.Partitions))
	offsets := &offsets{}
	var working sync.WaitGroup
	working.Go(func() { offsets.run(ctx, a, i.metrics, i.o.Logger) })
	for _, id := range a.Partitions {
		f := i.followers[i.o.spec().ShardOf(id)]
		p := &partition{
			id:         id,
			flushBytes: i.o.flushBytes(len(a.Partitions)),
			o:          &i.o,
			log:        f.Log(),
			follower:   f,
			identity:   i.identity,
			offsets:    offsets,
			metrics:    i.metrics,
			board:      i.board,
			refusals:   i.refusals,
			logger:     i.o.Logger.With("topic", i.o.spec().Topic.Name, "partition", id),
		}
		working.Go(func() { p.run(ctx) })
	}
	if len(a.Partitions) == 0 {
		working.Go(func() { i.standBy(ctx) })
	}
	working.Wait()
}

// topicEvery is the time between two looks of an ingestor without partitions at the topic.
const topicEvery = 5 * time.Second

// standBy looks whether there is a topic to stand by for until ctx ends. One that is gone has no partitions for anybody, so nobody fetches, and nobody
// would be told.
func (i *Ingestor) standBy(ctx context.Context) {
	tick := time.NewTicker(topicEvery)
	defer tick.Stop()
	for told := ""; ; {
		switch err := i.identity.check(ctx, time.Now()); {
		case ctx.Err() != nil:
			return
		case err == nil:
			i.board.say("topic", nil)
			told = ""
		default:
			i.metrics.transient.WithLabelValues("identity").Inc()
			i.board.say("topic", err)
			if err.Error() != told {
				i.o.Logger.Error("no partitions, and the topic does not match the index", "error", err)
			}
			told = err.Error()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// identity makes sure that the topic is the one that the index was made for. It is safe for concurrent use.
type identity struct {
	source *source.Client
	want   schemas.Topic

	mu      sync.Mutex
	checked time.Time // when the question was asked that was last answered well
}

// check asks, unless somebody has asked since a time: many partitions want to know at the same moment.
func (i *identity) check(ctx context.Context, since time.Time) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.checked.After(since) {
		return nil
	}
	asked := time.Now()
	got, err := i.source.Topic(ctx)
	if err != nil {
		return err
	}
	for _, part := range []struct{ what, got, want string }{
		{"cluster", got.Cluster, i.want.Cluster},
		{"topic id", got.TopicID, i.want.ID},
	} {
		if part.want != "" && part.got != part.want {
			return fmt.Errorf("topic %s is another one than the index was made for: its %s is %q, needed: %q", i.want.Name, part.what, part.got, part.want)
		}
	}
	i.checked = asked
	return nil
}

// offsets tells the group where partitions stand. Nothing of ours reads that: it is for dashboards and autoscalers.
type offsets struct {
	mu   sync.Mutex
	next map[int]int64
}

// offsetsEvery is the pause between two commits of offsets.
const offsetsEvery = time.Second

func (o *offsets) mark(partition int, next int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next == nil {
		o.next = map[int]int64{}
	}
	o.next[partition] = next
}

func (o *offsets) take() map[int]int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := o.next
	o.next = nil
	return next
}

// putBack keeps what could not be told, unless something newer came.
func (o *offsets) putBack(next map[int]int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next == nil {
		o.next = map[int]int64{}
	}
	maps.Copy(next, o.next)
	o.next = next
}

func (o *offsets) run(ctx context.Context, a *source.Assignment, m *metrics, logger *slog.Logger) {
	tick := time.NewTicker(offsetsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := o.take()
		if err := a.Commit(next); err != nil && ctx.Err() == nil {
			m.transient.WithLabelValues("offsets").Inc()
			logger.Debug("offsets were not committed to the group", "error", err)
			o.putBack(next)
		}
	}
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// fetchWait is how long the broker holds a fetch for which it has no data.
const fetchWait = 2 * time.Second

// unwatched is for how long a log may not be asked for anything before it may be another one.
const unwatched = time.Second

// GapError says that the log of a partition does not hold the offset that follows its chain of commits.
type GapError struct {
	Topic     string
	Partition int
	Next      int64 // end of the chain
	// Start and End bound what the log holds: [Start, End).
	Start, End int64
}

// Overrun says whether retention deleted offsets before they were ingested. Otherwise the log ends before the chain:
// the topic was made again or truncated.
func (e *GapError) Overrun() bool { return e.Start > e.Next }

func (e *GapError) Error() string {
	if e.Overrun() {
		return fmt.Sprintf("%s/%d: the offsets [%d, %d) were deleted before they were ingested: the chain ends at %d, the log holds [%d, %d); --accept-gap records the loss and goes on at %d",
			e.Topic, e.Partition, e.Next, e.Start, e.Next, e.Start, e.End, e.Start)
	}
	return fmt.Sprintf("%s/%d: the topic was made again or truncated: the chain ends at %d, the log holds [%d, %d); --accept-gap does not help here, a new topic needs a new index",
		e.Topic, e.Partition, e.Next, e.Start, e.End)
}

// partition works on one partition during one generation of the group.
type partition struct {
	id         int
	flushBytes int64
	o          *Options
	log        *commit.Log // that it is of
	follower   *follower
	identity   *identity
	offsets    *offsets
	metrics    *metrics
	board      *board
	refusals   *refusals
	logger     *slog.Logger
}

// run works until ctx ends, or until something happens that needs an operator.
func (p *partition) run(ctx context.Context) {
	for {
		err := p.session(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, schemas.ErrFenced):
			p.metrics.fenced.Inc()
			p.logger.Info("another ingestor was first, going on from its end", "error", err)
		case errors.Is(err, source.ErrOutOfRange):
			// The next session asks for the bounds, and says what that means.
			p.logger.Warn("offset out of range, checking again", "error", err)
		default:
			p.metrics.stopped(err)
			p.board.set(p.id, stopped, err)
			p.logger.Error("partition stopped, needs an operator", "error", err)
			return
		}
	}
}

// session works from the end of the chain on. Everything that it holds follows from there, so whatever it loses by
// ending is fetched again. It ends with an error or with ctx.
func (p *partition) session(ctx context.Context) error {
	p.board.set(p.id, starting, nil)
	head, err := p.start(ctx)
	if err != nil {
		return err
	}
	p.board.set(p.id, following, nil)
	p.offsets.mark(p.id, head.Next)
	p.logger.Info("following", "offset", head.Next)

	found := make(chan fetched)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		p.fetch(ctx, head.Next, found)
		return nil
	})
	g.Go(func() error { return p.consume(ctx, head, found) })
	return g.Wait()
}

// fetched is a batch, or why there will be none.
type fetched struct {
	source.Batch
	err error
}

// start finds the end of the chain and makes sure that the log goes on there.
func (p *partition) start(ctx context.Context) (head commit.Head, err error) {
	begun := time.Now()
	if topic := p.log.Spec().Topic; p.id >= topic.Partitions {
		return head, fmt.Errorf("%s/%d: the topic has more partitions than the %d that the index was made for", topic.Name, p.id, topic.Partitions)
	}
	if err := p.insist(ctx, "identity", func() error { return p.identity.check(ctx, begun) }); err != nil {
		return head, err
	}
	if err := p.insist(ctx, "head", func() (err error) {
		head, err = p.log.Head(ctx, p.id, p.follower.Checkpoint(p.id))
		return err
	}); err != nil {
		return head, err
	}
	var bounds source.Bounds
	if err := p.insist(ctx, "bounds", func() (err error) {
		bounds, err = p.o.Source.Bounds(ctx, p.id)
		return err
	}); err != nil {
		return head, err
	}
	p.metrics.newest.reached(head.Watermark)
	p.metrics.lagging(p.id, head.Next, bounds.End, timeOf(head.Watermark))
	switch {
	case head.Next >= bounds.Start && head.Next <= bounds.End:
		return head, nil
	case head.Next == 0 || (bounds.Start > head.Next && p.o.AcceptGap):
		// A chain begins at 0, and a log that has lost its beginning before the index was made has lost nothing of ours.
		return p.gap(ctx, head, bounds)
	}
	return head, &GapError{Topic: p.log.Spec().Topic.Name, Partition: p.id, Next: head.Next, Start: bounds.Start, End: bounds.End}
}

// gap records that the offsets from the head to the start of the log are lost.
func (p *partition) gap(ctx context.Context, head commit.Head, log source.Bounds) (commit.Head, error) {
	record := &schemas.Commit{
		Format:    schemas.CommitFormat,
		Partition: p.id,
		Start:     head.Next,
		End:       log.Start,
		Gap:       true,
		AtEnd:     log.Start >= log.End,
		Watermark: head.Watermark,
	}
	if err := p.append(ctx, record); err != nil {
		return head, err
	}
	p.metrics.commits.Inc()
	p.metrics.gaps.Inc()
	p.logger.Warn("recorded a gap: the log no longer has these offsets", "start", record.Start, "end", record.End)
	return commit.Head{Next: log.Start, Watermark: head.Watermark, Last: record}, nil
}

// fetch sends what the log holds from an offset on, until ctx ends or with an error as the last. It is one batch ahead of
// consume.
func (p *partition) fetch(ctx context.Context, next int64, found chan<- fetched) {
	watched := time.Now() // until when it was the log of the index
	for {
		var f fetched
		sure := time.Since(watched) < unwatched
		f.err = p.insist(ctx, "fetch", func() (err error) {
			if f.Batch, err = p.o.Source.Fetch(ctx, p.id, next, fetchWait); err != nil {
				sure = false
			}
			if err != nil || sure {
				return err
			}
			// While the broker or the store was away the topic may have been made again. What it is now it was when this was fetched:
			// ids do not come back.
			return p.identity.check(ctx, time.Now())
		})
		watched = time.Now()
		if f.err == nil && f.Next == next {
			continue // Fetch has waited
		}
		select {
		case found <- f:
		case <-ctx.Done():
			return
		}
		if f.err != nil {
			return
		}
		next = f.Next
	}
}

func (p *partition) ignored(column string) {
	p.metrics.ignored.Inc()
	p.logger.Info("messages have a column that the index does not declare, it is ignored", "column", column)
}

// insist calls op until it succeeds or fails for good, and tells what it waits for meanwhile.
func (p *partition) insist(ctx context.Context, kind string, op func() error) error {
	waited := false
	err := UntilPassed(ctx, op, func(err error) {
		waited = true
		p.metrics.transient.WithLabelValues(kind).Inc()
		p.board.set(p.id, retrying, err)
		p.logger.Warn("no answer, will try again", "kind", kind, "error", err)
	})
	if waited && err == nil {
		p.board.set(p.id, following, nil)
	}
	return err
}

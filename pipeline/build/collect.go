package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// fence is a collection that waits, after its objects have been found, for a generation that names all that this builder had
// under way then.
type fence struct {
	jobs      []*job // that ran when the objects had been found: what they had put was named by nothing yet
	published chan struct{}
}

// collect collects garbage beside the main loop, now and then until ctx ends. What goes wrong is told and left to the next time.
func (b *Builder) collect(ctx context.Context) {
	tick := time.NewTicker(b.o.CollectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		started := time.Now()
		report, err := b.collectOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, schemas.ErrFenced):
			b.o.Logger.Info("another collector was first", "error", err)
		case err != nil:
			b.metrics.collectFailures.Inc()
			b.o.Logger.Error("garbage collection failed, nothing in use was removed", "error", err)
		default:
			b.metrics.collected(report)
			b.o.Logger.Info("collected garbage", "objects", report.Objects, "bytes", report.Bytes, "generations", report.Generations, "promotions", report.Promotions,
				"commits", report.Commits, "kept_generations", report.KeptGenerations, "kept_bytes", report.KeptBytes, "took", time.Since(started).Round(time.Millisecond))
		}
	}
}

func (b *Builder) collectOnce(ctx context.Context) (*commit.Collected, error) {
	found, err := b.o.Log.Find(ctx)
	if err != nil {
		return nil, err
	}
	f := &fence{published: make(chan struct{})}
	select {
	case b.fences <- f:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-f.published:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	report, err := b.o.Log.Collect(ctx, commit.CollectOptions{Found: found, KeepFor: b.o.KeepFor, By: b.id})
	if err != nil {
		return nil, fmt.Errorf("collect garbage: %w", err)
	}
	return report, nil
}

// takeFence begins to wait for what runs now. The main loop has published all that it put by itself.
func (b *Builder) takeFence(f *fence) {
	f.jobs = slices.Collect(maps.Values(b.jobs))
	b.fence = f
}

// fenceDue reports whether all that a fence waits for has landed, so that the next generation names it.
func (b *Builder) fenceDue() bool {
	return b.fence != nil && b.manifest != nil && !slices.ContainsFunc(b.fence.jobs, func(j *job) bool { return b.jobs[j.kind] == j })
}

// fencePublished lets the collection go on.
func (b *Builder) fencePublished() {
	close(b.fence.published)
	b.fence = nil
}

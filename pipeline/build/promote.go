package build

import (
	"context"
	"errors"
	"fmt"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/trace"
	"github.com/adastream/adastream/schemas"
)

// promote looks at the channel, and points it at the current generation unless that is served already, a newer one is,
// an operator has pinned another one or lets queries follow an epoch, or the gate holds it back. What others do to the
// channel at the same moment is seen at the next look.
func (b *Builder) promote(ctx context.Context) error {
	if err := b.look(ctx); err != nil {
		return err
	}
	m, held := b.manifest, b.heldBack()
	b.metrics.held.Set(gauge(held))
	if m == nil || held || b.heldOff() || b.channel != nil && b.channel.Generation >= m.Generation {
		return nil
	}
	ctx, span := b.o.Tracer.Continue(ctx, "promote", trace.From(m.Trace))
	span.Int("adastream.generation", m.Generation)
	made, err := b.o.Log.Promote(ctx, b.channel, schemas.Channel{Generation: m.Generation, Reason: "built", By: b.id})
	span.End(err)
	if errors.Is(err, schemas.ErrFenced) {
		return nil
	}
	if err != nil {
		return err
	}
	b.channel = made
	b.metrics.promotions.Inc()
	b.metrics.follows(made)
	return nil
}

// look takes in the newest promotion.
func (b *Builder) look(ctx context.Context) error {
	after := int64(0)
	if b.channel != nil {
		after = b.channel.Sequence
	}
	c, err := b.o.Log.Channel(ctx, after)
	if err != nil {
		return fmt.Errorf("look at the channel: %w", err)
	}
	if c == nil {
		return nil
	}
	err = b.o.Log.Confirm(ctx, c)
	if errors.Is(err, store.ErrNotFound) {
		b.o.Logger.Warn("reverted a promotion whose generation was collected at the same time", "generation", c.Generation, "by", c.By, "error", err)
		return nil // the next look sees the record that did
	}
	if err != nil {
		return fmt.Errorf("look at the channel: %w", err)
	}
	was := b.heldOff()
	b.channel = c
	b.metrics.follows(c)
	switch {
	case c.Pinned:
		b.o.Logger.Warn("the channel is pinned, generations are published but not served", "generation", c.Generation, "by", c.By, "reason", c.Reason)
	case c.Epoch != "":
		b.o.Logger.Warn("queries follow an epoch, generations are published but not served", "epoch", c.Epoch, "by", c.By, "reason", c.Reason)
	case was:
		b.o.Logger.Info("generations are served again", "generation", c.Generation, "by", c.By, "reason", c.Reason)
	}
	return nil
}

// heldOff reports whether an operator keeps this builder from promoting anything.
func (b *Builder) heldOff() bool { return b.channel != nil && b.channel.HoldsBuilders() }

// heldBack reports whether the gate's verdict keeps the current generation from being served. A verdict is about what was
// measured, at one generation, and is inherited by all until the next measurement: they add deltas, which are searched
// without codes. Who points the channel at one of these overrides the verdict for all of them: that is, until the
// next rewrite is measured.
func (b *Builder) heldBack() bool {
	if b.manifest == nil {
		return false
	}
	q := b.manifest.Quality
	return q != nil && !q.Promoted && (b.channel == nil || b.channel.Generation < q.Measured)
}

func gauge(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

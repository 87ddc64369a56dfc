package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// operator promotes, pins and rolls back by hand, a few times.
type operator struct {
	*actor
	acts int
}

func (o *operator) life(ctx context.Context) error {
	for o.acts > 0 {
		o.acts--
		if err := o.act(ctx); err != nil {
			return err
		}
		if err := o.store.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// act is one command, which looks, decides and writes. What went wrong is told to the operator, who goes on.
func (o *operator) act(ctx context.Context) error {
	seen, err := o.log.Channel(ctx, 0)
	if err != nil {
		return o.told(err)
	}
	var kept []int64
	for g, err := range o.log.Manifests(ctx) {
		if err != nil {
			return o.told(err)
		}
		kept = append(kept, g)
	}
	if len(kept) == 0 {
		return nil
	}
	c := schemas.Channel{Generation: kept[o.rng.IntN(len(kept))], Pinned: !o.rarely(3), Reason: o.unique(), By: o.name + "@host"}
	if seen != nil && seen.Pinned && o.rarely(2) {
		c.Generation, c.Pinned = seen.Generation, false
	}
	made, err := o.log.Promote(ctx, seen, c)
	if errors.Is(err, schemas.ErrTransient) {
		made, err = o.log.Promote(ctx, seen, c)
	}
	if err != nil {
		return o.told(err)
	}
	return o.confirm(made)
}

// told is err if it is not one that an operator understands.
func (o *operator) told(err error) error {
	if errors.Is(err, schemas.ErrFenced) || errors.Is(err, schemas.ErrTransient) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// reader is a query node: it follows the channel, and serves a generation once it has all of it.
type reader struct {
	*actor
	at    *commit.Served
	cache map[string][]byte
	once  bool // it ends when it serves the newest promotion
}

func (r *reader) life(ctx context.Context) error {
	r.at, r.cache = nil, map[string][]byte{}
	for {
		err := r.advance(ctx)
		switch {
		case err == nil, errors.Is(err, schemas.ErrTransient), errors.Is(err, store.ErrNotFound): // it serves what it has
		default:
			return err
		}
		if r.once {
			return err
		}
		if err := r.store.rest(ctx); err != nil {
			return err
		}
	}
}

// advance loads what the channel names, if that is new.
func (r *reader) advance(ctx context.Context) error {
	to, err := r.log.Follow(ctx, r.at)
	if err != nil || to == nil {
		return err
	}
	m, err := to.Manifest(ctx)
	if err != nil {
		return err
	}
	var lines []string
	for o := range m.Objects() {
		body, ok := r.cache[o.Key]
		if !ok {
			if body, err = r.fetch(ctx, o); err != nil {
				if r.world.broken == readerServesHalf && errors.Is(err, store.ErrNotFound) {
					continue
				}
				return fmt.Errorf("generation %d: %w", m.Generation, err)
			}
			r.cache[o.Key] = body
		}
		if isPage(o.Key) {
			continue
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")...)
	}
	if r.at != nil && to.Record.Sequence < r.at.Record.Sequence {
		r.world.fail("%s goes back from promotion %d to %d", r.name, r.at.Record.Sequence, to.Record.Sequence)
	}
	if err := r.world.truth.isLog(m.Checkpoint, lines); err != nil {
		r.world.fail("%s serves generation %d: %v", r.name, m.Generation, err)
	}
	r.at = to
	return nil
}

// collector is an operator who collects garbage, or a job that does.
type collector struct {
	*actor
	times    int
	thorough bool // it keeps nothing for its age
}

func (c *collector) life(ctx context.Context) error {
	for ; c.times > 0; c.times-- {
		if err := c.store.rest(ctx); err != nil {
			return err
		}
		if err := c.collect(ctx); err != nil && !errors.Is(err, schemas.ErrFenced) && !errors.Is(err, schemas.ErrTransient) {
			return err
		}
	}
	return nil
}

func (c *collector) collect(ctx context.Context) error {
	if c.world.broken == collectorListsAfterFence {
		if err := c.log.Fence(ctx); err != nil {
			return err
		}
	}
	found, err := c.find(ctx)
	if err != nil {
		return err
	}
	if c.world.broken != collectorListsAfterFence && c.world.broken != collectorDoesNotFence {
		if err := c.log.Fence(ctx); err != nil {
			return err
		}
	}
	keepFor := c.keepFor()
	if c.thorough {
		keepFor = 0
	}
	if _, err = c.log.Collect(ctx, commit.CollectOptions{Found: found, KeepFor: keepFor, By: c.name + "@host"}); err != nil {
		return err
	}
	return c.mangle(ctx)
}

// find has broken collectors overlook that nothing was published since.
func (c *collector) find(ctx context.Context) (*commit.Found, error) {
	if broken := c.world.broken; broken == collectorListsAfterFence || broken == collectorDoesNotFence {
		defer func(blind func(requestKind, string) bool) { c.store.blind = blind }(c.store.blind)
		c.store.blind = without("manifests/")
	}
	return c.log.Find(ctx)
}

// mangle has broken collectors remove more than they should.
func (c *collector) mangle(ctx context.Context) error {
	broken := c.world.broken
	if broken != collectorRemovesLastCommit && broken != collectorRemovesUnfolded {
		return nil
	}
	m, err := c.log.Latest(ctx, 0)
	if err != nil || m == nil {
		return err
	}
	for info, err := range c.store.List(ctx, "commits/000000/", "") {
		if err != nil {
			return err
		}
		folded := info.Key < fmt.Sprintf("commits/000000/%020d", m.Checkpoint["0"])
		if folded && broken == collectorRemovesLastCommit || !folded && broken == collectorRemovesUnfolded {
			if err := c.store.Delete(ctx, info.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepFor is mostly as short as can be.
func (a *actor) keepFor() time.Duration {
	return []time.Duration{0, 0, 0, time.Minute, 15 * time.Minute, 24 * time.Hour}[a.rng.IntN(6)]
}

// collect is what a builder does beside its main loop until ctx ends.
func (b *builder) collect(ctx context.Context, fences chan<- *fence) {
	for b.store.rest(ctx) == nil {
		err := b.collectOnce(ctx, fences)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, errors.Is(err, errCrashed), errors.Is(err, schemas.ErrFenced), errors.Is(err, schemas.ErrTransient):
		default:
			b.world.fail("%s collects: %v", b.name, err)
			return
		}
	}
}

func (b *builder) collectOnce(ctx context.Context, fences chan<- *fence) error {
	found, err := b.log.Find(ctx)
	if err != nil {
		return err
	}
	f := &fence{published: make(chan struct{})}
	fences <- f
	select {
	case <-f.published:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err = b.log.Collect(ctx, commit.CollectOptions{Found: found, KeepFor: 0, By: b.name})
	return err
}

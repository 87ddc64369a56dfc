package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// bitmap begins what an object of dead rows says, which is nothing of the log.
const bitmap = "dead rows"

// builder is a model of pipeline/build: sessions that begin with the newest generation, fold, publish and promote, jobs beside
// them, and garbage collection.
type builder struct {
	*actor
	collects bool

	// Of a session.
	manifest *schemas.Manifest // nil before the first
	next     map[string]int64  // checkpoint
	segments []held
	stones   []held
	changed  bool
	beside   sync.WaitGroup // a job and a collection
	merging  *merge
	fence    *fence

	channel *schemas.Channel
}

// held is an object that the builder has a copy of.
type held struct {
	object schemas.Object
	body   []byte
}

// merge joins segments beside the main loop. What it makes is named by nothing before it lands.
type merge struct {
	inputs []held
	output held
	err    error
	done   chan struct{}
}

// fence is a collection that waits for a generation with all that was under way when its objects had been found.
type fence struct {
	job       *merge
	published chan struct{}
}

func (b *builder) life(ctx context.Context) error {
	b.channel = nil
	for {
		err := b.session(ctx)
		if !errors.Is(err, schemas.ErrFenced) && !errors.Is(err, schemas.ErrTransient) {
			return err
		}
		if err := b.store.rest(ctx); err != nil {
			return err
		}
	}
}

func (b *builder) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer b.beside.Wait()
	defer cancel()
	if err := b.load(ctx); err != nil {
		return err
	}
	fences := make(chan *fence, 1)
	if b.collects {
		b.beside.Go(func() { b.collect(lane(ctx, 2), fences) })
	}
	for {
		if err := b.round(ctx); err != nil {
			return err
		}
		b.startMerge(ctx)
		if err := b.store.rest(ctx); err != nil {
			return err
		}
		if b.fence == nil {
			select {
			case b.fence = <-fences:
				b.fence.job = b.merging
				if b.world.broken == collectorForgetsJobs {
					b.fence.job = nil
				}
			default:
			}
		}
		if err := b.land(); err != nil {
			return err
		}
	}
}

// round folds, publishes and promotes.
func (b *builder) round(ctx context.Context) error {
	if err := b.fold(ctx); err != nil {
		return err
	}
	fenced := b.fence != nil && b.manifest != nil && (b.fence.job == nil || b.fence.job != b.merging)
	if b.changed || fenced {
		if err := b.publish(ctx); err != nil {
			return err
		}
	}
	if fenced {
		close(b.fence.published)
		b.fence = nil
	}
	return b.promote(ctx)
}

// load begins with the newest generation. Its objects may be collected meanwhile, if there is a newer one by now.
func (b *builder) load(ctx context.Context) error {
	b.manifest, b.next, b.segments, b.stones, b.changed, b.merging, b.fence = nil, map[string]int64{}, nil, nil, false, nil, nil
	m, err := b.log.Latest(ctx, 0)
	if err != nil || m == nil {
		return err
	}
	for _, s := range m.Segments {
		body, err := b.fetch(ctx, s.Object)
		if err != nil {
			return b.overtaken(ctx, m.Generation, err)
		}
		b.segments = append(b.segments, held{s.Object, body})
	}
	for _, o := range m.Tombstones {
		body, err := b.fetch(ctx, o)
		if err != nil {
			return b.overtaken(ctx, m.Generation, err)
		}
		b.stones = append(b.stones, held{o, body})
	}
	b.manifest, b.next = m, maps.Clone(m.Checkpoint)
	return nil
}

// overtaken is err, unless something is missing and a newer generation explains it.
func (b *builder) overtaken(ctx context.Context, generation int64, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	newer, lookErr := b.log.Latest(ctx, 0)
	switch {
	case lookErr != nil:
		return lookErr
	case newer == nil || newer.Generation <= generation:
		return fmt.Errorf("generation %d is the newest, and %w", generation, err)
	}
	return fmt.Errorf("generation %d is there, %w: %w", newer.Generation, schemas.ErrFenced, err)
}

func (b *builder) generation() int64 {
	if b.manifest == nil {
		return 0
	}
	return b.manifest.Generation
}

// fold takes in commits that follow the checkpoint.
func (b *builder) fold(ctx context.Context) error {
	for p := range b.log.Spec().Topic.Partitions {
		partition := strconv.Itoa(p)
		limit := 1 + b.rng.IntN(6)
		if b.world.direct {
			limit = 0
		}
		found, err := b.log.Since(ctx, p, b.next[partition], limit)
		if err != nil {
			return err
		}
		if b.world.broken == builderSkipsCommits && len(found) > 1 {
			found = found[1:]
		}
		for _, c := range found {
			for _, into := range []struct {
				object *schemas.Object
				parts  *[]held
			}{{c.Segment, &b.segments}, {c.Tombstones, &b.stones}} {
				if into.object == nil {
					continue
				}
				body, err := b.fetch(ctx, *into.object)
				if err != nil {
					return b.overtaken(ctx, b.generation(), err)
				}
				*into.parts = append(*into.parts, held{*into.object, body})
			}
			b.next[partition], b.changed = c.End, true
		}
	}
	return nil
}

func (b *builder) publish(ctx context.Context) error {
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: b.unique(), Created: b.now(), Checkpoint: maps.Clone(b.next)}
	if b.manifest != nil {
		m.Generation, m.Parent, m.Dead = b.manifest.Generation+1, b.manifest.Generation, b.manifest.Dead
	}
	if b.rarely(3) {
		o, err := b.log.PutDead(ctx, fmt.Appendf(nil, "%s %s\n", bitmap, m.Builder))
		if err != nil {
			return err
		}
		m.Dead = &o
	}
	if len(b.stones) > 2 {
		body := join(b.stones)
		o, err := b.log.PutMergedTombstones(ctx, body)
		if err != nil {
			return err
		}
		b.stones = []held{{o, body}}
	}
	for _, s := range b.segments {
		m.Segments = append(m.Segments, schemas.Segment{ID: s.object.SHA256, Object: s.object, NumRows: 1})
	}
	for _, s := range b.stones {
		m.Tombstones = append(m.Tombstones, s.object)
	}
	err := b.log.Publish(ctx, m)
	for errors.Is(err, schemas.ErrTransient) && b.rarely(2) {
		err = b.log.Publish(ctx, m)
	}
	if b.world.broken == builderInsists && errors.Is(err, schemas.ErrFenced) {
		if there, lookErr := b.log.Latest(ctx, 0); lookErr == nil && there != nil {
			m.Generation, m.Parent = there.Generation+1, 0
			err = b.log.Publish(ctx, m)
		}
	}
	if err != nil {
		return err
	}
	if there := b.world.truth.manifests[m.Generation-1]; there.Builder != m.Builder {
		b.world.fail("%s was told that generation %d is its own, and it is of %s", b.name, m.Generation, there.Builder)
	}
	b.manifest, b.changed = m, false
	return nil
}

func join(parts []held) (body []byte) {
	for _, p := range parts {
		body = append(body, p.body...)
	}
	return body
}

func (b *builder) promote(ctx context.Context) error {
	after := int64(0)
	if b.channel != nil {
		after = b.channel.Sequence
	}
	newer, err := b.log.Channel(ctx, after)
	if err != nil {
		return err
	}
	if newer != nil {
		err := b.log.Confirm(ctx, newer)
		if errors.Is(err, store.ErrNotFound) {
			return nil // it was taken back
		}
		if err != nil {
			return err
		}
		b.channel = newer
	}
	m := b.manifest
	if m == nil || b.channel != nil && (b.channel.HoldsBuilders() || b.channel.Generation >= m.Generation) {
		return nil
	}
	for {
		made, err := b.log.Promote(ctx, b.channel, schemas.Channel{Generation: m.Generation, Reason: "built", By: b.name})
		switch {
		case errors.Is(err, schemas.ErrFenced) && b.world.broken == builderIgnoresPins:
			if b.channel, err = b.log.Channel(ctx, 0); err != nil {
				return err
			}
			continue
		case errors.Is(err, schemas.ErrFenced):
			return nil
		case err != nil:
			return b.overtaken(ctx, m.Generation, err)
		}
		b.channel = made
		return b.confirm(made)
	}
}

// confirm: what Promote returned is in the channel.
func (a *actor) confirm(c *schemas.Channel) error {
	promotions := a.world.truth.promotions
	if c.Sequence > int64(len(promotions)) || promotions[c.Sequence-1].Generation != c.Generation || promotions[c.Sequence-1].Pinned != c.Pinned {
		a.world.fail("%s was told that it made promotion %d of generation %d", a.name, c.Sequence, c.Generation)
	}
	return nil
}

// startMerge begins to join segments, if there are some.
func (b *builder) startMerge(ctx context.Context) {
	if b.merging != nil || b.manifest == nil || len(b.segments) < 2 || b.rarely(2) || b.world.direct {
		return
	}
	j := &merge{inputs: slices.Clone(b.segments[:2+b.rng.IntN(len(b.segments)-1)]), done: make(chan struct{})}
	b.merging = j
	b.beside.Go(func() {
		defer close(j.done)
		j.output.body = join(j.inputs)
		if j.output.object, j.err = b.log.PutCompacted(lane(ctx, 1), j.output.body); j.err == nil {
			j.err = b.store.rest(lane(ctx, 1)) // it measures what it has made
		}
	})
}

// land takes in a merge that has ended.
func (b *builder) land() error {
	j := b.merging
	if j == nil {
		return nil
	}
	select {
	case <-j.done:
	default:
		return nil
	}
	b.merging = nil
	if j.err != nil {
		return j.err
	}
	b.segments = append(slices.DeleteFunc(b.segments, func(s held) bool {
		return slices.ContainsFunc(j.inputs, func(in held) bool { return in.object == s.object })
	}), j.output)
	b.changed = true
	return nil
}

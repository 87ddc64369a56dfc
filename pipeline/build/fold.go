package build

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

const (
	foldLimit = 256 // commits of all partitions in one round, but at least foldEach: bounds how much a generation adds
	foldEach  = 16  // commits of one partition in one round, at least

	loadsEvery   = 10 * time.Second // between two looks at the partitions of loads
	loadingEvery = time.Second      // of those that a load is in, unless they are behind

	foldFetches = 8 // partitions asked, and segments fetched, at a time
)

// fold takes in commits that follow the checkpoint, and says whether some partition may have more.
func (b *Builder) fold(ctx context.Context) (behind bool, err error) {
	partitions := b.due()
	each := max(foldEach, foldLimit/len(partitions))
	found := make([][]*schemas.Commit, len(partitions))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(foldFetches)
	for i, p := range partitions {
		next := b.heads[p].next
		g.Go(func() (err error) {
			found[i], err = b.o.Log.Since(gctx, p, next, each)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, fmt.Errorf("follow commits: %w", err)
	}
	var commits []*schemas.Commit
	for _, of := range found {
		commits = append(commits, of...)
	}
	for i, p := range partitions {
		if len(found[i]) < each {
			continue
		}
		if behind = true; b.o.Log.Spec().IsLoad(p) {
			b.lookedLoading = time.Time{} // it is looked at again at once
		}
	}
	opened, err := b.openCommits(ctx, commits)
	if err != nil {
		return false, err
	}
	rows := 0
	for _, o := range opened {
		if o.part != nil {
			rows += o.part.N
		}
	}
	if err := b.ledger.reserve(rows); err != nil {
		release(opened)
		return false, fmt.Errorf("make room for %d rows: %w", rows, err)
	}
	for i, c := range commits {
		b.take(c, opened[i])
	}
	return behind, nil
}

// due are the partitions to be looked at. Each look is a request that is paid for, there may be many partitions of loads, and most of
// them are at rest.
func (b *Builder) due() []int {
	spec, now := b.o.Log.Spec(), time.Now()
	switch {
	case spec.Loads == 0:
		return b.o.Log.Partitions()
	case now.Sub(b.looked) >= loadsEvery:
		b.looked, b.lookedLoading = now, now
		return b.o.Log.Partitions()
	}
	due := spec.TopicPartitionsOf(b.o.Log.Shard())
	if now.Sub(b.lookedLoading) >= loadingEvery {
		b.lookedLoading = now
		due = slices.AppendSeq(due, maps.Keys(b.loading))
	}
	return due
}

// commitData is what a commit names, opened.
type commitData struct {
	part   *heldPart // nil without upserts
	stones []segment.Tombstone
}

func (b *Builder) openCommits(ctx context.Context, commits []*schemas.Commit) ([]commitData, error) {
	opened := make([]commitData, len(commits))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(foldFetches)
	for i, c := range commits {
		g.Go(func() (err error) {
			if c.Segment != nil {
				s := schemas.Segment{ID: c.Segment.SHA256, Object: *c.Segment, NumRows: c.Rows, Model: c.Model}
				if opened[i].part, err = b.openSegment(gctx, s); err != nil {
					return err
				}
				if p := opened[i].part; p.N != c.Rows || p.Model != c.Model {
					return fmt.Errorf("%w: %s: %d rows of model %q, its commit says %d of %q", schemas.ErrCorrupt, s.Key, p.N, p.Model, c.Rows, c.Model)
				}
			}
			if c.Tombstones != nil {
				opened[i].stones, err = b.deletes(gctx, *c.Tombstones, fmt.Sprintf("commit of offsets [%d, %d) of partition %d", c.Start, c.End, c.Partition))
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		release(opened)
		return nil, err
	}
	return opened, nil
}

func release(opened []commitData) {
	for _, o := range opened {
		if o.part != nil {
			o.part.Release()
		}
	}
}

// take folds one commit. It cannot fail: everything was opened and checked before, and room made for it, so a round is folded
// whole.
func (b *Builder) take(c *schemas.Commit, data commitData) {
	if data.part != nil {
		b.parts = append(b.parts, data.part)
		b.lookAt(data.part)
		b.ledger.add(data.part)
		if b.modelRef != nil && data.part.Model == b.modelRef.ID {
			addLengths(b.lengths, data.part)
		}
		for row := range data.part.N {
			b.ledger.upsert(data.part, uint32(row))
		}
	}
	for _, t := range data.stones {
		b.ledger.remove(t)
	}
	if c.Tombstones != nil {
		b.buried = append(b.buried, *c.Tombstones)
	}
	head := b.heads[c.Partition]
	head.next, head.watermark, head.produced = c.End, c.Watermark, max(head.produced, c.Produced)
	if c.Load == nil { // a load says nothing of how far the topic is
		head.active, head.behind = true, !c.AtEnd
	} else if c.Load.Done {
		delete(b.loading, c.Partition)
	} else {
		b.loading[c.Partition] = true
	}
	b.heads[c.Partition] = head
	b.changed = true
	if b.o.Tracer != nil {
		b.causes.Add(c.Trace)
	}
	b.metrics.rows.Add(float64(c.Rows))
	b.metrics.deletes.Add(float64(c.Deletes))
	if c.Gap {
		b.metrics.gaps.Inc()
	}
}

func checkpoint(heads map[int]chainHead) map[string]int64 {
	m := make(map[string]int64, len(heads))
	for p, h := range heads {
		m[strconv.Itoa(p)] = h.next
	}
	return m
}

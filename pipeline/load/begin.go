package load

import (
	"context"
	"fmt"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/follow"
	"github.com/adastream/adastream/schemas"
)

// begin finds where each chain of the part goes on. Chains that are done have no place in shards.
func (l *loader) begin(ctx context.Context) error {
	begun := time.Now()
	var all []*shard
	for n, log := range l.Shards {
		s := &shard{loader: l, log: log, partition: l.spec.LoadPartition(l.Part, n), logger: l.Logger}
		if len(l.Shards) > 1 {
			s.logger = l.Logger.With("shard", n)
		}
		s.follower = follow.New(log, s.logger)
		// Segments of the first cuts should be assigned already, if there is a model.
		if err := l.insist(ctx, func() error { return s.follower.Follow(ctx) }); err != nil {
			return err
		}
		head, err := l.head(ctx, s, s.partition)
		if err != nil {
			return err
		}
		s.head = head
		all = append(all, s)
	}
	known, err := l.known(ctx, all)
	if err != nil {
		return err
	}
	stamp := begun.UnixMilli()
	switch {
	case !l.Timestamp.IsZero():
		stamp = l.Timestamp.UnixMilli()
	case known != nil:
		stamp = known.Timestamp
	}
	of := schemas.Load{Name: l.Name, Parts: l.Parts, Input: l.Input, Timestamp: stamp}
	if known != nil {
		if err := same(known, of); err != nil {
			return err
		}
	}
	for _, s := range all {
		done, err := s.begin(ctx, of)
		if err != nil {
			return err
		}
		if !done {
			l.shards = append(l.shards, s)
		}
	}
	if known == nil { // nor could another part see this one, if it began in the same moment
		if err := l.alone(ctx, all, of); err != nil {
			return err
		}
	}
	l.report.Already, l.report.Timestamp = len(l.shards) == 0, time.UnixMilli(stamp).UTC()
	return nil
}

func (l *loader) head(ctx context.Context, s *shard, partition int) (head commit.Head, err error) {
	err = l.insist(ctx, func() (err error) {
		head, err = s.log.Head(ctx, partition, s.follower.Checkpoint(partition))
		return err
	})
	return head, err
}

// known is the load as it was begun, whichever part and shard that was in; nil if it was not yet.
func (l *loader) known(ctx context.Context, shards []*shard) (*schemas.Load, error) {
	for _, s := range shards {
		if load := s.load(); load != nil && load.Name == l.Name {
			return load, nil
		}
	}
	return l.other(ctx, shards, func(*schemas.Load) bool { return true })
}

// other is the load of this name in another part that is wanted, nil for none.
func (l *loader) other(ctx context.Context, shards []*shard, wanted func(*schemas.Load) bool) (*schemas.Load, error) {
	for part := range l.Parts {
		for _, s := range shards {
			if part == l.Part {
				continue
			}
			head, err := l.head(ctx, s, l.spec.LoadPartition(part, s.log.Shard()))
			if err != nil {
				return nil, err
			}
			if head.Last != nil && head.Last.Load != nil && head.Last.Load.Name == l.Name && wanted(head.Last.Load) {
				return head.Last.Load, nil
			}
		}
	}
	return nil, nil
}

// alone fails if another part has begun meanwhile that is of other files, or of another number of parts. Its timestamp is its own.
func (l *loader) alone(ctx context.Context, shards []*shard, of schemas.Load) error {
	differs := func(other *schemas.Load) bool { return other.Parts != of.Parts || other.Input != of.Input }
	other, err := l.other(ctx, shards, differs)
	if err != nil || other == nil {
		return err
	}
	return same(other, of)
}

// same fails if a load that was begun is not this one: parts that do not agree about the files would leave some out.
func same(begun *schemas.Load, of schemas.Load) error {
	if begun.Parts == of.Parts && begun.Input == of.Input && begun.Timestamp == of.Timestamp {
		return nil
	}
	return fmt.Errorf("it was begun with %s, now there are %s: a load goes on with the same files, parts and timestamp, another load has another name", describe(begun), describe(&of))
}

// load is that of the end of the chain, nil for none.
func (s *shard) load() *schemas.Load {
	if s.head.Last == nil {
		return nil
	}
	return s.head.Last.Load
}

// begin makes the chain one of a load, unless it is, or says that it was done.
func (s *shard) begin(ctx context.Context, of schemas.Load) (done bool, err error) {
	before := s.load()
	if before != nil && before.Name != of.Name && !before.Done {
		if !s.Abandon {
			return false, fmt.Errorf("load %q of this part is not done: run it again until it is, or end it where it is with --abandon", before.Name)
		}
		given := *before
		given.Done = true
		if err := s.mark(ctx, &given); err != nil {
			return false, err
		}
		s.logger.Warn("abandoned an unfinished load", "load", before.Name, "partition", s.partition, "offset", s.head.Next)
	}
	if before != nil && before.Name == of.Name {
		if err := same(before, of); err != nil || before.Done {
			return err == nil, err
		}
		of.Base = before.Base
		s.of, s.start = of, s.head.Next
		s.logger.Info("going on with a load", "partition", s.partition, "row", s.next())
		return false, nil
	}
	of.Base = s.head.Next
	if err := s.mark(ctx, &of); err != nil {
		return false, err
	}
	s.of, s.start = of, s.head.Next
	return false, nil
}

func describe(l *schemas.Load) string {
	return fmt.Sprintf("%d parts, timestamp %s, files %.12s", l.Parts, time.UnixMilli(l.Timestamp).UTC().Format(time.RFC3339Nano), l.Input)
}

// mark appends a record without rows, of one offset.
func (s *shard) mark(ctx context.Context, of *schemas.Load) error {
	record := s.record(s.head.Next, s.head.Next+1, of)
	if err := s.append(ctx, record); err != nil {
		return err
	}
	s.head = commit.Head{Next: record.End, Watermark: record.Watermark, Last: record}
	return nil
}

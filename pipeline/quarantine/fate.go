package quarantine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/schemas"
)

// ErrUnsettled: some of what was sent is in no commit yet.
var ErrUnsettled = errors.New("not all that was sent is committed")

const (
	lookEvery = 100 * time.Millisecond // pause between two looks at the chains
	lookers   = 8                      // partitions that are looked at at a time
)

// Fate is what became of messages that were sent to the topic of an index, as its commits tell. The topic is not read again: a
// commit says up to which offset all was taken or refused, and its quarantine what was refused.
//
// It keeps an offset and a count for each message. Other messages of the topic do not count.
type Fate struct {
	shards []*commit.Log
	chains []*chain // by partition
}

// chain is the messages that were sent to a partition, and how far its commits have been followed.
type chain struct {
	mu   sync.Mutex
	sent []sent // ascending

	next    int64 // a position: all before it is settled
	settled int   // of sent, those before next
	outcome Outcome
}

type sent struct{ offset, rows int64 }

// Outcome is what became of rows.
type Outcome struct {
	Sent, Taken, Refused, Lost int64     // Lost: an operator has accepted that retention was faster than the ingestors
	Reasons                    []Refused // the most frequent first
}

// Unsettled is how many rows are in no commit yet.
func (o *Outcome) Unsettled() int64 { return o.Sent - o.Taken - o.Refused - o.Lost }

// Refused is the rows that were refused for one reason.
type Refused struct {
	Rows  int64
	First ingest.Quarantined // without its payload
}

// NewFate begins where the chains of an index, of which it gets all shards, end now: before anything is sent.
func NewFate(ctx context.Context, shards []*commit.Log) (*Fate, error) {
	spec := shards[0].Spec()
	f := &Fate{shards: shards, chains: make([]*chain, spec.Topic.Partitions)}
	folded := make([]*schemas.Manifest, len(shards))
	for i, index := range shards {
		var err error
		if folded[i], err = index.LatestRecord(ctx, 0); err != nil {
			return nil, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	for p := range f.chains {
		g.Go(func() error {
			shard, hint := spec.ShardOf(p), int64(0)
			if m := folded[shard]; m != nil {
				hint = commit.CheckpointOf(m, p)
			}
			head, err := shards[shard].Head(ctx, p, hint)
			f.chains[p] = &chain{next: head.Next}
			return err
		})
	}
	return f, g.Wait()
}

// Sent notes a message that the broker has, of a partition in the order of offsets. It may be called concurrently.
func (f *Fate) Sent(partition int, offset, rows int64) {
	c := f.chains[partition]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, sent{offset, rows})
	c.outcome.Sent += rows
}

// Outcome is what is known by now.
func (f *Fate) Outcome() Outcome {
	var all Outcome
	reasons := map[string]Refused{}
	for _, c := range f.chains {
		c.mu.Lock()
		o := c.outcome
		c.mu.Unlock()
		all.Sent, all.Taken, all.Refused, all.Lost = all.Sent+o.Sent, all.Taken+o.Taken, all.Refused+o.Refused, all.Lost+o.Lost
		for _, r := range o.Reasons {
			if known, ok := reasons[r.First.Reason]; ok {
				r.First = known.First
			}
			r.Rows += reasons[r.First.Reason].Rows
			reasons[r.First.Reason] = r
		}
	}
	all.Reasons = slices.SortedFunc(maps.Values(reasons), func(a, b Refused) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), strings.Compare(a.First.Reason, b.First.Reason))
	})
	return all
}

// Await looks at the commits until they have settled all that was sent, and tells what is known each time that it is more. When
// nothing has been settled for as long as patience the error wraps ErrUnsettled, and says how far which partition is, and why it could
// not be looked at if that was so. All messages must have been noted.
func (f *Fate) Await(ctx context.Context, patience time.Duration, tell func(Outcome)) error {
	known, since := int64(-1), time.Now()
	var away error // why the last look failed; one that is cut off says nothing
	for {
		bounded, cancel := context.WithDeadline(ctx, since.Add(patience))
		err := f.look(bounded)
		cancel()
		o := f.Outcome()
		if now := o.Sent - o.Unsettled(); now > known {
			known, since = now, time.Now()
			tell(o)
		}
		cut := errors.Is(err, context.DeadlineExceeded)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && o.Unsettled() == 0:
			return nil
		case err != nil && !cut && !errors.Is(err, schemas.ErrTransient):
			return err
		case !cut:
			away = err
		}
		if time.Since(since) >= patience {
			err = fmt.Errorf("%w: %s, for %v", ErrUnsettled, f.behind(), patience)
			if away != nil {
				err = fmt.Errorf("%w: %w", err, away)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(lookEvery, patience)):
		}
	}
}

// behind is how far the first partition is that waits.
func (f *Fate) behind() string {
	for p, c := range f.chains {
		if n := len(c.sent); c.settled < n {
			return fmt.Sprintf("partition %d is committed up to offset %d of %d", p, c.next, c.sent[n-1].offset+1)
		}
	}
	return "no partition waits"
}

// look follows the chains of partitions in which something waits.
func (f *Fate) look(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	for p, c := range f.chains {
		if c.settled == len(c.sent) {
			continue
		}
		g.Go(func() error { return c.follow(ctx, f.shards[f.shards[0].Spec().ShardOf(p)], p) })
	}
	return g.Wait()
}

// follow reads the commits from where it has come to.
func (c *chain) follow(ctx context.Context, index *commit.Log, partition int) error {
	found, err := index.Since(ctx, partition, c.next, 0)
	if errors.Is(err, schemas.ErrFenced) {
		return c.collected(ctx, index, partition)
	}
	for _, record := range found {
		if err := c.settle(ctx, index, record); err != nil {
			return err
		}
	}
	return err
}

// collected goes on over commits that were folded and collected meanwhile: those that refused something, or tell of a gap, are still
// there.
func (c *chain) collected(ctx context.Context, index *commit.Log, partition int) error {
	for record, err := range index.Commits(ctx, partition) {
		if err != nil {
			return err
		}
		if record.Start < c.next {
			continue
		}
		if err := c.settle(ctx, index, record); err != nil {
			return err
		}
	}
	return nil
}

// settle takes in what a commit tells of the messages up to its end. Those before its start are of commits that refused nothing.
func (c *chain) settle(ctx context.Context, index *commit.Log, record *schemas.Commit) error {
	before := c.settled + c.until(record.Start)
	after := c.settled + c.until(record.End)
	within := c.sent[before:after]
	o, own := c.outcome, rowsOf(within)
	o.Taken += rowsOf(c.sent[c.settled:before])
	switch {
	case record.Gap:
		o.Lost += own
	case record.Quarantine != nil && len(within) > 0:
		reasons, err := refusedOf(ctx, index, record, within)
		if err != nil {
			return err
		}
		refused := int64(0)
		o.Reasons = slices.Clone(o.Reasons)
		for _, r := range reasons {
			refused += r.Rows
			o.add(r)
		}
		o.Refused, o.Taken = o.Refused+refused, o.Taken+own-refused
	default:
		o.Taken += own
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcome, c.settled, c.next = o, after, record.End
	return nil
}

// until is how many of the messages that wait are before an offset.
func (c *chain) until(offset int64) int {
	n, _ := slices.BinarySearchFunc(c.sent[c.settled:], offset, func(s sent, offset int64) int { return cmp.Compare(s.offset, offset) })
	return n
}

func rowsOf(messages []sent) (n int64) {
	for _, m := range messages {
		n += m.rows
	}
	return n
}

func (o *Outcome) add(r Refused) {
	for i := range o.Reasons {
		if o.Reasons[i].First.Reason == r.First.Reason {
			o.Reasons[i].Rows += r.Rows
			return
		}
	}
	o.Reasons = append(o.Reasons, r)
}

// refusedOf is what a commit refused of some messages, by reason.
func refusedOf(ctx context.Context, index *commit.Log, record *schemas.Commit, of []sent) ([]Refused, error) {
	all, err := read(ctx, index, record)
	if err != nil {
		return nil, err
	}
	var o Outcome
	for _, q := range all {
		i, ours := slices.BinarySearchFunc(of, q.Offset, func(s sent, offset int64) int { return cmp.Compare(s.offset, offset) })
		if !ours {
			continue
		}
		r := Refused{Rows: 1, First: q}
		if q.Row == ingest.WholeMessage {
			r.Rows = of[i].rows
		}
		r.First.Payload = nil
		r.First.Topic, r.First.Reason, r.First.Detail = strings.Clone(q.Topic), strings.Clone(q.Reason), strings.Clone(q.Detail) // of a file
		o.add(r)
	}
	return o.Reasons, nil
}

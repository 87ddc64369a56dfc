package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// segmentBody stands for the rows of a range: it names each offset.
func segmentBody(start, end int64) []byte {
	var b bytes.Buffer
	for offset := start; offset < end; offset++ {
		fmt.Fprintf(&b, "%d\n", offset)
	}
	return b.Bytes()
}

// owner is an ingestor that believes the partition is its own.
type owner struct {
	name   string
	bucket store.Bucket
	rng    *rand.Rand
	total  int64 // where the log ends

	written      int
	acknowledged []string // writer ids of records that Append said are there
	conflicts    int
}

// run copies the log, with crashes, until all of it is in the chain.
func (o *owner) run(ctx context.Context) error {
	for {
		done, err := o.life(ctx)
		if done || err != nil {
			return err
		}
	}
}

// life is one process from its start to its crash, or to the end of the log.
func (o *owner) life(ctx context.Context) (done bool, err error) {
	var l *Log
	var head Head
	if err := again(func() (err error) { l, err = Open(ctx, o.bucket); return err }); err != nil {
		return false, err
	}
	if err := again(func() (err error) { head, err = l.Head(ctx, 0, 0); return err }); err != nil {
		return false, err
	}
	for head.Next < o.total {
		c, err := o.record(ctx, l, head)
		if err != nil {
			return false, err
		}
		if o.rng.IntN(20) == 0 {
			return false, nil // crashed before the commit
		}
		appendIt := again
		if o.rng.IntN(20) == 0 {
			appendIt = func(do func() error) error { return do() } // crashes if the answer is lost
		}
		err = appendIt(func() error { return l.Append(ctx, c) })
		var conflict *Conflict
		switch {
		case errors.As(err, &conflict):
			o.conflicts++
			c = conflict.Theirs
		case errors.Is(err, schemas.ErrTransient):
			return false, nil
		case err != nil:
			return false, err
		default:
			o.acknowledged = append(o.acknowledged, c.Writer)
		}
		head = Head{Next: c.End, Watermark: c.Watermark}
	}
	return true, nil
}

func (o *owner) record(ctx context.Context, l *Log, head Head) (*schemas.Commit, error) {
	end := min(o.total, head.Next+1+o.rng.Int64N(9))
	var object schemas.Object
	if err := again(func() (err error) {
		object, err = l.PutSegment(ctx, 0, head.Next, segmentBody(head.Next, end))
		return err
	}); err != nil {
		return nil, err
	}
	o.written++
	produced := 1000 + end - o.rng.Int64N(20) // timestamps that go back at times
	return &schemas.Commit{
		Format: schemas.CommitFormat, Start: head.Next, End: end, Segment: &object, Rows: int(end - head.Next),
		Produced: produced, Watermark: max(head.Watermark, produced), Writer: fmt.Sprintf("%s-%d", o.name, o.written), Created: day,
	}, nil
}

// TestRacingOwners: whatever three owners of one partition, lost answers, failed puts, lagging listings and crashes do,
// each offset of the log is in the chain exactly once, in order, with its own data.
func TestRacingOwners(t *testing.T) {
	for name, open := range stores {
		rounds, total := 8, int64(600)
		if name != "memory" {
			rounds, total = 1, 150 // it flushes each object to the disk
		}
		t.Run(name, func(t *testing.T) {
			conflicts, lost := 0, 0
			for round := range rounds {
				c, l := raceOwners(t, open(t), uint64(round), total)
				conflicts, lost = conflicts+c, lost+l
			}
			if conflicts == 0 || lost == 0 {
				t.Errorf("%d conflicts and %d lost answers: nothing was tested", conflicts, lost)
			}
		})
	}
}

func raceOwners(t *testing.T, b store.Bucket, seed uint64, total int64) (conflicts, lost int) {
	openLog(t, b)
	net := newFaulty(b, seed)
	owners := make([]*owner, 3)
	var running sync.WaitGroup
	for i := range owners {
		owners[i] = &owner{name: fmt.Sprintf("owner-%d", i), bucket: net, rng: rand.New(rand.NewPCG(seed, uint64(i)+1)), total: total}
		running.Go(func() {
			if err := owners[i].run(t.Context()); err != nil {
				t.Errorf("%s: %v", owners[i].name, err)
			}
		})
	}
	running.Wait()

	l := openLog(t, b)
	chain, err := l.Since(t.Context(), 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	writers := map[string]bool{}
	for _, c := range chain {
		body, err := b.Get(t.Context(), c.Segment.Key)
		if err != nil {
			t.Fatal(err)
		}
		if checksum(body) != c.Segment.SHA256 || int64(len(body)) != c.Segment.Size {
			t.Errorf("%s is not what its commit says", c.Segment.Key)
		}
		log.Write(body)
		writers[c.Writer] = true
	}
	if want := segmentBody(0, total); !bytes.Equal(log.Bytes(), want) {
		t.Errorf("seed %d: the segments of the chain are not the log: %s", seed, ranges(chain))
	}
	if keys := listKeys(t, b, "commits/"); len(keys) != len(chain) {
		t.Errorf("seed %d: %d records of which %d are in the chain", seed, len(keys), len(chain))
	}
	for _, o := range owners {
		for _, writer := range o.acknowledged {
			if !writers[writer] {
				t.Errorf("seed %d: record %s was acknowledged and is not in the chain", seed, writer)
			}
		}
		conflicts += o.conflicts
	}
	return conflicts, net.seen["lost"]
}

// TestAppendRaceHasOneWinner: of owners that write the same range at the same moment, one wins and the others learn who.
func TestAppendRaceHasOneWinner(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			openLog(t, b)
			const n = 8
			raced := gate(b, "commits/", n)
			errs := make([]error, n)
			var running sync.WaitGroup
			for i := range n {
				l := openLog(t, raced)
				running.Go(func() {
					c := plain(0, int64(10+i), 0)
					errs[i] = l.Append(t.Context(), c)
				})
			}
			running.Wait()
			head, err := openLog(t, b).Head(t.Context(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			wins := 0
			for i, err := range errs {
				var conflict *Conflict
				switch {
				case err == nil:
					wins++
					if head.Last.Writer != plain(0, int64(10+i), 0).Writer {
						t.Errorf("owner %d was told it won, but %s did", i, head.Last.Writer)
					}
				case !errors.As(err, &conflict) || conflict.Theirs.Writer != head.Last.Writer:
					t.Errorf("owner %d: %v, want a conflict with %s", i, err, head.Last.Writer)
				}
			}
			if wins != 1 {
				t.Errorf("%d winners", wins)
			}
		})
	}
}

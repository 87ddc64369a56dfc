package quarantine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// fateTest is an index of two shards, of which the test is the ingestor and the builder.
type fateTest struct {
	*testing.T
	shards []*commit.Log
	down   *atomic.Bool // the store
}

// away is a store that is, for as long as down says so.
type away struct {
	store.Bucket
	down *atomic.Bool
}

func (a away) Get(ctx context.Context, key string) ([]byte, error) {
	if a.down.Load() {
		return nil, fmt.Errorf("get %s: no route to host: %w", key, store.ErrTransient)
	}
	return a.Bucket.Get(ctx, key)
}

func newFateTest(t *testing.T) *fateTest {
	t.Helper()
	f := &fateTest{T: t, down: &atomic.Bool{}}
	spec := schemas.Spec{Name: "docs", Ladder: []int{4}, Encoder: "mini", Shards: 2, Topic: schemas.Topic{Name: "docs", Partitions: 4}}.WithDefaults()
	b := away{store.NewMemory(), f.down}
	err := commit.Create(t.Context(), b, &spec)
	if err == nil {
		f.shards, err = commit.OpenShards(t.Context(), b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fateTest) begin() *Fate {
	f.Helper()
	fate, err := NewFate(f.Context(), f.shards)
	if err != nil {
		f.Fatal(err)
	}
	return fate
}

// commit adds a commit to a partition, up to end, which refuses some of it, or is a gap.
func (f *fateTest) commit(partition int, end int64, gap bool, refused ...ingest.Quarantined) {
	f.Helper()
	index := f.shards[partition%2]
	head, err := index.Head(f.Context(), partition, 0)
	if err != nil {
		f.Fatal(err)
	}
	c := &schemas.Commit{Format: schemas.CommitFormat, Partition: partition, Start: head.Next, End: end, Gap: gap, Writer: fmt.Sprint(partition, end)}
	if len(refused) > 0 {
		body, err := ingest.WriteQuarantine(refused)
		if err != nil {
			f.Fatal(err)
		}
		o, err := index.PutQuarantine(f.Context(), partition, c.Start, body)
		if err != nil {
			f.Fatal(err)
		}
		c.Quarantine, c.Quarantined = &o, map[string]int{schemas.ReasonDims: len(refused)}
	}
	if err := index.Append(f.Context(), c); err != nil {
		f.Fatal(err)
	}
}

// collect has a builder fold all of a shard, and garbage be collected.
func (f *fateTest) collect(shard int) {
	f.Helper()
	index := f.shards[shard]
	for generation := int64(1); generation <= 2; generation++ {
		m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: generation, Parent: generation - 1, Builder: "b", Created: time.Now().UTC(), Checkpoint: map[string]int64{}}
		for _, p := range index.Partitions() {
			head, err := index.Head(f.Context(), p, 0)
			if err != nil {
				f.Fatal(err)
			}
			m.Checkpoint[fmt.Sprint(p)] = head.Next
		}
		if err := index.Publish(f.Context(), m); err != nil {
			f.Fatal(err)
		}
	}
	found, err := index.Find(f.Context())
	if err == nil {
		err = index.Fence(f.Context())
	}
	if err == nil {
		_, err = index.Collect(f.Context(), commit.CollectOptions{Found: found, By: "test"})
	}
	if err != nil {
		f.Fatal(err)
	}
}

func refusal(partition int32, offset int64, row int32, reason string) ingest.Quarantined {
	return ingest.Quarantined{Topic: "docs", Partition: partition, Offset: offset, Row: row, Fault: schemas.Fault{Reason: reason, Detail: fmt.Sprint("because of ", row)}, Payload: []byte("x")}
}

func (f *fateTest) wants(fate *Fate, want string) {
	f.Helper()
	o := fate.Outcome()
	got := fmt.Sprintf("%d taken, %d lost, %d wait", o.Taken, o.Lost, o.Unsettled())
	for _, r := range o.Reasons {
		got += fmt.Sprintf("; %d %s as %d/%d/%d %s", r.Rows, r.First.Reason, r.First.Partition, r.First.Offset, r.First.Row, r.First.Detail)
	}
	if got != want {
		f.Errorf("%s, want %s", got, want)
	}
}

// What was refused of other producers, and before, does not count; a message that was refused whole counts with all of its rows.
func TestFateIsOfWhatWasSent(t *testing.T) {
	f := newFateTest(t)
	f.commit(1, 5, false, refusal(1, 4, 0, schemas.ReasonDims))
	fate := f.begin()
	for offset := int64(5); offset < 20; offset += 5 { // what is between is of others
		fate.Sent(1, offset, 10)
	}
	fate.Sent(2, 0, 7)
	f.commit(1, 8, false, refusal(1, 5, 3, schemas.ReasonZero), refusal(1, 5, 9, schemas.ReasonZero), refusal(1, 6, 0, schemas.ReasonZero), refusal(1, 7, ingest.WholeMessage, schemas.ReasonEncoder))
	f.commit(1, 12, false, refusal(1, 10, ingest.WholeMessage, schemas.ReasonEncoder), refusal(1, 11, 0, schemas.ReasonOp))
	f.commit(2, 1, true)
	err := fate.Await(t.Context(), 50*time.Millisecond, func(Outcome) {})
	if !errors.Is(err, ErrUnsettled) || !strings.Contains(err.Error(), "partition 1 is committed up to offset 12 of 16, for 50ms") {
		t.Error(err)
	}
	f.wants(fate, "8 taken, 7 lost, 10 wait; 10 encoder as 1/10/-1 because of -1; 2 zero_vector as 1/5/3 because of 3")
	f.commit(1, 16, false)
	if err := fate.Await(t.Context(), time.Minute, func(Outcome) {}); err != nil {
		t.Error(err)
	}
	f.wants(fate, "18 taken, 7 lost, 0 wait; 10 encoder as 1/10/-1 because of -1; 2 zero_vector as 1/5/3 because of 3")
}

// Commits that were folded and collected before anybody looked: those that refused something are still there.
func TestFateOfWhatWasCollected(t *testing.T) {
	f := newFateTest(t)
	fate := f.begin()
	for offset := range int64(40) {
		fate.Sent(0, offset, 1)
	}
	f.commit(0, 10, false)
	f.commit(0, 20, false, refusal(0, 13, 0, schemas.ReasonDims))
	f.commit(0, 30, false)
	f.collect(0)
	f.commit(0, 40, false, refusal(0, 39, 0, schemas.ReasonDims))
	if _, err := f.shards[0].Since(t.Context(), 0, 0, 0); !errors.Is(err, schemas.ErrFenced) {
		t.Fatalf("nothing was collected: %v", err)
	}
	if err := fate.Await(t.Context(), time.Minute, func(Outcome) {}); err != nil {
		t.Error(err)
	}
	f.wants(fate, "38 taken, 0 lost, 0 wait; 2 dims as 0/13/0 because of 0")
}

// Patience is with what stands still: each commit of what is waited for begins it anew, and those of others do not.
func TestFatePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFateTest(t)
		fate := f.begin()
		for p := range 4 {
			fate.Sent(p, 0, 1)
		}
		told := 0
		var others sync.WaitGroup
		others.Go(func() {
			for p := range 3 {
				time.Sleep(50 * time.Second)
				f.commit(p, 1, false)
			}
			for end := int64(2); end < 10; end++ {
				time.Sleep(10 * time.Second)
				f.commit(0, end, false)
			}
		})
		began := time.Now()
		err := fate.Await(t.Context(), time.Minute, func(Outcome) { told++ })
		if took := time.Since(began).Round(time.Second); took != 210*time.Second || told != 4 {
			t.Errorf("gave up after %v, told %d times", took, told)
		}
		if !errors.Is(err, ErrUnsettled) || !strings.Contains(err.Error(), "partition 3 is committed up to offset 0 of 1") {
			t.Error(err)
		}
		f.wants(fate, "3 taken, 0 lost, 1 wait")
		others.Wait()
	})
}

// A store that is away is waited for, and named where patience ends; what is wrong with a record is told at once.
func TestFateOfAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFateTest(t)
		fate := f.begin()
		fate.Sent(3, 0, 1)
		f.commit(3, 1, false, refusal(3, 0, 0, schemas.ReasonDims))
		f.down.Store(true)
		if err := fate.Await(t.Context(), time.Minute, func(Outcome) {}); !errors.Is(err, ErrUnsettled) || !strings.Contains(err.Error(), "no route to host") {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := fate.Await(ctx, time.Minute, func(Outcome) {}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnsettled) {
			t.Errorf("its own end: %v", err)
		}
		var back sync.WaitGroup
		back.Go(func() {
			time.Sleep(30 * time.Second)
			f.down.Store(false)
		})
		if err := fate.Await(t.Context(), time.Minute, func(Outcome) {}); err != nil {
			t.Error(err)
		}
		back.Wait()
		f.wants(fate, "0 taken, 0 lost, 0 wait; 1 dims as 3/0/0 because of 0")

		fate = f.begin()
		fate.Sent(3, 1, 1)
		if err := f.shards[1].Bucket().PutIfAbsent(t.Context(), "commits/000003/00000000000000000001", []byte("rubbish")); err != nil {
			t.Fatal(err)
		}
		if err := fate.Await(t.Context(), time.Minute, func(Outcome) {}); !errors.Is(err, schemas.ErrCorrupt) {
			t.Error(err)
		}
	})
}

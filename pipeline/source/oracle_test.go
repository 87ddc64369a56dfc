package source_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/source"
)

// Whatever a log looks like, and whatever fits into an answer, reading from any
// offset yields exactly the records from there on that are visible, and ends at
// the last stable offset.
func TestFetchMatchesOracle(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 1))
		l, visible := randomLog(r, 5+r.IntN(30))
		end := readableEnd(l)
		for _, size := range []int{1, 1 + r.IntN(2000), 1 << 20} {
			c := startFakeLog(t, l, source.Options{MaxBytes: size})
			for range 4 {
				from := r.Int64N(l.lso + 1)
				want := visible
				for len(want) > 0 && want[0].Offset < from {
					want = want[1:]
				}
				var got []source.Record
				at := from
				for at < end {
					b, err := c.Fetch(testContext(t), 0, at, blink)
					if err != nil {
						t.Fatal(err)
					}
					if b.Next <= at {
						t.Fatalf("seed %d size %d: stuck at %d of %d", seed, size, at, end)
					}
					got, at = append(got, b.Records...), b.Next
				}
				if !equalRecords(got, want) {
					t.Errorf("seed %d size %d from %d: got %s, want %s", seed, size, from, show(got), show(want))
				}
			}
		}
	}
}

// readableEnd is where a reader can get to: behind the last batch below the last
// stable offset. Whatever was compacted away whole behind it cannot be seen.
func readableEnd(l *fakeLog) int64 {
	var end int64
	for _, b := range l.batches {
		if b.base < l.lso {
			end = b.last + 1
		}
	}
	return end
}

// Compaction may empty the last batch of a log but keeps it for its producer's
// sequence number. The library hides how far it reaches, so a reader that goes
// by records is stuck before it for ever.
func TestFetchPassesEmptiedLastBatch(t *testing.T) {
	l := &fakeLog{corrupt: -1, lso: 1000, hw: 1000, batches: []fakeBatch{
		{base: 0, last: 9, offsets: []int64{0, 3}, producer: -1},
		{base: 10, last: 999, producer: 7},
	}}
	c := startFakeLog(t, l, source.Options{})
	b, err := c.Fetch(testContext(t), 0, 4, patience)
	if err != nil || b.Next != 11 || len(b.Records) != 0 {
		t.Fatalf("at 4: %+v, %v", b, err)
	}
	before := l.count()
	b, err = c.Fetch(testContext(t), 0, b.Next, patience)
	if err != nil || b.Next != 1000 || len(b.Records) != 0 {
		t.Fatalf("at 11: %+v, %v", b, err)
	}
	if n := l.count() - before; n > 2 {
		t.Errorf("took %d requests, want 2", n)
	}
}

// An emptied batch before one that does not fit: only the first comes, whole.
func TestFetchPassesEmptiedBatchBeforeLargeOne(t *testing.T) {
	l := &fakeLog{corrupt: -1, lso: 502, hw: 502, batches: []fakeBatch{
		{base: 0, last: 499, producer: 7},
		{base: 500, last: 501, offsets: []int64{500, 501}, producer: -1},
	}}
	c := startFakeLog(t, l, source.Options{MaxBytes: 70})
	b, err := c.Fetch(testContext(t), 0, 100, patience)
	if err != nil || b.Next != 500 || len(b.Records) != 0 {
		t.Fatalf("at 100: %+v, %v", b, err)
	}
	if n := l.count(); n > 25 {
		t.Errorf("took %d requests", n)
	}
}

// A broker that answers early with nothing must not make the caller's loop spin.
func TestFetchPacesEarlyAnswers(t *testing.T) {
	l := &fakeLog{corrupt: -1}
	c := startFakeLog(t, l, source.Options{})
	const wait = 200 * time.Millisecond
	start := time.Now()
	b, err := c.Fetch(testContext(t), 0, 0, wait)
	if err != nil || b.Next != 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	if d := time.Since(start); d < wait {
		t.Errorf("came back after %s, asked to wait %s", d, wait)
	}
	if n := l.count(); n > 12 {
		t.Errorf("%d requests within %s", n, wait)
	}
}

// A broker that keeps even the first batch back when it is larger than asked.
func TestFetchWidensWhenNothingComes(t *testing.T) {
	l := &fakeLog{corrupt: -1, lso: 1, hw: 1, stingy: 1000, batches: []fakeBatch{
		{base: 0, last: 0, offsets: []int64{0}, producer: -1},
	}}
	c := startFakeLog(t, l, source.Options{MaxBytes: 300})
	b, err := c.Fetch(testContext(t), 0, 0, patience)
	if err != nil || b.Next != 1 || len(b.Records) != 1 {
		t.Errorf("%+v, %v", b, err)
	}
}

// The library stops at a batch with a wrong checksum and says nothing when it
// has read another before. Nothing may be lost by that: the batch is asked for
// again, comes first, and is an error then.
func TestFetchNeverSkipsCorruptBatch(t *testing.T) {
	l := &fakeLog{corrupt: 1, lso: 3, hw: 3, batches: []fakeBatch{
		{base: 0, last: 0, offsets: []int64{0}, producer: -1},
		{base: 1, last: 1, offsets: []int64{1}, producer: -1},
		{base: 2, last: 2, offsets: []int64{2}, producer: -1},
	}}
	c := startFakeLog(t, l, source.Options{})
	b, err := c.Fetch(testContext(t), 0, 0, patience)
	if err != nil || b.Next != 1 || len(b.Records) != 1 {
		t.Fatalf("first: %+v, %v", b, err)
	}
	_, err = c.Fetch(testContext(t), 0, 1, patience)
	if err == nil || errors.Is(err, source.ErrTransient) {
		t.Errorf("second: got %v", err)
	}
}

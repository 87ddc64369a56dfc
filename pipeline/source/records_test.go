package source

import (
	"testing"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

func TestAbortedFilter(t *testing.T) {
	batch := func(base, producer int64, a protocol.Attributes) *protocol.RecordBatch {
		return &protocol.RecordBatch{BaseOffset: base, ProducerID: producer, Attributes: a}
	}
	abort, commit := []byte{0, 0, 0, 0}, []byte{0, 0, 0, 1}
	// The broker may list transactions by where they end.
	f := newAbortedFilter([]fetch.ResponseTransaction{
		{ProducerID: 1, FirstOffset: 20}, {ProducerID: 1, FirstOffset: 5}, {ProducerID: 2, FirstOffset: 6},
	})
	for _, step := range []struct {
		b    *protocol.RecordBatch
		want bool
	}{
		{batch(4, 1, protocol.Transactional), false}, // not begun
		{batch(5, 1, protocol.Transactional), true},
		{batch(6, 2, protocol.Transactional), true},
		{batch(7, 3, protocol.Transactional), false}, // another producer
		{batch(8, 1, 0), false},                      // outside transactions
		{batch(9, -1, 0), false},
	} {
		if got := f.drops(step.b); got != step.want {
			t.Errorf("batch at %d of %d: drops %t", step.b.BaseOffset, step.b.ProducerID, got)
		}
	}
	f.marker(1, 10, abort)
	f.marker(3, 11, commit)
	if f.drops(batch(12, 1, protocol.Transactional)) || !f.drops(batch(13, 2, protocol.Transactional)) {
		t.Error("abort marker did not end its own transaction alone")
	}
	if !f.drops(batch(20, 1, protocol.Transactional)) {
		t.Error("second transaction of a producer passes")
	}
}

func TestAligned(t *testing.T) {
	for _, n := range []int{0, 1, 7, 63, 64, 65, 1000, 4097, 40_000, 1 << 20} {
		for range 20 {
			p := aligned(n)
			if len(p) != n || n > 0 && misalignment(p) != 0 {
				t.Fatalf("%d bytes: got %d, off by %d", n, len(p), misalignment(p))
			}
		}
	}
}

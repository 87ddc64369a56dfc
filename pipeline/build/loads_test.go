package build

import (
	"slices"
	"testing"
	"time"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Looks at partitions of loads are requests that are paid for: they are seldom, but of those that a load is in.
func TestLoads_areLookedAtSeldom(t *testing.T) {
	spec := schemas.Spec{Name: "n", Ladder: []int{4}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 2}, Loads: 2}.WithDefaults()
	bucket := store.NewMemory()
	if err := commit.Create(t.Context(), bucket, &spec); err != nil {
		t.Fatal(err)
	}
	log, err := commit.Open(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	b := &Builder{o: Options{Log: log}, heads: map[int]chainHead{}, loading: map[int]bool{}, metrics: newMetrics(nil, &health{})}
	all, topic, busy := []int{0, 1, 2, 3}, []int{0, 1}, []int{0, 1, 3}
	second := func() {
		b.looked, b.lookedLoading = b.looked.Add(-loadingEvery), b.lookedLoading.Add(-loadingEvery)
	}
	fold := func(done bool) {
		b.take(&schemas.Commit{Partition: 3, Load: &schemas.Load{Done: done}}, commitData{})
	}
	for i, step := range []struct {
		before func()
		want   []int
	}{
		{func() {}, all},
		{func() {}, topic},
		{second, topic},
		{func() { fold(false) }, topic},
		{second, busy},
		{func() {}, topic},
		{func() { b.lookedLoading = time.Time{} }, busy},
		{func() { fold(true); second() }, topic},
		{func() { b.looked = b.looked.Add(-loadsEvery) }, all},
		{func() {}, topic},
	} {
		step.before()
		if got := b.due(); !slices.Equal(got, step.want) {
			t.Errorf("look %d is at %v, want %v", i, got, step.want)
		}
	}
}

// An id that was loaded and is produced later did not move: that would be a fault of a producer.
func TestLoads_areNoMoves(t *testing.T) {
	l := &ledger{loads: 4}
	for _, c := range []struct {
		from, to int32
		moved    int64
	}{{0, 0, 0}, {4, 0, 0}, {0, 5, 0}, {4, 5, 0}, {0, 3, 1}} {
		l.moved = 0
		if l.noteMove(segment.Order{Partition: c.from}, segment.Order{Partition: c.to}); l.moved != c.moved {
			t.Errorf("from partition %d to %d: %d moves, want %d", c.from, c.to, l.moved, c.moved)
		}
	}
	l.loads, l.moved = 0, 0
	if l.noteMove(segment.Order{Partition: 4}, segment.Order{Partition: 5}); l.moved != 1 {
		t.Errorf("without loads: %d moves, want 1", l.moved)
	}
}

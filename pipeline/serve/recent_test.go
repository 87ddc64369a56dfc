package serve

import (
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// Generations that bring rows and nothing else are one line, what else happened has its own.
func TestRecentSwaps(t *testing.T) {
	var r recent
	segments := func(ids ...string) (s []schemas.Segment) {
		for _, id := range ids {
			s = append(s, schemas.Segment{ID: id})
		}
		return s
	}
	at := func(generation, rows int64, s []schemas.Segment, by string) {
		r.add(Swap{Generation: generation, LiveRows: rows, Record: &schemas.Channel{By: by}, Took: time.Duration(10-generation) * time.Millisecond, NewParts: 1},
			&schemas.Manifest{Generation: generation, LiveRows: rows, Segments: s})
	}
	at(3, 10, segments("a"), "b")
	at(4, 15, segments("a", "b"), "b")
	at(5, 12, segments("a", "b", "c"), "b")
	at(7, 14, segments("abc", "d"), "b")
	at(5, 12, segments("a", "b", "c"), "ann@ops")
	r.add(Swap{Generation: 1, Epoch: "e", LiveRows: 2, Record: &schemas.Channel{By: "b"}}, &schemas.Manifest{Generation: 1, LiveRows: 2})
	want := []Swap{
		{First: 1, Generation: 1, Swaps: 1, Kind: KindEpoch, Epoch: "e", Rows: 2},
		{First: 5, Generation: 5, Swaps: 1, Kind: KindBack, Rows: -2, NewParts: 1, Took: 5 * time.Millisecond},
		{First: 4, Generation: 7, Swaps: 3, Kind: commit.KindDelta, Compactions: 1, Rows: 4, NewParts: 3, Took: 6 * time.Millisecond},
		{First: 3, Generation: 3, Swaps: 1, Kind: KindStart, Rows: 10, NewParts: 1, Took: 7 * time.Millisecond},
	}
	got := r.list()
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d: %+v", len(got), len(want), got)
	}
	for i := range want {
		got[i].Record, got[i].LiveRows = nil, 0
		if got[i] != want[i] {
			t.Errorf("line %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	for g := range int64(3 * recentSwaps) {
		at(10-g%2, 1, nil, "b") // back and on again
	}
	if n := len(r.list()); n != recentSwaps {
		t.Errorf("%d lines are kept, want %d", n, recentSwaps)
	}
}

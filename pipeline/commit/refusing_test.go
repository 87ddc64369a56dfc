package commit

import (
	"fmt"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// The newest commits that refused something are found without reading the others, and objects of writers that lost do not count.
func TestRefusing(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, open(t))
			put := func(start int64) *schemas.Object {
				o, err := l.PutQuarantine(t.Context(), 0, start, []byte("refused"))
				if err != nil {
					t.Fatal(err)
				}
				return &o
			}
			var want []int64
			next := int64(0)
			for i := range int64(40) {
				c := plain(next, next+100*(i+1), 0)
				if i%4 == 1 {
					c.Quarantine, c.Quarantined = put(next), map[string]int{"malformed": 1}
					want = append([]int64{next}, want...)
				}
				if i%5 == 0 {
					put(next) // a writer that lost
				}
				mustAppend(t, l, c)
				next = c.End
			}
			put(next) // nothing names it yet
			for _, most := range []int{1, 3, len(want), len(want) + 5} {
				var got []int64
				found, err := l.Refusing(t.Context(), 0, next/2, most)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range found {
					got = append(got, c.Start)
				}
				if fmt.Sprint(got) != fmt.Sprint(want[:min(most, len(want))]) {
					t.Errorf("at most %d: %v, want %v", most, got, want[:min(most, len(want))])
				}
			}
			for _, near := range []int64{0, 1, want[2], next} {
				if found, err := l.Refusing(t.Context(), 0, near, 2); err != nil || len(found) != 2 || found[0].Start != want[0] {
					t.Errorf("near %d: %v, %v", near, found, err)
				}
			}
			if found, err := l.Refusing(t.Context(), 1, 0, 2); err != nil || len(found) != 0 {
				t.Errorf("of an empty chain: %v, %v", found, err)
			}
			if _, err := l.Refusing(t.Context(), 9, 0, 2); err == nil {
				t.Error("of partition 9 of 4")
			}
		})
	}
}

// Generations are told from collections and the newest one, without a listing.
func TestKept(t *testing.T) {
	l := openLog(t, store.NewMemory())
	want := func(before int64, most int, want ...int64) {
		t.Helper()
		got, err := l.Kept(t.Context(), before, most)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("before %d, at most %d: %v, %v, want %v", before, most, got, err, want)
		}
	}
	want(1, 5)
	want(4, 5, 3, 2, 1)
	want(4, 2, 3, 2)
	c := &schemas.Collection{Format: schemas.CollectionFormat, Number: 1, Generation: 7, Kept: []int64{2, 5, 7}, Before: map[string]int64{}, By: "b", Created: day}
	if err := put(t.Context(), l.bucket, numbered(collectionsPrefix, 1), c); err != nil {
		t.Fatal(err)
	}
	want(10, 9, 9, 8, 7, 5, 2)
	want(10, 3, 9, 8, 7)
	want(7, 9, 5, 2)
	want(8, 9, 7, 5, 2)
}

package commit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// laid is a list and its pages, as they are from generation to generation.
type laid struct {
	testing.TB
	most   int
	list   []int
	leaves []leaf[int]
	rest   []int
	next   int // part that there never was
}

func (l *laid) fresh(n int) (parts []int) {
	for range n {
		l.next++
		parts = append(parts, l.next)
	}
	return parts
}

// lay lays out the list, and returns how many parts were written into pages.
func (l *laid) lay() (written int) {
	l.Helper()
	before := map[*page]bool{}
	for _, f := range l.leaves {
		before[f.page] = true
	}
	l.leaves, l.rest = layOut(l.list, l.leaves, l.most)
	var all []int
	for i, f := range l.leaves {
		if n := len(f.parts); n > l.most || n < leastOf(l.most) {
			l.Fatalf("a page of %d parts, allowed: %d to %d", n, leastOf(l.most), l.most)
		}
		if f.page == nil {
			written += len(f.parts)
			l.leaves[i] = leaf[int]{new(page), slices.Clone(f.parts)}
		} else if !before[f.page] {
			l.Fatal("a page from nowhere")
		}
		all = append(all, f.parts...)
	}
	if len(l.rest) >= leastOf(l.most) {
		l.Fatalf("%d parts in line, allowed: less than %d", len(l.rest), leastOf(l.most))
	}
	if all = append(all, l.rest...); !slices.Equal(all, l.list) {
		l.Fatalf("%v are laid out as %v", l.list, all)
	}
	l.list = slices.Clone(l.list) // it is changed in place, and leaves are not
	return written
}

// Whatever is changed, the parts are those of the list, and what is written are those that came, and of pages only those at the
// place of the change, one beside it, and the last one.
func TestLayOutOfRandomChanges(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			l := &laid{TB: t, most: []int{1, 2, 4, 9, 16}[rng.IntN(5)]}
			for range 100 {
				at := rng.IntN(len(l.list) + 1)
				removed := rng.IntN(min(len(l.list)-at, 3*l.most) + 1)
				came := l.fresh(rng.IntN(3) * rng.IntN(3*l.most))
				if rng.IntN(30) == 0 {
					at, removed = 0, len(l.list)
				}
				l.list = slices.Concat(l.list[:at], came, l.list[at+removed:])
				if written := l.lay(); written > len(came)+4*l.most {
					t.Fatalf("%d parts written, for %d that came; pages have %d", written, len(came), l.most)
				}
				if again := l.lay(); again > 0 {
					t.Fatalf("%d parts written, and nothing changed", again)
				}
			}
		})
	}
}

// Many small changes at once are each their own.
func TestLayOutOfManyChanges(t *testing.T) {
	l := &laid{TB: t, most: 64}
	l.list = l.fresh(64_000)
	if written := l.lay(); written != 64_000 || len(l.leaves) != 1000 {
		t.Fatalf("%d parts written, %d pages", written, len(l.leaves))
	}
	for at := 0; at < len(l.list); at += 16_000 {
		l.list[at] = l.fresh(1)[0]
	}
	if written := l.lay(); written != 4*64 {
		t.Errorf("%d parts written for 4 that changed", written)
	}
	l.list = slices.Delete(l.list, 100, 101)
	if written := l.lay(); written != 63 {
		t.Errorf("%d parts written for one that went", written)
	}
	l.list = slices.Insert(l.list, 127, l.fresh(1)...) // between two pages
	if written := l.lay(); written != 65 {
		t.Errorf("%d parts written for one between two pages", written)
	}
}

// A list that grows by one part each time is written four times, in full pages.
func TestLayOutGrows(t *testing.T) {
	l := &laid{TB: t, most: 64}
	written := 0
	for range 6400 {
		l.list = append(l.list, l.fresh(1)...)
		written += l.lay()
	}
	if written > 4*6400 || len(l.leaves) != 100 {
		t.Errorf("%d parts written for 6400, in %d pages", written, len(l.leaves))
	}
}

package search

import (
	"cmp"
	"math"
	"strings"

	"github.com/adastream/adastream/index/segment"
)

// Hit is a row of a snapshot and its score.
type Hit struct {
	Part  int // index into the snapshot's parts
	Row   int // row of the part
	Score float32
}

// Top keeps the k best of the hits that are pushed: the highest scores and, of equal ones, the lowest ids. What is kept
// does not depend on the order of pushing. The zero value is ready for [Top.Reset]. It is not safe for concurrent use.
//
// It is a binary heap with the worst hit at the root, written out because container/heap would box every hit.
type Top struct {
	parts []*segment.Part
	k     int
	hits  []Hit
}

// Reset empties t to keep the k best hits of rows of parts. It keeps the memory.
func (t *Top) Reset(parts []*segment.Part, k int) {
	t.parts, t.k, t.hits = parts, k, t.hits[:0]
}

// Len is the number of hits that are kept, at most k.
func (t *Top) Len() int { return len(t.hits) }

// Floor is the score below which pushing is pointless: that of the worst hit, -Inf while there are fewer than k.
func (t *Top) Floor() float32 {
	if len(t.hits) < t.k {
		return float32(math.Inf(-1))
	}
	return t.hits[0].Score
}

// Push offers a hit.
func (t *Top) Push(h Hit) {
	if len(t.hits) < t.k {
		t.hits = append(t.hits, h)
		t.up(len(t.hits) - 1)
	} else if t.compare(h, t.hits[0]) < 0 {
		t.hits[0] = h
		t.down(0, len(t.hits))
	}
}

// Sort returns the hits that were kept, best first. They are valid until the next [Top.Reset], and nothing may be
// pushed before it.
func (t *Top) Sort() []Hit {
	for end := len(t.hits) - 1; end > 0; end-- {
		t.hits[0], t.hits[end] = t.hits[end], t.hits[0]
		t.down(0, end)
	}
	return t.hits
}

// compare is negative if a is better than b. Ids are looked up for equal scores only, which are rare.
func (t *Top) compare(a, b Hit) int {
	switch {
	case a.Score > b.Score:
		return -1
	case a.Score < b.Score:
		return 1
	}
	return cmp.Or(
		strings.Compare(t.parts[a.Part].IDAt(a.Row), t.parts[b.Part].IDAt(b.Row)),
		cmp.Compare(a.Part, b.Part),
		cmp.Compare(a.Row, b.Row),
	)
}

func (t *Top) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if t.compare(t.hits[i], t.hits[parent]) <= 0 {
			return
		}
		t.hits[i], t.hits[parent] = t.hits[parent], t.hits[i]
		i = parent
	}
}

func (t *Top) down(i, end int) {
	for {
		worst := 2*i + 1
		if worst >= end {
			return
		}
		if right := worst + 1; right < end && t.compare(t.hits[right], t.hits[worst]) > 0 {
			worst = right
		}
		if t.compare(t.hits[worst], t.hits[i]) <= 0 {
			return
		}
		t.hits[i], t.hits[worst] = t.hits[worst], t.hits[i]
		i = worst
	}
}

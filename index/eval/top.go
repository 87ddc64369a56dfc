package eval

import (
	"math"
	"slices"
)

// scored is a row or a list with its score.
type scored struct {
	score float32
	item  int32
}

// best keeps the k items of the highest scores, of equal ones those that came first. The zero value is ready for reset.
//
// It is a binary heap with the worst item at the root. A later item of equal score never pushes out an earlier one.
type best struct {
	k     int
	items []scored
}

func (b *best) reset(k int) { b.k, b.items = k, b.items[:0] }

// floor is the score that an item has to exceed.
func (b *best) floor() float32 {
	if len(b.items) < b.k {
		return float32(math.Inf(-1))
	}
	return b.items[0].score
}

func (b *best) push(score float32, item int32) {
	if len(b.items) < b.k {
		b.items = append(b.items, scored{score, item})
		for i := len(b.items) - 1; i > 0; {
			parent := (i - 1) / 2
			if !worse(b.items[i], b.items[parent]) {
				break
			}
			b.items[i], b.items[parent] = b.items[parent], b.items[i]
			i = parent
		}
		return
	}
	if score <= b.items[0].score {
		return
	}
	b.items[0] = scored{score, item}
	for i := 0; ; {
		child := 2*i + 1
		if child >= b.k {
			return
		}
		if child+1 < b.k && worse(b.items[child+1], b.items[child]) {
			child++
		}
		if !worse(b.items[child], b.items[i]) {
			return
		}
		b.items[i], b.items[child] = b.items[child], b.items[i]
		i = child
	}
}

// worse puts later items of equal score below: items come by ascending number wherever ties matter.
func worse(a, b scored) bool {
	return a.score < b.score || a.score == b.score && a.item > b.item
}

// sorted returns the items, best first. They are valid until the next reset, before which nothing may be pushed.
func (b *best) sorted() []scored {
	slices.SortFunc(b.items, func(x, y scored) int {
		switch {
		case worse(y, x):
			return -1
		case worse(x, y):
			return 1
		}
		return 0
	})
	return b.items
}

// pushAll offers consecutive items from first on.
func (b *best) pushAll(scores []float32, first int) {
	floor := b.floor()
	for i, s := range scores {
		if s > floor || len(b.items) < b.k {
			b.push(s, int32(first+i))
			floor = b.floor()
		}
	}
}

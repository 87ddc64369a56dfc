package opq

import (
	"fmt"

	"github.com/adastream/adastream/index/mrl"
)

// Limits of a quantiser.
const (
	Bits      = 4         // of a code
	Codewords = 1 << Bits // of a sub-quantiser
	MaxSubs   = 256       // sub-quantisers: as many as a scan can sum in 16 bits
	maxBlock  = 256       // dimensions that are rotated together
)

// block is the dimensions [start, end) that are rotated together, and its sub-quantisers [first, last).
type block struct {
	start, end  int
	first, last int
}

func (b block) width() int { return b.end - b.start }

// layout says which dimensions are rotated together and which sub-quantiser codes which of the rotated ones. It
// follows from the ladder and the number of sub-quantisers alone, so it is not stored.
type layout struct {
	blocks []block
	// Sub-quantiser s codes the rotated dimensions [bounds[s].start, bounds[s].end).
	bounds []span
}

type span struct{ start, end int }

func (s span) width() int { return s.end - s.start }

// DefaultSubs is the number of sub-quantisers of 4 dimensions that cover dim, or MaxSubs when that is less.
func DefaultSubs(dim int) int { return max(1, min(dim/4, MaxSubs)) }

// newLayout cuts each level of the ladder - what it adds to the level below - into blocks of equal width, give or take
// 4 dimensions, and at most maxBlock: the cost of eigenvectors grows with the cube of the width. The m sub-quantisers
// go to the blocks by their width, at least one to each if m suffices, the remainders to the largest fractions.
func newLayout(ladder mrl.Ladder, m int) (*layout, error) {
	if len(ladder) == 0 {
		return nil, fmt.Errorf("opq: the ladder is empty, allowed: ascending widths")
	}
	for i, w := range ladder {
		if w <= ladder.Start(i) {
			return nil, fmt.Errorf("opq: ladder %s, allowed: ascending widths", ladder)
		}
	}
	dim := ladder.Dim()
	if m < 1 || m > min(dim, MaxSubs) {
		return nil, fmt.Errorf("opq: %d sub-quantisers of %d dimensions, allowed: 1 to %d", m, dim, min(dim, MaxSubs))
	}
	l := &layout{}
	for i, end := range ladder {
		start := ladder.Start(i)
		pieces := (end - start + maxBlock - 1) / maxBlock
		for p := range pieces {
			l.blocks = append(l.blocks, block{
				start: start + cut(end-start, p, pieces),
				end:   start + cut(end-start, p+1, pieces),
			})
		}
	}
	first := 0
	for i, n := range apportion(l.blocks, m) {
		b := &l.blocks[i]
		b.first, b.last = first, first+n
		for s := range n {
			l.bounds = append(l.bounds, span{b.start + b.width()*s/n, b.start + b.width()*(s+1)/n})
		}
		first = b.last
	}
	return l, nil
}

// cut returns where piece p of width begins: at a multiple of 4, but for the end.
func cut(width, p, pieces int) int {
	if p == pieces {
		return width
	}
	return width / 4 * p / pieces * 4
}

// apportion divides m among the blocks by the method of largest remainders. No block gets more than its width.
func apportion(blocks []block, m int) []int {
	dim := blocks[len(blocks)-1].end
	subs := make([]int, len(blocks))
	least := 0
	if m >= len(blocks) {
		least = 1
	}
	left := m
	for i, b := range blocks {
		subs[i] = max(least, m*b.width()/dim)
		left -= subs[i]
	}
	for ; left != 0; left -= sign(left) {
		at := -1
		var most int
		for i, b := range blocks {
			lack := sign(left) * (m*b.width() - subs[i]*dim) // how much the block's share is off, in 1/dim
			full := left > 0 && subs[i] == b.width() || left < 0 && subs[i] == least
			if !full && (at < 0 || lack > most) {
				at, most = i, lack
			}
		}
		subs[at] += sign(left)
	}
	return subs
}

func sign(v int) int {
	if v < 0 {
		return -1
	}
	return 1
}

// subs returns the number of sub-quantisers whose dimensions all lie in the first d.
func (l *layout) subs(d int) int {
	n := 0
	for _, b := range l.blocks {
		if b.end <= d {
			n = b.last
		}
	}
	return n
}

// rotationLen is the number of values of all rotations.
func (l *layout) rotationLen() int {
	n := 0
	for _, b := range l.blocks {
		n += b.width() * b.width()
	}
	return n
}

// codebookLen is the number of values of all codebooks.
func (l *layout) codebookLen() int {
	n := 0
	for _, s := range l.bounds {
		n += Codewords * s.width()
	}
	return n
}

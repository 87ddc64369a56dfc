package opq

import (
	"errors"
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
// follows from the ladder and the number of sub-quantisers of each block.
type layout struct {
	blocks []block
	// Sub-quantiser s codes the rotated dimensions [bounds[s].start, bounds[s].end).
	bounds []span
}

type span struct{ start, end int }

func (s span) width() int { return s.end - s.start }

// DefaultSubs is the number of sub-quantisers of 4 dimensions that cover dim, or MaxSubs when that is less.
func DefaultSubs(dim int) int { return max(1, min(dim/4, MaxSubs)) }

// newBlocks cuts each level of the ladder - what it adds to the level below - into blocks of equal width, give or take
// 4 dimensions, and at most maxBlock: the cost of eigenvectors grows with the cube of the width.
func newBlocks(ladder mrl.Ladder) ([]block, error) {
	if len(ladder) == 0 {
		return nil, errors.New("ladder: empty, allowed: ascending widths")
	}
	var blocks []block
	for i, end := range ladder {
		start := ladder.Start(i)
		if end <= start {
			return nil, fmt.Errorf("ladder: %s, allowed: ascending widths", ladder)
		}
		pieces := (end - start + maxBlock - 1) / maxBlock
		for p := range pieces {
			blocks = append(blocks, block{
				start: start + cut(end-start, p, pieces),
				end:   start + cut(end-start, p+1, pieces),
			})
		}
	}
	return blocks, nil
}

// newLayout gives subs[i] sub-quantisers to block i of the ladder, of equal width, give or take one dimension.
func newLayout(ladder mrl.Ladder, subs []int) (*layout, error) {
	blocks, err := newBlocks(ladder)
	if err != nil {
		return nil, err
	}
	if len(subs) != len(blocks) {
		return nil, fmt.Errorf("sub-quantisers of %d blocks, allowed: %d on ladder %s", len(subs), len(blocks), ladder)
	}
	l := &layout{blocks: blocks}
	for i := range blocks {
		b, n := &blocks[i], subs[i]
		if n < 0 || n > b.width() {
			return nil, fmt.Errorf("%d sub-quantisers of dimensions [%d, %d), allowed: 0 to %d", n, b.start, b.end, b.width())
		}
		b.first = len(l.bounds)
		for s := range n {
			l.bounds = append(l.bounds, span{b.start + b.width()*s/n, b.start + b.width()*(s+1)/n})
		}
		b.last = len(l.bounds)
	}
	if m := len(l.bounds); m < 1 || m > MaxSubs {
		return nil, fmt.Errorf("%d sub-quantisers, allowed: 1 to %d", m, MaxSubs)
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

package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// Recode makes the codes files of chunks anew by a model that has the lists and axes of theirs and other codes. The chunks, all with
// vectors, are one whole base, in order; rows and vectors files stay as they are. Each file is emitted with the place of
// its chunk by the thread that has made it, so by several at once and not in order, unless threads is one or 0, which is the same;
// the first error ends the work. At any time Recode holds codes of one chunk for each thread, twice.
func Recode(ctx context.Context, spec *schemas.Spec, mdl *model.Model, level avx.Level, chunks []*Part, threads int, emit func(i int, codes []byte) error) error {
	if mdl == nil {
		return errors.New("recode: no model")
	}
	derivers := make([]*deriver, max(1, threads))
	for i := range derivers {
		var err error
		if derivers[i], err = newDeriver(spec, mdl, level); err != nil {
			return fmt.Errorf("recode: %w", err)
		}
	}
	next := 0
	for _, p := range chunks {
		if !p.HasVectors() || p.Blocks == nil || p.dim != spec.Dim() || p.vectorT != spec.Vectors {
			return fmt.Errorf("recode: part %s: not a chunk of this index with vectors", p.ID)
		}
		if p.FirstRow != next || p.EndList > mdl.NList() {
			return fmt.Errorf("recode: chunk %s begins at row %d and has lists up to %d, allowed: at row %d, and below %d", p.ID, p.FirstRow, p.EndList, next, mdl.NList())
		}
		if p.Axes != mdl.Axes() {
			return fmt.Errorf("recode: chunk %s has rows by the axes %q, allowed: those of the model, %q", p.ID, p.Axes, mdl.Axes())
		}
		next += p.N
	}
	for _, p := range chunks {
		if p.BaseRows != next {
			return fmt.Errorf("recode: chunk %s is of a base of %d rows, allowed: all its chunks, here are %d rows", p.ID, p.BaseRows, next)
		}
	}
	return Share(ctx, derivers, len(chunks), func(ctx context.Context, d *deriver, i int) error {
		codes, err := d.recode(ctx, chunks, chunks[i])
		if err != nil {
			return fmt.Errorf("recode: chunk %s: %w", chunks[i].ID, err)
		}
		return emit(i, codes)
	})
}

// recode makes the codes file of one chunk of a base.
func (d *deriver) recode(ctx context.Context, base []*Part, p *Part) ([]byte, error) {
	t, width := &blockTable{}, d.codeBytes()
	lists := make([]int32, deriveBatch)
	var codes []byte
	for l := p.FirstList; l < p.EndList; l++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start, end := p.CodeRange(l)
		numbers := p.CodeRows[start:end]
		codes = slices.Grow(codes[:0], len(numbers)*width)[:len(numbers)*width]
		for i := range lists {
			lists[i] = int32(l)
		}
		for from := 0; from < len(numbers); from += deriveBatch {
			some := numbers[from:min(from+deriveBatch, len(numbers))]
			for i, number := range some {
				part, row := rowOf(base, int(number))
				if err := d.search(d.row(i), part.Stored(row)); err != nil {
					return nil, fmt.Errorf("id %q: %w: %w", part.IDAt(row), err, schemas.ErrCorrupt)
				}
			}
			d.mdl.Encode(d.level, d.vectors(len(some)), len(some), d.scratch, model.Coding{Lists: lists[:len(some)], Codes: codes[from*width:]})
		}
		t.add(l, numbers, codes, d.mdl.M())
	}
	return t.file(d.coder(), p.FirstRow, p.BaseRows)
}

// rowOf finds a base row.
func rowOf(base []*Part, number int) (*Part, int) {
	i, _ := slices.BinarySearchFunc(base, number, func(p *Part, number int) int {
		if p.FirstRow+p.N <= number {
			return -1
		}
		return 1
	})
	return base[i], number - base[i].FirstRow
}

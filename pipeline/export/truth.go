package export

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/schemas"
)

// numbers are those of the rows of a snapshot in an export.
type numbers struct {
	s     *snapshot.Snapshot
	first []int64 // of each part
}

func newNumbers(s *snapshot.Snapshot) *numbers {
	n := &numbers{s, make([]int64, len(s.Parts())+1)}
	for i, p := range s.Parts() {
		n.first[i+1] = n.first[i] + int64(p.N-s.Dead(i).Count(0, p.N))
	}
	return n
}

// of is the number of a live row.
func (n *numbers) of(part, row int) int64 {
	return n.first[part] + int64(row-n.s.Dead(part).Count(0, row))
}

// snapshot opens all of the generation at once.
func (e *export) snapshot(ctx context.Context) (s *snapshot.Snapshot, end func(), err error) {
	cache, remove, err := e.cache(0)
	if err != nil {
		return nil, nil, err
	}
	if s, err = replica.Snapshot(ctx, cache, e.index.Spec(), e.Level, e.m); err != nil {
		remove()
		return nil, nil, err
	}
	return s, func() { s.Close(); remove() }, nil
}

// truth writes for each query the numbers of the exported rows that are nearest, and their scores, by brute force over the originals.
func (e *export) truth(ctx context.Context) error {
	queries, n, err := e.queries()
	if err != nil {
		return fmt.Errorf("queries %s: %w", e.Queries, err)
	}
	s, end, err := e.snapshot(ctx)
	if err != nil {
		return err
	}
	defer end()
	number := newNumbers(s)
	beyond := func(_, part, row int) bool { return number.of(part, row) >= e.rows }
	if e.rows == e.m.LiveRows {
		beyond = nil
	}
	answers, err := exact.TopK(ctx, e.Level, e.Threads, s, queries, n, e.K, beyond)
	if err != nil {
		return fmt.Errorf("queries %s: %w", e.Queries, err)
	}
	rows, scores := make([]int64, 0, n*e.K), make([]float32, 0, n*e.K)
	for _, hits := range answers {
		for i := range e.K {
			if i >= len(hits) {
				rows, scores = append(rows, nothing), append(scores, lowest)
				continue
			}
			rows, scores = append(rows, number.of(hits[i].Part, hits[i].Row)), append(scores, hits[i].Score)
		}
	}
	return errors.Join(e.matrixOf("neighbours.npy", "<i8", n, e.K, rows), e.matrixOf("scores.npy", "<f4", n, e.K, scores))
}

// queries reads the file of them.
func (e *export) queries() (all []float32, n int, err error) {
	r, err := files.Open(e.Queries, files.Options{})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	width, err := r.Width()
	if err != nil {
		return nil, 0, err
	}
	if dim := e.index.Spec().Dim(); width != dim {
		return nil, 0, fmt.Errorf("vectors of %d values, allowed: %d", width, dim)
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		lists, ok := b.Column(b.Schema().FieldIndices(schemas.ColumnVector)[0]).(array.ListLike)
		if !ok {
			return nil, 0, errors.New("the column of vectors has no lists")
		}
		for i := range int(b.NumRows()) {
			start, end := lists.ValueOffsets(i)
			if lists.IsNull(i) || int(end-start) != width {
				return nil, 0, fmt.Errorf("query %d has %d values, allowed: %d", n, end-start, width)
			}
			for at := int(start); at < int(end); at++ {
				switch values := lists.ListValues().(type) {
				case *array.Float16:
					all = append(all, values.Value(at).Float32())
				case *array.Float32:
					all = append(all, values.Value(at))
				}
			}
			n++
		}
	}
	if n == 0 {
		return nil, 0, errors.New("there are none")
	}
	return all, n, nil
}

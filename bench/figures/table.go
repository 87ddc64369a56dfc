package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/schemas"
)

// table is a file's ids and vectors in memory, scaled to unit length.
type table struct {
	n, dim  int
	ids     []string
	vectors []float32
}

func (t *table) vector(i int) []float32 { return t.vectors[i*t.dim : (i+1)*t.dim] }

func readTable(name string) (*table, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := files.Arrow(f)
	if err != nil {
		return nil, err
	}
	t := &table{}
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		if err := t.append(batch); err != nil {
			return nil, err
		}
	}
}

func (t *table) append(batch arrow.RecordBatch) error {
	column := func(name string) arrow.Array {
		for i := range int(batch.NumCols()) {
			if batch.ColumnName(i) == name {
				return batch.Column(i)
			}
		}
		return nil
	}
	switch ids := column(schemas.ColumnID).(type) {
	case *array.String:
		for i := range ids.Len() {
			t.ids = append(t.ids, ids.Value(i))
		}
	case *array.Int64:
		for i := range ids.Len() {
			t.ids = append(t.ids, strconv.FormatInt(ids.Value(i), 10))
		}
	default:
		return fmt.Errorf("column %q: allowed here: utf8, int64", schemas.ColumnID)
	}
	list, ok := column(schemas.ColumnVector).(*array.FixedSizeList)
	if !ok {
		return fmt.Errorf("column %q: allowed here: fixed_size_list", schemas.ColumnVector)
	}
	t.dim = int(list.DataType().(*arrow.FixedSizeListType).Len())
	first := list.Offset() * t.dim
	switch values := list.ListValues().(type) {
	case *array.Float16:
		for _, h := range values.Values()[first : first+list.Len()*t.dim] {
			t.vectors = append(t.vectors, h.Float32())
		}
	case *array.Float32:
		t.vectors = append(t.vectors, values.Float32Values()[first:first+list.Len()*t.dim]...)
	default:
		return fmt.Errorf("column %q: allowed here: float16, float32", schemas.ColumnVector)
	}
	for ; t.n < len(t.ids); t.n++ {
		v, squares := t.vector(t.n), 0.0
		for _, x := range v {
			squares += float64(x) * float64(x)
		}
		for i := range v {
			v[i] /= float32(math.Sqrt(squares))
		}
	}
	return nil
}

// neighbours are the k rows of the highest inner product of each query, without the row that it is.
func (t *table) neighbours(ctx context.Context, queries []float32, self []int, k int) ([][]int, error) {
	level, err := avx.Best()
	if err != nil {
		return nil, err
	}
	truth := make([][]int, len(self))
	g, ctx := errgroup.WithContext(ctx)
	workers := runtime.NumCPU()
	for w := range workers {
		g.Go(func() error {
			scores := make([]float32, t.n)
			rows := make([]int, t.n)
			for q := w; q < len(self) && ctx.Err() == nil; q += workers {
				avx.DotRows(level, queries[q*t.dim:(q+1)*t.dim], t.vectors, t.dim, scores)
				truth[q] = best(scores, rows, self[q], k)
			}
			return ctx.Err()
		})
	}
	return truth, g.Wait()
}

// best is the k rows of the highest scores; rows is scratch.
func best(scores []float32, rows []int, self, k int) []int {
	top := rows[:0]
	floor := float32(math.Inf(-1))
	byScore := func(a, b int) int { return cmp.Or(cmp.Compare(scores[b], scores[a]), a-b) }
	for i, s := range scores {
		if i == self || len(top) >= k && s <= floor {
			continue
		}
		if top = append(top, i); len(top) >= 8*k {
			slices.SortFunc(top, byScore)
			top = top[:k]
			floor = scores[top[k-1]]
		}
	}
	slices.SortFunc(top, byScore)
	return slices.Clone(top[:min(k, len(top))])
}

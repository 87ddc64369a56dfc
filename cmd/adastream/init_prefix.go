package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"runtime"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/schemas"
)

// What is read of --from to see what prefixes are worth: enough for as many queries as a builder asks, and to be read and compared
// in a second or two at any width.
const (
	prefixLook   = 8 << 10 // first rows of the file
	prefixValues = 8 << 20 // of them at most
	prefixRows   = 2 << 10 // rows of these, evenly, that are compared; with fewer it is not refused
)

// checkPrefixes measures on the file of --from what the prefixes of a native index are worth, as each builder does when it has
// trained, and refuses what the builder would: its index is published and never served. Who says --prefix=native, and a file of too
// few rows to be sure of, is warned.
func (f *specFlags) checkPrefixes(ctx context.Context, spec *schemas.Spec, log *slog.Logger) error {
	if f.From == "" || spec.Rotates() || len(spec.Ladder) == 1 {
		return nil
	}
	level, err := cli.Level(log)
	if err != nil {
		return err
	}
	vectors, err := f.prefixSample(level, spec)
	if err != nil {
		return cli.Usage(fmt.Errorf("--from %s: %w", f.From, err))
	}
	n := len(vectors) / spec.Dim()
	found, err := model.NativePrefixes(ctx, level, runtime.GOMAXPROCS(0), spec, vectors, n)
	if err != nil {
		return err
	}
	if found == nil {
		return nil // too few rows tell nothing
	}
	fault := model.CheckPrefixes(found)
	switch {
	case fault == nil:
		log.Info("the encoder's prefixes are worth more than any dimensions", "rows", n, "recall", worth(found))
	case f.Prefix == "" && n == prefixRows:
		return cli.Usage(fmt.Errorf("--from %s: %w; --prefix=native makes it all the same, and its builder will serve nothing before an operator promotes it", f.From, fault))
	default:
		log.Warn("the builder will train this index but not serve it, if all rows are like those of --from", "rows", n, "error", fault)
	}
	return nil
}

// worth is what was found, and in brackets what as many dimensions drawn at random find.
func worth(found []schemas.PrefixRecall) string {
	var levels []string
	for _, p := range found {
		levels = append(levels, fmt.Sprintf("%d: %.2f (%.2f)", p.Dims, p.Recall, p.Chance))
	}
	return strings.Join(levels, ", ")
}

// prefixSample is up to prefixRows vectors [n][dim] of the file, none that an ingestor would refuse.
func (f *specFlags) prefixSample(level avx.Level, spec *schemas.Spec) (vectors []float32, err error) {
	r, err := files.Open(f.From, f.FromFile.options(slog.New(slog.DiscardHandler), f.From))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	dim := spec.Dim()
	most := min(prefixLook, prefixValues/dim)
	for len(vectors) < most*dim {
		batch, err := r.Next()
		if err != nil {
			if len(vectors) > 0 || errors.Is(err, io.EOF) {
				break // what is wrong with later rows is for who produces them to hear
			}
			return nil, err
		}
		vectors = appendSound(vectors, batch, level, dim, most)
	}
	n := len(vectors) / dim
	if n <= prefixRows {
		return vectors, nil
	}
	for i := range prefixRows {
		copy(vectors[i*dim:][:dim], vectors[i*n/prefixRows*dim:])
	}
	return vectors[:prefixRows*dim], nil
}

// appendSound appends the vectors of a batch that have dim values, all finite, and a direction, up to most in all.
func appendSound(vectors []float32, batch arrow.RecordBatch, level avx.Level, dim, most int) []float32 {
	found := batch.Schema().FieldIndices(schemas.ColumnVector)
	if len(found) != 1 {
		return vectors
	}
	lists, ok := batch.Column(found[0]).(array.ListLike)
	if !ok {
		return vectors
	}
	unit := make([]float32, dim)
	for i := range lists.Len() {
		start, end := lists.ValueOffsets(i)
		if lists.IsNull(i) || int(end-start) != dim || len(vectors) == most*dim {
			continue
		}
		switch values := lists.ListValues().(type) {
		case *array.Float16:
			for _, half := range values.Values()[start:end] {
				vectors = append(vectors, half.Float32())
			}
		case *array.Float32:
			vectors = append(vectors, values.Float32Values()[start:end]...)
		default:
			return vectors
		}
		row := vectors[len(vectors)-dim:]
		if length := float64(mrl.Normalize(level, unit, row)); length == 0 || math.IsInf(length, 0) || math.IsNaN(length) {
			vectors = vectors[:len(vectors)-dim]
		}
	}
	return vectors
}

package build

import (
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/pipeline/store"
)

// leastSample of rows is not halved when the cache has no room for it.
const leastSample = 16 << 10

// sample draws up to most searched vectors evenly from the job's live rows that are not held out, by reservoir sampling
// with a fixed seed: the same inputs give the same model. They lie in scratch memory, in the order of rows, so that files are read from
// their start to their end; a cache without room for them gets fewer. Up to an eighth, evenly spaced, is taken out of it as unseen: rows that
// a model will not have seen.
func (b *Builder) sample(j *job, most int, memory *scratch) (sample, unseen []float32, err error) {
	rows := rowsDrawn(j, most)
	dim := b.o.Log.Spec().Dim()
	for {
		sample, err = memory.floats(b.o.Cache)(len(rows) * dim)
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrCacheFull) || len(rows) <= leastSample {
			return nil, nil, err
		}
		rows = rowsDrawn(j, len(rows)/2)
	}
	every := max(8, len(rows)/freshMost)
	sample = sample[:0]
	for i, r := range rows {
		to := &sample
		if i%every == every-1 {
			to = &unseen
		}
		*to = appendSearched(b.o.Level, b.o.Log.Spec(), *to, j.inputs[r.input].part, int(r.row))
	}
	return sample, unseen, nil
}

// sampledRow is a row of one of a job's inputs.
type sampledRow struct{ input, row int32 }

func rowsDrawn(j *job, most int) []sampledRow {
	rng := rand.New(rand.NewPCG(1, 2))
	rows := make([]sampledRow, 0, most)
	seen := 0
	for input, in := range j.inputs {
		for i := range in.part.N {
			if in.skip.ContainsInt(i) || recall.HeldOut(in.part.IDAt(i)) {
				continue
			}
			seen++
			if len(rows) < most {
				rows = append(rows, sampledRow{int32(input), int32(i)})
			} else if k := rng.IntN(seen); k < most {
				rows[k] = sampledRow{int32(input), int32(i)}
			}
		}
	}
	slices.SortFunc(rows, func(a, b sampledRow) int {
		if a.input != b.input {
			return int(a.input - b.input)
		}
		return int(a.row - b.row)
	})
	return rows
}

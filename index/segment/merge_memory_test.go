package segment

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// What a merge keeps of rows it takes from the memory that it is given, and the chunks are the same: 4 bytes for a row of a
// chunk of the model, 8 for one of a segment, 20 for one that is assigned anew. No memory ends it.
func TestMergeMemory(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl, old := testModel(t, spec, 1, 4), testModel(t, spec, 2, 4)
	rng := rand.New(rand.NewPCG(5, 5))
	segment := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rng, 0, 300)))
	plain := mustOpen(t, spec, mustWrite(t, spec, nil, randomRows(t, spec, rng, 300, 300)))
	base := checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, []Input{{Part: segment}}, 10_000))
	stale := checkChunks(t, spec, old, mustMerge(t, spec, old, []Input{{Part: segment}}, 10_000))
	for name, test := range map[string]struct {
		parts []*Part
		most  int64
	}{
		"chunks":            {base, 4 * 300},
		"segment":           {[]*Part{segment}, 8 * 300},
		"no model":          {[]*Part{plain}, 20 * 300},
		"another model":     {stale, 20 * 300},
		"chunks and others": {slices.Concat([]*Part{plain}, base, stale), (20 + 4 + 20) * 300},
	} {
		want := mustMerge(t, spec, mdl, inputsOf(test.parts), 20_000)
		taken := int64(0)
		memory := func(bytes int64) ([]byte, error) {
			taken += bytes
			return BytesOf(make([]int64, (bytes+7)/8))[:bytes], nil
		}
		var got []ChunkBodies
		keep := func(c ChunkBodies) error {
			got = append(got, c)
			return nil
		}
		if err := Merge(context.Background(), spec, mdl, avx.Generic, inputsOf(test.parts), MergeOptions{ChunkBytes: 20_000, Memory: memory}, keep); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d chunks in memory that was given, want the %d of the heap", name, len(got), len(want))
		}
		if taken == 0 || taken > test.most {
			t.Errorf("%s: %d bytes of memory, want at most %d", name, taken, test.most)
		}
		for most := range 5 {
			none := errors.New("none left")
			memory := func(bytes int64) ([]byte, error) {
				if most--; most < 0 {
					return nil, none
				}
				return make([]byte, bytes), nil
			}
			err := Merge(context.Background(), spec, mdl, avx.Generic, inputsOf(test.parts), MergeOptions{ChunkBytes: 20_000, Memory: memory}, keep)
			if most < 0 && !errors.Is(err, none) || most >= 0 && err != nil {
				t.Errorf("%s: without memory: %v", name, err)
			}
		}
	}
}

package segment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

func TestMergeRefuses(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 100)
	part := mustOpen(t, spec, mustWrite(t, spec, nil, rows))
	chunk := mustMerge(t, spec, mdl, []Input{{Part: part}}, 1<<30)[0]
	bare, err := OpenChunk(spec, chunkOf(chunk), chunk.Rows, chunk.Codes, nil)
	if err != nil {
		t.Fatal(err)
	}
	failed, canceled := errors.New("full"), context.Canceled
	done, cancel := context.WithCancel(context.Background())
	cancel()
	ok := func(ChunkBodies) error { return nil }
	for _, test := range []struct {
		name string
		ctx  context.Context
		mdl  *model.Model
		part *Part
		emit func(ChunkBodies) error
		is   error
		text string
	}{
		{"no model", context.Background(), nil, part, ok, nil, "no model"},
		{"no vectors", context.Background(), mdl, bare, ok, nil, "part " + bare.ID + ": it was opened without vectors"},
		{"canceled", done, mdl, part, ok, canceled, ""},
		{"emit fails", context.Background(), mdl, part, func(ChunkBodies) error { return failed }, failed, "lists ["},
	} {
		err := Merge(test.ctx, spec, test.mdl, avx.Generic, []Input{{Part: test.part}}, MergeOptions{ChunkBytes: 1}, test.emit)
		if err == nil || !strings.Contains(err.Error(), test.text) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// A part may name a model and have what is not of it. Opening cannot tell, merging can.
func TestMergeRefusesWhatIsNotOfTheModel(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl, wide := testModel(t, spec, 1, 4), testModel(t, spec, 1, 6)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 100)
	body := mustWrite(t, spec, mdl, rows)
	part := mustOpen(t, spec, body)
	with := func(column string, values []int32, row int, value int32) *Part {
		values = slices.Clone(values)
		values[row] = value
		return mustOpen(t, spec, tampered(t, spec.SegmentSchema(mdl.ID(), mdl.M(), ""), body, schemas.KindSegment,
			func(c map[string]arrow.Array) { c[column] = int32s(values...) }))
	}
	renamed := mustOpen(t, spec, tampered(t, spec.SegmentSchema(mdl.ID(), wide.M(), ""), mustWrite(t, spec, wide, rows), schemas.KindSegment,
		func(c map[string]arrow.Array) { c["list"] = int32s(c["list"].(*array.Int32).Int32Values()...) }))
	for _, test := range []struct {
		name string
		part *Part
		want string
	}{
		{"list", with("list", part.lists, part.N-1, 6), "lists up to 6, allowed for this model: below 6"},
		{"second list", with("spill", part.spills, 3, 6), "lists up to 6, allowed for this model: below 6"},
		{"codes", renamed, "codes of 6 sub-quantisers, allowed for this model: 4"},
	} {
		err := Merge(context.Background(), spec, mdl, avx.Generic, []Input{{Part: test.part}}, MergeOptions{ChunkBytes: 1}, func(ChunkBodies) error { return nil })
		if !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "part "+test.part.ID) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// Codes are of rows of all chunks of a base: without some of them, or in another order, they say nothing.
func TestMergeWantsWholeBases(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	part := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 300)))
	chunks := checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, []Input{{Part: part}}, 1))
	reversed := slices.Clone(chunks)
	slices.Reverse(reversed)
	last := chunks[len(chunks)-1] // without it there are fewer rows in the base, and the others begin where they did
	skip := roaring.New()
	skip.AddRange(uint64(part.N-last.N), uint64(part.N))
	smaller := checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, []Input{{Part: part, Skip: skip}}, 1))
	for _, test := range []struct {
		name  string
		parts []*Part
		want  string // "" when it is allowed
	}{
		{"all", chunks, ""},
		{"two bases", append(slices.Clone(chunks), chunks...), ""},
		{"a segment between", append([]*Part{chunks[0], part}, chunks[1:]...), ""},
		{"the last is missing", chunks[:len(chunks)-1], "of a base of 300 rows, allowed: all its chunks"},
		{"the first is missing", chunks[1:], "of a base of 300 rows"},
		{"one is missing", append(slices.Clone(chunks[:1]), chunks[2:]...), "of a base of 300 rows"},
		{"another order", reversed, "allowed: at row 0"},
		{"one is of a smaller base", slices.Concat(chunks[:1], smaller[1:2], chunks[2:]), fmt.Sprintf("of a base of %d, allowed: at row %d of 300", smaller[1].BaseRows, chunks[1].FirstRow)},
		{"one is there twice", slices.Concat(chunks[:2], chunks[1:]), "begins at row"},
		{"one more of another base", slices.Concat(chunks, smaller[:1]), fmt.Sprintf("of a base, allowed: all %d", smaller[0].BaseRows)},
	} {
		err := Merge(context.Background(), spec, mdl, avx.Generic, inputsOf(test.parts), MergeOptions{ChunkBytes: 1}, func(ChunkBodies) error { return nil })
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := Merge(context.Background(), spec, testModel(t, spec, 2, 4), avx.Generic, inputsOf(chunks[1:]), MergeOptions{ChunkBytes: 1}, func(ChunkBodies) error { return nil }); err != nil {
		t.Errorf("chunks of another model: %v", err)
	}
}

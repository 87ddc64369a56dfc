package segment

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

func levelsHere() []avx.Level { return avx.Levels() }

func mustMerge(t testing.TB, spec *schemas.Spec, mdl *model.Model, inputs []Input, target int64) []ChunkBodies {
	t.Helper()
	var chunks []ChunkBodies
	err := Merge(context.Background(), spec, mdl, avx.Generic, inputs, MergeOptions{ChunkBytes: target}, func(c ChunkBodies) error {
		chunks = append(chunks, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

func inputsOf(parts []*Part) []Input {
	inputs := make([]Input, len(parts))
	for i, p := range parts {
		inputs[i] = Input{Part: p}
	}
	return inputs
}

// checkChunks opens chunks and checks what is promised of their lists, rows and blocks.
func checkChunks(t *testing.T, spec *schemas.Spec, mdl *model.Model, chunks []ChunkBodies) []*Part {
	t.Helper()
	var parts []*Part
	end := 0
	for _, c := range chunks {
		p := mustOpenChunk(t, spec, c)
		if c.NumRows == 0 || c.FirstList < end || c.EndList <= c.FirstList || c.EndList > mdl.NList() {
			t.Fatalf("chunk of %d rows has lists [%d, %d) after %d", c.NumRows, c.FirstList, c.EndList, end)
		}
		end = c.EndList
		if p.Model != mdl.ID() || p.M != mdl.M() || !p.HasVectors() {
			t.Fatalf("chunk of model %q, m %d", p.Model, p.M)
		}
		checkBlocks(t, p)
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil
	}
	if parts[0].FirstList != 0 || end != mdl.NList() {
		t.Fatalf("chunks have lists [%d, %d) of %d", parts[0].FirstList, end, mdl.NList())
	}
	codes, rows, all := codesOf(parts), 0, 0
	for _, p := range parts {
		for l := p.FirstList; l < p.EndList; l++ {
			start, end := p.CodeRange(l)
			all += end - start
		}
	}
	if all != len(codes) {
		t.Fatalf("%d codes, of which only %d are not repeated", all, len(codes))
	}
	for _, p := range parts {
		if p.FirstRow != rows {
			t.Fatalf("chunk begins at base row %d, after %d", p.FirstRow, rows)
		}
		rows += p.N
		for i := range p.N {
			for _, l := range []int32{p.ListAt(i), p.SpillAt(i)} {
				if _, ok := codes[coded{p.FirstRow + i, l}]; !ok && l != coarse.NoSpill {
					t.Fatalf("row %d of %d has no code in list %d", i, p.N, l)
				}
				delete(codes, coded{p.FirstRow + i, l})
			}
		}
	}
	if len(codes) > 0 || parts[0].BaseRows != rows {
		t.Fatalf("%d codes in lists that are not their rows', %d of %d rows", len(codes), rows, parts[0].BaseRows)
	}
	return parts
}

// checkBlocks reads the codes out of the blocks as the documentation of avx.ScanPQ4 has it.
func checkBlocks(t *testing.T, p *Part) {
	t.Helper()
	code := make([]byte, codeBytes(p.M))
	next := 0
	for l := p.FirstList; l < p.EndList; l++ {
		start, end := p.CodeRange(l)
		if start == end {
			continue
		}
		if start != next {
			t.Fatalf("list %d begins at code %d, after %d", l, start, next)
		}
		next = (end + 31) / 32 * 32
		for at := start; at < next; at++ {
			p.ReadCode(code, at)
			if at >= end {
				if p.CodeRows[at] != 0 || !bytes.Equal(code, make([]byte, len(code))) {
					t.Fatalf("absent code %d of list %d is of row %d, %x", at, l, p.CodeRows[at], code)
				}
				continue
			}
			if at > start && p.CodeRows[at] <= p.CodeRows[at-1] {
				t.Fatalf("code %d of list %d is of row %d, after %d", at, l, p.CodeRows[at], p.CodeRows[at-1])
			}
			block := p.Blocks[at/32*avx.BlockBytes(p.M):]
			for s := range p.M {
				b := block[16*s+at%16]
				if at%32 >= 16 {
					b >>= 4
				}
				if c := code[s/2] >> (s % 2 * 4); b&15 != c&15 {
					t.Fatalf("code %d sub-quantiser %d: %d in the block, %d in the code", at, s, b&15, c&15)
				}
			}
			if pad := block[16*p.M : avx.BlockBytes(p.M)]; !bytes.Equal(pad, make([]byte, len(pad))) {
				t.Fatalf("block %d: %x after its %d sub-quantisers", at/32, pad, p.M)
			}
		}
	}
	if len(p.Blocks) != next/32*avx.BlockBytes(p.M) {
		t.Fatalf("%d bytes of blocks for %d codes", len(p.Blocks), next)
	}
}

// A merge in any grouping, order and cascade, through whatever models, carries the same rows, with the list and code
// that the last model gives them.
func TestMergeCarriesEveryRow(t *testing.T) {
	for _, test := range []struct {
		metric  schemas.Metric
		vectors schemas.VectorType
		prefix  schemas.PrefixMode
		m       int
	}{
		{schemas.Cosine, schemas.Float16, "", 4},
		{schemas.Cosine, schemas.Float16, schemas.PrefixRotate, 4}, // each model by axes of its own
		{schemas.InnerProduct, schemas.Float32, schemas.PrefixRotate, 4},
		{schemas.InnerProduct, schemas.Float32, "", 5}, // an odd number of sub-quantisers: half of the last byte is empty
	} {
		spec := testSpec(test.metric, test.vectors)
		spec.Prefix = test.prefix
		mdl, old := testModel(t, spec, 1, test.m), testModel(t, spec, 2, test.m)
		for seed := range uint64(12) {
			rng := rand.New(rand.NewPCG(seed, 1))
			rows := randomRows(t, spec, rng, 0, 1+rng.IntN(500))
			want := records(mustOpen(t, spec, mustWrite(t, spec, mdl, rows)))
			var groups [][]*Part // a segment, the chunks of a base, or some of them
			whole := true        // the bases of old
			for _, p := range split(t, spec, rng, rows, []*model.Model{nil, old, mdl}) {
				groups = append(groups, []*Part{p})
			}
			for len(groups) > 1 && rng.IntN(4) > 0 { // merge some, put the chunks back
				via := []*model.Model{old, mdl}[rng.IntN(2)]
				if !whole {
					via = mdl
				}
				if via == mdl && rng.IntN(2) == 0 { // chunks of another model need not stay together, from now on
					before := len(groups)
					groups = scatter(groups, old)
					whole = whole && len(groups) == before
				}
				rng.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
				n := 1 + rng.IntN(len(groups))
				chunks := checkChunks(t, spec, via, mustMerge(t, spec, via, inputsOf(slices.Concat(groups[:n]...)), rng.Int64N(60_000)))
				groups = append([][]*Part{chunks}, groups[n:]...)
			}
			groups = scatter(groups, old)
			rng.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
			parts := slices.Concat(groups...)
			inputs := inputsOf(parts)
			for i, p := range parts { // skip some
				if rng.IntN(2) == 0 {
					continue
				}
				inputs[i].Skip = roaring.New()
				for row := range p.N {
					if rng.IntN(3) == 0 {
						inputs[i].Skip.Add(uint32(row))
						delete(want, p.OrderAt(row).Offset)
					}
				}
				inputs[i].Skip.Add(uint32(p.N) + 1000) // rows that do not exist are not there to be skipped
			}
			got := records(checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, inputs, rng.Int64N(60_000)))...)
			if !maps.Equal(got, want) {
				for at, w := range want {
					if got[at] != w {
						t.Errorf("row at offset %d:\n got %+v\nwant %+v", at, got[at], w)
						break
					}
				}
				t.Fatalf("%s %s %s seed %d: %d rows, want %d", test.metric, test.vectors, test.prefix, seed, len(got), len(want))
			}
		}
	}
}

// scatter makes each chunk of a model a group of its own.
func scatter(groups [][]*Part, of *model.Model) [][]*Part {
	var out [][]*Part
	for _, g := range groups {
		if len(g) == 0 || g[0].Model != of.ID() {
			out = append(out, g)
			continue
		}
		for _, p := range g {
			out = append(out, []*Part{p})
		}
	}
	return out
}

// Bases are numbered anew each by itself, whatever lies between their chunks.
func TestMergeOfSeveralBases(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl, old := testModel(t, spec, 1, 4), testModel(t, spec, 2, 4)
	rng := rand.New(rand.NewPCG(8, 8))
	want := map[int64]record{}
	next := 0
	segment := func(n int, by *model.Model) *Part {
		rows := randomRows(t, spec, rng, next, n)
		next += n
		maps.Copy(want, records(mustOpen(t, spec, mustWrite(t, spec, mdl, rows))))
		return mustOpen(t, spec, mustWrite(t, spec, by, rows))
	}
	base := func(n int, by *model.Model) []*Part {
		return checkChunks(t, spec, by, mustMerge(t, spec, by, []Input{{Part: segment(n, by)}}, 0))
	}
	a, b, foreign := base(300, mdl), base(200, mdl), base(250, old)
	plain, listed := segment(90, nil), segment(80, mdl)
	if len(a) < 3 || len(b) < 2 || len(foreign) < 2 {
		t.Fatalf("bases of %d, %d and %d chunks", len(a), len(b), len(foreign))
	}
	inputs := inputsOf(slices.Concat(foreign[1:], a[:1], []*Part{plain}, a[1:2], foreign[:1], a[2:], []*Part{listed}, b))
	for i, input := range inputs {
		if i%2 == 0 {
			inputs[i].Skip = roaring.BitmapOf(0, uint32(input.Part.N-1))
			delete(want, input.Part.OrderAt(0).Offset)
			delete(want, input.Part.OrderAt(input.Part.N-1).Offset)
		}
	}
	if got := records(checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, inputs, 20_000))...); !maps.Equal(got, want) {
		t.Errorf("%d rows, want %d, or others", len(got), len(want))
	}
}

// A list may have codes of rows that are spilled to it and no rows of its own. Some chunk has it all the same, in whatever
// place it is.
func TestMergeOfListsWithSpilledRowsOnly(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl, old := testModel(t, spec, 1, 4), testModel(t, spec, 2, 4)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 400)
	listed := mustOpen(t, spec, mustWrite(t, spec, mdl, rows))
	chunks := mustMerge(t, spec, mdl, []Input{{Part: listed}}, 0)
	forms := map[string][]*Part{
		"segment": {listed}, "plain segment": {mustOpen(t, spec, mustWrite(t, spec, nil, rows))},
		"chunks": checkChunks(t, spec, mdl, chunks), "chunks of another model": checkChunks(t, spec, old, mustMerge(t, spec, old, []Input{{Part: listed}}, 0)),
	}
	for _, without := range [][]int32{{0}, {5}, {2, 3}, {0, 1, 4, 5}, {1, 2, 3, 4, 5}} {
		want := records(listed)
		gone := map[int64]bool{}
		for at, r := range want {
			if slices.Contains(without, r.list) {
				delete(want, at)
				gone[at] = true
			}
		}
		for name, parts := range forms {
			inputs := inputsOf(parts)
			for i, p := range parts {
				inputs[i].Skip = roaring.New()
				for row := range p.N {
					if gone[p.OrderAt(row).Offset] {
						inputs[i].Skip.Add(uint32(row))
					}
				}
			}
			for _, target := range []int64{0, 25_000, 1 << 30} {
				merged := checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, inputs, target))
				if got := records(merged...); !maps.Equal(got, want) {
					t.Errorf("%s without lists %v, target %d: %d rows, want %d, or others", name, without, target, len(got), len(want))
				}
				codes := codesIn(merged, without)
				if codes == 0 {
					t.Errorf("%s without lists %v: no codes of spilled rows there", name, without)
				}
			}
		}
	}
}

// codesIn returns how many codes chunks have in lists.
func codesIn(chunks []*Part, lists []int32) int {
	n := 0
	for at := range codesOf(chunks) {
		if slices.Contains(lists, at.list) {
			n++
		}
	}
	return n
}

func TestMergeKeepsTheOrderOfInputsThenRows(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	rng := rand.New(rand.NewPCG(3, 3))
	plain := mustOpen(t, spec, mustWrite(t, spec, nil, randomRows(t, spec, rng, 0, 300)))
	listed := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rng, 300, 300)))
	for _, order := range [][]*Part{{plain, listed}, {listed, plain}} {
		rank := map[int64]int{}
		for _, p := range order {
			for i := range p.N {
				rank[p.OrderAt(i).Offset] = len(rank)
			}
		}
		for _, p := range checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, inputsOf(order), 1<<30)) {
			for i := 1; i < p.N; i++ {
				if p.ListAt(i) == p.ListAt(i-1) && rank[p.OrderAt(i).Offset] <= rank[p.OrderAt(i-1).Offset] {
					t.Fatalf("row %d of list %d is out of order", i, p.ListAt(i))
				}
			}
		}
	}
}

func TestMergeCutsAtTheTarget(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	part := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 2000)))
	for _, test := range []struct {
		target int64
		chunks int
	}{{1 << 40, 1}, {0, 6}} {
		if got := len(mustMerge(t, spec, mdl, []Input{{Part: part}}, test.target)); got != test.chunks {
			t.Errorf("target %d makes %d chunks, want %d", test.target, got, test.chunks)
		}
	}
	const target, overhead = 120_000, 12_000 // three files with their schemas and footers
	for _, c := range mustMerge(t, spec, mdl, []Input{{Part: part}}, target) {
		if size := len(c.Rows) + len(c.Codes) + len(c.Vectors); size > target+overhead && c.EndList-c.FirstList > 1 {
			t.Errorf("chunk of %d lists has %d bytes, over the target of %d", c.EndList-c.FirstList, size, target)
		}
	}
}

// What a list is reckoned to take is what it takes, codes of both kinds included: the cut is where the target says.
func TestMergeCutsWhereTheTargetSays(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	part := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 6000)))
	one := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 1)))
	bytesIn := func(c ChunkBodies) int64 { return int64(len(c.Rows) + len(c.Codes) + len(c.Vectors)) }
	overhead := bytesIn(mustMerge(t, spec, mdl, []Input{{Part: one}}, 0)[0]) // schemas, footers, and padding
	lists := mustMerge(t, spec, mdl, []Input{{Part: part}}, 0)
	if len(lists) != 6 {
		t.Fatalf("%d chunks of one list each, want 6", len(lists))
	}
	const perList = 2000 // what padding and bitmaps of nulls, which are not reckoned, may take; spilled codes take thrice as much
	sum := bytesIn(lists[0]) - overhead
	for k := 1; k < len(lists); k++ {
		sum += bytesIn(lists[k]) - overhead
		slack := int64(perList * (k + 1))
		if got := mustMerge(t, spec, mdl, []Input{{Part: part}}, sum+slack)[0].EndList; got <= k {
			t.Errorf("lists [0, %d) take %d bytes, but %d more do not suffice for a chunk of them: it ends at list %d", k+1, sum, slack, got)
		}
		if got := mustMerge(t, spec, mdl, []Input{{Part: part}}, sum-slack)[0].EndList; got > k {
			t.Errorf("lists [0, %d) take %d bytes, but %d less suffice for a chunk of [0, %d)", k+1, sum, slack, got)
		}
	}
}

func TestMergeOfNothingEmitsNothing(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	part := mustOpen(t, spec, mustWrite(t, spec, nil, randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 9)))
	all := roaring.New()
	all.AddRange(0, 9)
	empty := mustOpen(t, spec, mustWrite(t, spec, mdl, NewRows(spec)))
	for _, inputs := range [][]Input{nil, {{Part: empty}}, {{Part: part, Skip: all}}} {
		if chunks := mustMerge(t, spec, mdl, inputs, 1000); len(chunks) != 0 {
			t.Errorf("%d chunks of no rows", len(chunks))
		}
	}
}

// An index whose rows are in one list each has codes for those only.
func TestMergeOfOneListARow(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	spec.ListsPerRow = 1
	mdl := testModel(t, spec, 1, 4)
	part := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 300)))
	chunks := checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, []Input{{Part: part}}, 10_000))
	if n := len(codesOf(chunks)); n != 300 || len(part.Spilled) != 0 {
		t.Errorf("%d codes of 300 rows, %d rows of the segment are spilled", n, len(part.Spilled))
	}
	if got := records(chunks...); !maps.Equal(got, records(part)) {
		t.Error("merged rows are others")
	}
}

// Merging the same parts gives the same bytes, on however many threads, and however few bytes may be made at once.
func TestMergeIsDeterministic(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	spec.Prefix = schemas.PrefixRotate // rows of another model have other axes
	mdl, old := testModel(t, spec, 1, 4), testModel(t, spec, 2, 4)
	var parts []*Part
	for i := range 7 {
		rows := randomRows(t, spec, rand.New(rand.NewPCG(5, uint64(i))), 300*i, 300*i+100*i+1)
		parts = append(parts, mustOpen(t, spec, mustWrite(t, spec, []*model.Model{nil, mdl, old}[i%3], rows)))
	}
	parts = slices.Concat(checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, inputsOf(parts[:3]), 20_000)), parts[3:])
	want := mustMerge(t, spec, mdl, inputsOf(parts), 20_000)
	if len(want) < 5 {
		t.Fatalf("%d chunks are too few for several threads", len(want))
	}
	for _, threads := range []int{1, 2, 5, 20} {
		for _, atOnce := range []int64{0, 1, 50_000} {
			var mu sync.Mutex
			var got []ChunkBodies
			o := MergeOptions{ChunkBytes: 20_000, Threads: threads, AtOnceBytes: atOnce}
			err := Merge(t.Context(), spec, mdl, avx.Generic, inputsOf(parts), o, func(c ChunkBodies) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, c)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			byLists := func(a, b ChunkBodies) int { return a.FirstList - b.FirstList }
			if threads == 1 && !slices.IsSortedFunc(got, byLists) {
				t.Error("one thread does not emit in the order of lists")
			}
			slices.SortFunc(got, byLists)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%d threads: other chunks", threads)
			}
		}
	}
}

// Chunks are emitted at once, one by each thread, but not more than the bytes for it allow, and one that has more is made alone.
func TestMergeBoundsWhatIsMadeAtOnce(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 2000)
	inputs := []Input{{Part: mustOpen(t, spec, mustWrite(t, spec, nil, rows))}}
	largest := 0
	for _, c := range mustMerge(t, spec, mdl, inputs, 0) { // a list each, of which there are six
		largest = max(largest, len(c.Rows)+len(c.Codes)+len(c.Vectors))
	}
	for _, test := range []struct{ atOnce, least, most int }{{0, 3, 3}, {1, 1, 1}, {2 * largest, 2, 3}} {
		synctest.Test(t, func(t *testing.T) {
			var now, most atomic.Int64
			o := MergeOptions{Threads: 3, AtOnceBytes: int64(test.atOnce)}
			err := Merge(t.Context(), spec, mdl, avx.Generic, inputs, o, func(ChunkBodies) error {
				now.Add(1)
				time.Sleep(time.Second) // until all others wait too
				most.Store(max(most.Load(), now.Load()))
				time.Sleep(time.Second)
				now.Add(-1)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := int(most.Load()); got < test.least || got > test.most {
				t.Errorf("%d bytes at once: %d chunks of at most %d bytes, want %d to %d", test.atOnce, got, largest, test.least, test.most)
			}
		})
	}
}

// The first error ends a merge: chunks that others are emitting come to their end, and no other one is begun.
func TestMergeEndsWithTheFirstError(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	inputs := []Input{{Part: mustOpen(t, spec, mustWrite(t, spec, nil, randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 600)))}}
	failed := errors.New("full")
	for _, threads := range []int{1, 2, 3} {
		for _, want := range []error{failed, context.Canceled} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var begun, ended atomic.Int64
				err := Merge(ctx, spec, mdl, avx.Generic, inputs, MergeOptions{Threads: threads}, func(ChunkBodies) error {
					defer ended.Add(1)
					if begun.Add(1) > 1 {
						time.Sleep(time.Minute)
						return nil
					}
					time.Sleep(time.Second)
					if want == failed {
						return failed
					}
					cancel()
					return nil
				})
				if n := begun.Load(); !errors.Is(err, want) || n != ended.Load() || n > int64(threads) {
					t.Errorf("%d threads: %v after %d chunks were begun and %d ended, want %v", threads, err, n, ended.Load(), want)
				}
			})
		}
	}
}

func TestPackBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, m := range []int{1, 2, 5, 64} {
		for _, n := range []int{0, 1, 31, 32, 33, 63, 64, 65, 128, 200} {
			width := codeBytes(m)
			codes := make([]byte, n*width)
			for i := range codes {
				codes[i] = byte(rng.IntN(256))
				if m%2 == 1 && i%width == width-1 {
					codes[i] &= 15
				}
			}
			blocks := PackBlocks(nil, codes, m)
			if len(blocks) != blocksOf(n)*avx.BlockBytes(m) {
				t.Fatalf("m %d: %d rows take %d bytes", m, n, len(blocks))
			}
			code := make([]byte, width)
			for i := range n {
				unpackCode(code, blocks[i/32*avx.BlockBytes(m):], m, i%32)
				if !bytes.Equal(code, codes[i*width:][:width]) {
					t.Fatalf("m %d, row %d of %d: %x, want %x", m, i, n, code, codes[i*width:][:width])
				}
			}
			for i := n; i < blocksOf(n)*32; i++ {
				unpackCode(code, blocks[i/32*avx.BlockBytes(m):], m, i%32)
				if !bytes.Equal(code, make([]byte, width)) {
					t.Fatalf("m %d: absent row %d of %d has a code", m, i, n)
				}
			}
		}
	}
}

// What is stored as given does not depend on the level, and what one level wrote merges at another.
func TestLevelsAgreeOnWhatIsStored(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(6, 6)), 0, 300)
	want := records(mustOpen(t, spec, mustWrite(t, spec, mdl, rows)))
	for _, level := range levelsHere() {
		for _, from := range []*model.Model{nil, mdl} {
			body, err := Write(spec, from, level, rows)
			if err != nil {
				t.Fatal(err)
			}
			var chunks []ChunkBodies
			keep := func(c ChunkBodies) error { chunks = append(chunks, c); return nil }
			if err := Merge(context.Background(), spec, mdl, level, []Input{{Part: mustOpen(t, spec, body)}}, MergeOptions{ChunkBytes: 20_000}, keep); err != nil {
				t.Fatal(err)
			}
			got := records(checkChunks(t, spec, mdl, chunks)...)
			if len(got) != len(want) {
				t.Fatalf("%s: %d rows, want %d", level, len(got), len(want))
			}
			for at, w := range want {
				if g := got[at]; g.id != w.id || g.order != w.order || g.attributes != w.attributes || g.vector != w.vector {
					t.Fatalf("%s: row at offset %d: %+v, want %+v", level, at, g, w)
				}
			}
		}
	}
}

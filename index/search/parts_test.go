package search

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// Whether candidates come one by one, as with a filter, or as hits of a scan, and at every level.
func TestReservoir_keepsTheBest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := 1; n < 200; n = n*2 + 1 {
		for _, distinct := range []int{1, 5, 1 << 16} {
			t.Run(fmt.Sprintf("best%d/distinct%d", n, distinct), func(t *testing.T) {
				hits, all := make([]uint32, 3000), make([]float32, 3000)
				for i := range hits {
					sum := r.IntN(distinct)
					hits[i], all[i] = uint32(sum<<16|i), 0.5+2*float32(sum)
				}
				var first []candidate
				best := slices.Sorted(slices.Values(all))
				slices.Reverse(best)
				for _, level := range avx.Levels() {
					p := &pruner{level: level}
					var one, many reservoir
					one.reset(n, 3000)
					many.reset(n, 3000)
					for i, score := range all {
						if score >= one.floor {
							one.add(p, score, candidate{4, int32(7 + i)})
						}
					}
					for rest := hits; len(rest) > 0; {
						some := rest[:min(len(rest), 1+r.IntN(1024))]
						rest = rest[len(some):]
						many.take(p, some, 4, 7, 0.5, 2)
					}
					for _, res := range []*reservoir{&one, &many} {
						got := res.best(p)
						if len(got) != n || len(res.list) > reservoirFactor*n || len(res.list) != len(res.scores) {
							t.Fatalf("%s: %d of %d candidates are kept, want %d", level, len(got), len(res.list), n)
						}
						seen := map[candidate]bool{}
						var scores []float32
						for i, c := range got {
							score := all[c.code-7]
							if c.part != 4 || seen[c] || res.scores[i] != score {
								t.Fatalf("%s: candidate %v with score %v is there twice: %v", level, c, res.scores[i], seen[c])
							}
							seen[c], scores = true, append(scores, score)
						}
						slices.SortFunc(scores, func(a, b float32) int { return cmp.Compare(b, a) })
						if !slices.Equal(scores, best[:n]) {
							t.Fatalf("%s: the best have %v, want %v", level, scores, best[:n])
						}
						if first == nil {
							first = slices.Clone(got)
						} else if res == &one && !slices.Equal(got, first) {
							t.Fatalf("%s keeps others than %s", level, avx.Levels()[0])
						}
					}
				}
			})
		}
	}
}

// Scores that are not numbers, from vectors at the limits, must not break the selection.
func TestReservoir_endsWithNaN(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		p, res := &pruner{level: avx.Generic}, reservoir{}
		n := 1 + r.IntN(40)
		res.reset(n, 200)
		for i := range 200 {
			score := float32(r.IntN(3))
			if r.IntN(2) == 0 {
				score = float32(math.NaN())
			}
			res.add(p, score, candidate{code: int32(i)})
		}
		best := res.best(p)
		seen := map[int32]bool{}
		for _, c := range best {
			if seen[c.code] {
				t.Fatalf("row %d is there twice", c.code)
			}
			seen[c.code] = true
		}
		if len(best) != n {
			t.Fatalf("%d of %d", len(best), n)
		}
	}
}

func TestThreshold_isTheFloor(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, tt := range []struct {
		floor, offset, scale float32
		sum                  uint16
		ok                   bool
	}{
		{-inf, 0, 1, 0, true},
		{1, 1, 0.5, 0, true},
		{1, 2, 0.5, 0, true},
		{1, 0, 0.5, 2, true},
		{1, 0, 0.375, 3, true},
		{65535, 0, 1, 65535, true},
		{65536, 0, 1, 0, false},
		{1, 0, 0, 0, false},
		{1, 1, 0, 0, true},
		{1, float32(math.NaN()), 1, 0, true},
		{1, 0, float32(math.NaN()), 0, false},
	} {
		sum, ok := (&reservoir{floor: tt.floor}).threshold(tt.offset, tt.scale)
		if sum != tt.sum || ok != tt.ok {
			t.Errorf("floor %v, offset %v, scale %v: got %d, %v, want %d, %v", tt.floor, tt.offset, tt.scale, sum, ok, tt.sum, tt.ok)
		}
	}
}

// unlisted is one part whose ids are in no order.
func unlisted(t *testing.T, n int) *snapshot.Snapshot {
	t.Helper()
	d := snapshottest.Clustered(snapshottest.Spec(schemas.InnerProduct, 8), n, 1)
	return snapshottest.Build(t, d, nil, avx.Generic, []snapshottest.Group{{Kind: snapshottest.Unlisted, End: n}}, nil)
}

func TestTop_isSortedPrefix(t *testing.T) {
	const n = 300
	parts := unlisted(t, n).Parts()
	r := rand.New(rand.NewPCG(7, 8))
	var top Top
	for _, distinct := range []int{1, 4, 1 << 30} {
		for _, k := range []int{1, 2, 10, n - 1, n, 2 * n} {
			hits := make([]Hit, n)
			for row := range hits {
				hits[row] = Hit{Row: row, Score: float32(r.IntN(distinct))}
			}
			top.Reset(parts, k)
			for _, i := range r.Perm(n) {
				if before := top.Floor(); before > hits[i].Score && top.Len() < k {
					t.Fatalf("floor %v with %d of %d hits", before, top.Len(), k)
				}
				top.Push(hits[i])
			}
			slices.SortFunc(hits, func(a, b Hit) int {
				return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(parts[0].IDAt(a.Row), parts[0].IDAt(b.Row)))
			})
			if got := top.Sort(); !slices.Equal(got, hits[:min(k, n)]) {
				t.Errorf("%d distinct scores, k %d: the hits kept are not the best in order", distinct, k)
			}
		}
	}
}

// What the scan makes of a code is the inner product of the query with the decoded row, to within the error of the
// table. The codes of a segment, row by row, tell what those in the blocks of a chunk stand for.
func TestScan_scoresDecodedRows(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), 1500, 3)
	for _, level := range avx.Levels() {
		mdl := d.Train(t, level, 8)
		quantizer := quantizerOf(t, mdl)
		chunks := snapshottest.Build(t, d, mdl, level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: d.N()}}, nil)
		rows := snapshottest.Build(t, d, mdl, level, []snapshottest.Group{{Kind: snapshottest.Segment, End: d.N()}}, nil)
		for _, dims := range mdl.Ladder() {
			t.Run(fmt.Sprintf("%s/%d", level, dims), func(t *testing.T) {
				s := New(level)
				if err := s.begin(chunks, d.Vector(17), 10, Plan{}); err != nil {
					t.Fatal(err)
				}
				s.found.reset(2*d.N(), 2*d.N())
				mdl.LUT(level, s.vector, dims, &s.lut, s.scratch)
				bases := make([]float32, mdl.NList())
				for _, p := range mdl.Probe(level, s.quant, s.scale, mdl.NList(), 0, nil, s.scratch) {
					bases[p.List] = p.Base
					if err := s.lists(t.Context(), []coarse.Probe{p}); err != nil {
						t.Fatal(err)
					}
				}
				if len(s.found.list) != 2*d.N() || s.usage.Codes != 2*d.N() {
					t.Fatalf("%d candidates of %d codes, want both of each of %d rows", len(s.found.list), s.usage.Codes, d.N())
				}
				met := map[string]int{}
				residual := make([]float32, mdl.Dim())
				for i, c := range s.found.list {
					chunk, at := chunks.Locate(int(chunks.Parts()[c.part].CodeRows[c.code]))
					id := chunks.Parts()[chunk].IDAt(at)
					part, row, _ := rows.Find(id)
					p := rows.Parts()[part]
					met[id]++
					list, code := p.ListAt(row), p.Code(row)
					if start, end := chunks.Parts()[c.part].CodeRange(int(list)); chunk != int(c.part) || int(c.code) < start || int(c.code) >= end {
						list, code = p.SpillAt(row), p.SpillCode(row)
					}
					quantizer.Decode(residual, code)
					want := bases[list] + avx.Dot(avx.Generic, s.vector[:dims], residual[:dims])
					if math.Abs(float64(s.found.scores[i]-want)) > float64(s.lut.MaxError())+1e-5 {
						t.Fatalf("row %s: the scan scores %v, decoded it is %v, allowed error %v", id, s.found.scores[i], want, s.lut.MaxError())
					}
				}
				for id, n := range met {
					if n != 2 {
						t.Fatalf("row %s is met %d times, want once in each of its lists", id, n)
					}
				}
			})
		}
	}
}

// quantizerOf reads the quantiser of a model from its file.
func quantizerOf(t *testing.T, mdl *model.Model) *opq.Quantizer {
	t.Helper()
	r, err := ipc.NewFileReader(bytes.NewReader(mdl.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := r.RecordBatch(0)
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) []float32 {
		i := batch.Schema().FieldIndices(name)[0]
		return batch.Column(i).(*array.List).ListValues().(*array.Float32).Float32Values()
	}
	var blocks []int
	metadata := r.Schema().Metadata()
	subs, _ := metadata.GetValue("adastream.blocks")
	for _, field := range strings.Split(subs, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, n)
	}
	q, err := opq.New(mdl.Ladder(), blocks, column("rotation"), column("codebooks"))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

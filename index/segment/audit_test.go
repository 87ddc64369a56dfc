package segment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/schemas"
)

// An audit finds no fault with what Merge makes, and each of the faults that queries would not tell of.
func TestAudit(t *testing.T) {
	for _, prefix := range []schemas.PrefixMode{schemas.PrefixNative, schemas.PrefixRotate} {
		t.Run(string(prefix), func(t *testing.T) {
			spec := testSpec(schemas.Cosine, schemas.Float16)
			spec.Prefix = prefix
			testAudit(t, spec)
		})
	}
}

func testAudit(t *testing.T, spec *schemas.Spec) {
	rng := rand.New(rand.NewPCG(5, 5))
	mdl := testModel(t, spec, 1, spec.Dim()/4)
	const n = 3000
	rows := randomRows(t, spec, rng, 0, n)
	chunks := mustMerge(t, spec, mdl, inputsOf([]*Part{mustOpen(t, spec, mustWrite(t, spec, mdl, rows))}), 64<<10)
	if len(chunks) < 2 {
		t.Fatalf("%d chunks", len(chunks))
	}
	open := func() (base []*Part) {
		for _, c := range chunks {
			p := mustOpenChunk(t, spec, c)
			p.Blocks, p.CodeRows, p.blockRows = slices.Clone(p.Blocks), slices.Clone(p.CodeRows), slices.Clone(p.blockRows)
			base = append(base, p)
		}
		return base
	}
	spilled := 0
	for _, p := range open() {
		for i := range p.N {
			if p.SpillAt(i) != coarse.NoSpill {
				spilled++
			}
		}
	}
	for _, test := range []struct {
		name  string
		spoil func(base []*Part)
		want  string
	}{
		{"nothing", func([]*Part) {}, ""},
		{"one code is gone", func(base []*Part) {
			_, end := bounds(base[0].blockStarts, 0)
			base[0].blockRows[end-1]--
		}, "1 codes of rows in their lists are missing, and 0"},
		{"one code is of another row", func(base []*Part) {
			base[1].CodeRows[0] = (base[1].CodeRows[0] + n/2) % n
		}, "1 codes of rows in their lists are missing, and 1"},
		{"one code is there twice", func(base []*Part) {
			start, _ := base[0].CodeRange(fullest(base[0]))
			base[0].CodeRows[start+1] = base[0].CodeRows[start]
		}, "1 codes of rows in their lists are missing, and 1"},
		{"one codebook is shuffled", func(base []*Part) {
			const s = 3
			for _, p := range base {
				size := avx.BlockBytes(p.M)
				for b := 0; b < len(p.Blocks); b += size {
					for i := range 16 {
						p.Blocks[b+16*s+i] = ^p.Blocks[b+16*s+i]
					}
				}
			}
		}, "in sub-quantiser 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := open()
			test.spoil(base)
			for _, level := range levelsHere() {
				a, err := AuditCodes(context.Background(), spec, mdl, level, 1, base, 500)
				if err != nil {
					t.Fatal(err)
				}
				for _, threads := range []int{2, 100} {
					if other, err := AuditCodes(context.Background(), spec, mdl, level, threads, base, 500); err != nil || other != a {
						t.Errorf("%v: %d threads: %+v, %v, want %+v", level, threads, other, err, a)
					}
				}
				if got := fmt.Sprint(a.Err()); test.want == "" && a.Err() != nil || !strings.Contains(got, test.want) {
					t.Errorf("%v: %+v: %s, want %q", level, a, got, test.want)
				}
				if a.Codes+a.Missing-a.Strange != n+spilled || a.Sampled < 250 || a.Sampled > 1000 {
					t.Errorf("%v: %+v, want %d codes and about 500 sampled", level, a, n+spilled)
				}
			}
		})
	}
}

// fullest returns the list of a chunk that has the most codes.
func fullest(p *Part) int {
	best := p.FirstList
	for l := p.FirstList; l < p.EndList; l++ {
		start, end := p.CodeRange(l)
		if first, last := p.CodeRange(best); end-start > last-first {
			best = l
		}
	}
	return best
}

// An audit of many rows takes two bits of heap for each of them.
func TestAuditMemory(t *testing.T) {
	const n = 20_000
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	base := checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, inputsOf([]*Part{mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(6, 6)), 0, n)))}), 256<<10))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := AuditCodes(context.Background(), spec, mdl, avx.Generic, 1, base, 1); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	working := uint64(deriveBatch * spec.Dim() * 4 * 8)
	if took := after.TotalAlloc - before.TotalAlloc; took > n+working {
		t.Errorf("an audit of %d rows took %d bytes", n, took)
	}
}

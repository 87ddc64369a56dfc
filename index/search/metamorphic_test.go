package search_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// changed is data of a test, the same or not, and what it does to an answer.
type changed struct {
	*snapshottest.Data
	dead   func(i int) bool
	counts func(id string) bool // nil if all rows do
	score  float32              // what an answer's scores are multiplied by
}

// What must not change an answer: the order of rows, in which parts they are, how many of these there are, rows that are dead or that a
// filter leaves out, and the length of rows under cosine; under inner product scores follow it.
func TestSearch_metamorphic(t *testing.T) {
	const n, k = 400, 12
	r := rand.New(rand.NewPCG(21, 22))
	for _, metric := range bothMetrics {
		spec := snapshottest.Spec(metric, 8, 16)
		spec.Vectors = schemas.Float32
		d := snapshottest.Clustered(spec, n, 18)
		for i := range 40 { // that are alike, of which only ids tell which come first
			copy(d.Vector(9*i), d.Vector(9*(i%4)))
		}
		mdl := d.Train(t, best(t), 9)
		pick := func(some ...int) *snapshottest.Data {
			picked := &snapshottest.Data{Spec: spec}
			for _, i := range some {
				picked.IDs, picked.Vectors = append(picked.IDs, d.IDs[i]), append(picked.Vectors, d.Vector(i)...)
			}
			return picked
		}
		scaled := func(factor func() float32) *snapshottest.Data {
			s := pick(r.Perm(n)...)
			for i := range n {
				f := factor()
				for j := range s.Vector(i) {
					s.Vector(i)[j] *= f
				}
			}
			return s
		}
		// More rows, of the same vectors, whose ids come first.
		more := func() (*snapshottest.Data, func(id string) bool) {
			m, extra := pick(r.Perm(n)...), map[string]bool{}
			for i := range n {
				at, id := r.IntN(m.N()+1), fmt.Sprintf("+%d", i)
				extra[id] = true
				m.IDs, m.Vectors = slices.Insert(m.IDs, at, id), slices.Insert(m.Vectors, at*16, d.Vector(r.IntN(n))...)
			}
			return m, func(id string) bool { return extra[id] }
		}
		reference := func(plan search.Plan) [][]answer {
			snap := snapshottest.Build(t, d, mdl, best(t), []snapshottest.Group{{Kind: snapshottest.Chunks, End: n}}, nil)
			var all [][]answer
			for q := range 10 {
				all = append(all, run(t, search.New(best(t)), snap, d.Vector(q*9), k, plan))
			}
			return all
		}
		plans := map[string]search.Plan{"exact": {Exact: true}, "exact prefix": {Exact: true, Dims: 8}, "everything": everythingOf(mdl, false), "by originals": everythingOf(mdl, true)}
		want := map[string][][]answer{}
		for name, plan := range plans {
			want[name] = reference(plan)
		}
		for round := range 4 {
			dead, isDead := more()
			out, isOut := more()
			cases := map[string]changed{
				"permuted":                           {Data: pick(r.Perm(n)...), score: 1},
				"with dead rows":                     {Data: dead, score: 1, dead: func(i int) bool { return isDead(dead.IDs[i]) }},
				"with rows that a filter leaves out": {Data: out, score: 1, counts: func(id string) bool { return !isOut(id) }},
				"four times as long":                 {Data: scaled(func() float32 { return 4 }), score: 4},
			}
			if metric == schemas.Cosine {
				cases["of any length"] = changed{Data: scaled(func() float32 { return float32(int(1) << r.IntN(20)) }), score: 1}
				cases["four times as long"] = changed{Data: cases["four times as long"].Data, score: 1}
			}
			for what, c := range cases {
				groups := randomGroups(r, c.N())
				if metric == schemas.InnerProduct && c.score != 1 { // lists and codes are of rows of another length
					for i := range groups {
						groups[i].Kind = snapshottest.Unlisted
					}
				}
				t.Run(fmt.Sprintf("%s/%d/%s", metric, round, what), func(t *testing.T) {
					snap := snapshottest.Build(t, c.Data, mdl, best(t), groups, c.dead)
					s := search.New(best(t))
					for name, plan := range plans {
						if c.counts != nil {
							plan.Among = selectBy(t, snap, c.counts)
						}
						if !plan.Exact {
							plan.Refine = 4 * c.N()
						}
						for q := range 10 {
							got := run(t, s, snap, d.Vector(q*9), k, plan)
							for i := range got {
								got[i].score /= c.score
							}
							if !slices.Equal(got, want[name][q]) {
								t.Errorf("%s, query %d, parts %v: %v, want %v", name, q, groups, got, want[name][q])
							}
						}
					}
				})
			}
		}
	}
}

func everythingOf(mdl *model.Model, originals bool) search.Plan {
	p := everything(mdl)
	p.Originals = originals
	return p
}

// randomGroups divides n rows.
func randomGroups(r *rand.Rand, n int) (groups []snapshottest.Group) {
	kinds := []snapshottest.Kind{snapshottest.Chunks, snapshottest.Segment, snapshottest.Unlisted}
	for start := 0; start < n; {
		end := min(n, start+1+r.IntN(n/2))
		groups = append(groups, snapshottest.Group{Kind: kinds[r.IntN(len(kinds))], Start: start, End: end})
		start = end
	}
	return groups
}

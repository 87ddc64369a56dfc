package main

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/fleet"
)

// theirs is how they are written, by hand and by a program: quotes or none, keys in any order, notes, what we do not read.
const theirs = `
random-xs:
  max_pts: 10
  # comment
  1:
    operation: "insert"
    start: 0
    end: 8
  2:
    operation: "search"
  3:
    ids_end: 10
    ids_start: 8
    operation: replace
    tags_end: 2
    tags_start: 0
  4:
    end: 8
    operation: 'delete'
    start: 6
  5:
    operation: insert
    start: 6
    end: 7
  gt_url: "https://example.com/simple.yaml"
other-10M:
  max_pts: 1
  1: {operation: search}
`

func TestParse(t *testing.T) {
	r, err := parse([]byte(theirs), "simple.yaml", "random-xs", 10)
	if err != nil {
		t.Fatal(err)
	}
	want := []step{{Operation: opInsert, End: 8}, {Operation: opSearch}, {Operation: opReplace, TagsEnd: 2, IDsStart: 8, IDsEnd: 10},
		{Operation: opDelete, Start: 6, End: 8}, {Operation: opInsert, Start: 6, End: 7}}
	if r.MaxPts != 10 || !slices.Equal(r.Steps, want) {
		t.Errorf("%+v, want %+v", r, want)
	}
}

func TestParse_refuses(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"another dataset":    {"random-xs:", "random-xl:", `dataset "random-xs", allowed: ["other-10M" "random-xl"]`},
		"no max_pts":         {"max_pts: 10", "max: 10", "max_pts"},
		"too many at once":   {"max_pts: 10", "max_pts: 7", "step 1: 8 live rows, allowed: max_pts, 7"},
		"operation":          {"operation: replace", "operation: swap", `step 3: operation: "swap", allowed: insert, delete, replace, search`},
		"a hole":             {"  4:", "  7:", "step 5: there is no step 4 before it"},
		"beyond the data":    {"ids_end: 10", "ids_end: 11", "step 3: replace ids_start, ids_end: [8, 11), allowed: a range of [0, 10)"},
		"more ids than tags": {"ids_start: 8", "ids_start: 7", "replace: 2 tags by 3 ids"},
		"delete of nothing":  {"end: 8\n    operation: 'delete'", "end: 9\n    operation: 'delete'", "delete: tag 8 is not there"},
		"insert again":       {"start: 6\n    end: 7", "start: 5\n    end: 7", "step 5: insert: tag 5 is there already"},
		"replace of nothing": {"tags_end: 2\n    tags_start: 0", "tags_end: 9\n    tags_start: 7", "replace: tag 8 is not there"},
		"empty range":        {"end: 8\n  2:", "end: 0\n  2:", "insert start, end: [0, 0)"},
		"no YAML":            {"random-xs:", "\trandom-xs", "runbook simple.yaml: yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(theirs, test.old, test.new, 1)
			if text == theirs {
				t.Fatal("nothing replaced")
			}
			if _, err := parse([]byte(text), "simple.yaml", "random-xs", 10); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// clouds is n vectors of unit length around a few points.
func clouds(t *testing.T, n, dim int) *vectors {
	t.Helper()
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	centres := make([]float64, 20*dim)
	for i := range centres {
		centres[i] = random.NormFloat64()
	}
	v := &vectors{n: n, dim: dim, level: level}
	for range n {
		c, sum := random.IntN(20)*dim, 0.0
		row := make([]float64, dim)
		for j := range row {
			row[j] = centres[c+j] + random.NormFloat64()
			sum += row[j] * row[j]
		}
		for _, x := range row {
			v.rows = append(v.rows, float32(x/math.Sqrt(sum)))
		}
	}
	return v
}

func TestGenerate(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			v := clouds(t, 4000, 16)
			before := sum(v.rows)
			r, err := generate(t.Context(), kind, v, 1)
			if err != nil {
				t.Fatal(err)
			}
			if after := sum(v.rows); math.Abs(after-before) > 1e-3 {
				t.Errorf("the vectors are others: they add up to %v, before to %v", after, before)
			}
			raw, err := r.write("d")
			if err != nil {
				t.Fatal(err)
			}
			again, err := parse(raw, kind, "d", v.n)
			if err != nil {
				t.Fatal(err)
			}
			if again.MaxPts != r.MaxPts || !slices.Equal(again.Steps, r.Steps) {
				t.Errorf("written and read it is another one:\n%+v\n%+v", again, r)
			}
			if first := slices.IndexFunc(r.Steps, func(s step) bool { return s.Operation == opSearch }); first < 16 {
				t.Errorf("the first search is step %d", first+1)
			}
		})
	}
	if _, err := generate(t.Context(), "other", clouds(t, 4000, 16), 1); err == nil || !strings.Contains(err.Error(), "sliding") {
		t.Errorf("%v, want the kinds", err)
	}
}

func sum(x []float32) (s float64) {
	for _, v := range x {
		s += float64(v)
	}
	return s
}

// model is a system that compares with every row, and forgets one kind of updates once it has rows.
type model struct {
	t       *task
	live    *rows
	forgets string
}

func (m *model) about() about           { return about{Settings: []string{"fast", "slow"}} }
func (m *model) usage() (*usage, error) { return &usage{1, 2, time.Second, 0}, nil }
func (m *model) close() error           { return nil }
func (m *model) update(_ context.Context, s *step) (time.Duration, error) {
	if s.Operation == m.forgets && m.live.count > 0 {
		return time.Second, nil
	}
	return time.Second, m.live.apply(s)
}
func (m *model) settle(context.Context) (time.Duration, error) { return 2 * time.Second, nil }

// search finds all with the slow setting, and half of it with the fast one.
func (m *model) search(_ context.Context, setting int) (*answers, error) {
	a := &answers{took: time.Second}
	for q := 0; q < len(m.t.queries); q += m.t.vectors.dim {
		var top []near
		for tag, id := range m.live.vector {
			if id >= 0 {
				score := float32(0)
				for j, x := range m.t.vectors.row(int(id)) {
					score += x * m.t.queries[q+j]
				}
				top = append(top, near{int32(tag), score})
			}
		}
		slices.SortFunc(top, func(a, b near) int { return int(math.Copysign(1, float64(b.score-a.score))) })
		for i := range k {
			if i < k/2 || setting == 1 {
				a.found = append(a.found, top[i].tag)
			} else {
				a.found = append(a.found, -1)
			}
		}
	}
	return a, nil
}

func TestReplay(t *testing.T) {
	for _, forgets := range []string{"", opInsert, opDelete, opReplace} {
		v := clouds(t, 1000, 16)
		work := &task{vectors: v, queries: clouds(t, 1020, 16).rows[1000*16:], runbook: &runbook{Name: "all", MaxPts: 600, Steps: []step{
			{Operation: opInsert, End: 400}, {Operation: opSearch}, {Operation: opInsert, Start: 400, End: 600}, {Operation: opSearch},
			{Operation: opReplace, TagsEnd: 200, IDsStart: 600, IDsEnd: 800}, {Operation: opSearch},
			{Operation: opDelete, Start: 200, End: 300}, {Operation: opSearch}}}}
		m := &model{t: work, live: newRows(v.n), forgets: forgets}
		var err error
		if work.truth, err = truth(t.Context(), work.runbook, v, work.queries); err != nil {
			t.Fatal(err)
		}
		r, setting, err := work.replay(t.Context(), m, &options{Passes: 2, Recall: 0.95}, -1)
		if err != nil {
			t.Fatal(err)
		}
		if setting != 1 || r.Setting != "slow" {
			t.Errorf("tuned to %q", r.Setting)
		}
		last := r.Searches[len(r.Searches)-1]
		if right := last.Recall == 1; right != (forgets == "") {
			t.Errorf("forgetting %q recall is %v at the end", forgets, last.Recall)
		}
		if forgets == "" {
			if i := r.Updates[opInsert]; i.Rows != 600 || i.Seconds != 6 || i.Waited != 4 || i.searchable() != 100 || i.taken() != 300 {
				t.Errorf("inserts: %+v", i)
			}
			if last.Live != 500 || last.Step != 8 || last.QPS != 20 || r.Total != 18 {
				t.Errorf("total %v, last search: %+v", r.Total, last)
			}
		}
	}
}

// TestStandalone replays a runbook on the product: what a search finds is right after every step, since so few rows are
// compared with every query.
func TestStandalone(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	dir := t.TempDir()
	bin := fleet.In(dir)
	if err := bin.Compile(t.Context(), nil, "adastream"); err != nil {
		t.Fatal(err)
	}
	v := clouds(t, 1000, 16)
	work := &task{bin: bin, dir: dir, vectors: v, ladder: []int{8, 16}, queries: clouds(t, 1020, 16).rows[1000*16:], runbook: &runbook{Name: "all", MaxPts: 600, Steps: []step{
		{Operation: opInsert, End: 600}, {Operation: opSearch}, {Operation: opReplace, TagsEnd: 200, IDsStart: 600, IDsEnd: 800}, {Operation: opSearch},
		{Operation: opDelete, Start: 100, End: 300}, {Operation: opSearch}, {Operation: opInsert, Start: 100, End: 300}, {Operation: opSearch}}}}
	var err error
	if work.truth, err = truth(t.Context(), work.runbook, v, work.queries); err != nil {
		t.Fatal(err)
	}
	r, _, err := work.on(t.Context(), ours, &options{Threads: 2, Partitions: 2, Passes: 1, Recall: 0.95}, -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Searches {
		if s.Recall < 0.98 { // rows of one byte a number, and vectors of 16 bits, order near ones another way
			t.Errorf("recall %v after step %d", s.Recall, s.Step)
		}
	}
	if r.Peak < r.Empty || r.Empty == 0 || r.CPU <= 0 {
		t.Errorf("resident %d, %d at most, %v s of processors", r.Empty, r.Peak, r.CPU)
	}
}

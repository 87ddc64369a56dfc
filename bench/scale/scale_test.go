package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store/storetest"
)

// All steps work, by either way in: every row is served, queries find what they should, and changes are taken in.
func TestSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("runs daemons")
	}
	for _, via := range []string{"load", "kafka"} {
		t.Run(via, func(t *testing.T) {
			o := options{
				Work: t.TempDir(), Store: storetest.URL(t), Brokers: strings.Join(sourcetest.Brokers(t), ","), Name: "scale-" + uuid.NewString(),
				Steps: []string{"feed", "serve", "change"}, Rows: 10000, Dims: 64, Via: via, PartRows: blockRows, Partitions: 2, Queries: 50,
				BuilderFlag: []string{"--keep-for=0s", "--collect-every=1s"}, Limits: []float64{0}, Targets: []float64{0.95},
				Cold: time.Second, Warm: time.Second, Window: 500 * time.Millisecond, Connections: 2, Changes: 2, CollectEvery: time.Second, Quiet: 2 * time.Second, LeaveMB: 1,
			}
			if err := run(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			measured := map[string]json.RawMessage{}
			raw, err := os.ReadFile(filepath.Join(o.Work, "results.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(raw)) {
				var l struct {
					Step     string
					Measured json.RawMessage
				}
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatal(err)
				}
				measured[l.Step] = l.Measured
			}
			var f fed
			var s served
			var c changed
			for step, into := range map[string]any{"feed": &f, "serve": &s, "change": &c} {
				if err := json.Unmarshal(measured[step], into); err != nil {
					t.Fatalf("%s: %v: %s", step, err, measured[step])
				}
			}
			if f.NList == 0 || f.Recall < 0.9 || f.Roles["builder"].Anonymous == 0 || f.Roles["builder"].CPU == 0 || f.Jobs["rewrite"] == nil || f.Stored == 0 {
				t.Errorf("fed: %s", measured["feed"])
			}
			if len(s.Cold) < 2 || len(s.Warm) != 1 || s.Warm[0].Recall < 0.9 || s.Warm[0].Failed > 0 || s.Warm[0].P99 < s.Warm[0].P50 {
				t.Errorf("served: %s", measured["serve"])
			}
			if len(c.Served) != 2 || c.Served[0] < c.Published[0] || c.Jobs["collect garbage"] == nil {
				t.Errorf("changed: %s", measured["change"])
			}
		})
	}
}

// The same law has the same rows, whatever was drawn before; other blocks and streams have others.
func TestLaw(t *testing.T) {
	const dim = 32
	draw := func(l law, stream, block, n int) []float32 {
		rows := make([]float32, n*dim)
		if err := l.draw(stream, block, rows); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	a := newTree(avx.Generic, dim)
	want := draw(a, baseRows, 3, 1000)
	if got := draw(newTree(avx.Generic, dim), baseRows, 3, 500); !slices.Equal(got, want[:500*dim]) {
		t.Error("the same block has other rows")
	}
	for _, other := range [][2]int{{baseRows, 4}, {queryRows, 3}} {
		if got := draw(a, other[0], other[1], 1); slices.Equal(got, want[:dim]) {
			t.Errorf("stream %d, block %d has the same row", other[0], other[1])
		}
	}
	var squares [dim]float64
	for i, v := range want {
		squares[i%dim] += float64(v * v)
	}
	if ratio := squares[0] / squares[15]; ratio < 2.5 || ratio > 6.5 {
		t.Errorf("dimension 0 has %.1f times the energy of dimension 15, want about 16^0.5 = 4", ratio)
	}
}

// The nearest rows are those that comparing one by one finds.
func TestTruth(t *testing.T) {
	const dim, n = 16, 1000
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	l := newTree(level, dim)
	rows, queries := make([]float32, n*dim), make([]float32, 5*dim)
	if err := l.draw(baseRows, 0, rows); err != nil {
		t.Fatal(err)
	}
	if err := l.draw(queryRows, 0, queries); err != nil {
		t.Fatal(err)
	}
	found := newTruth(level, queries, dim)
	found.add(0, rows[:700*dim])
	found.add(700, rows[700*dim:])
	for q, nearest := range found.nearest {
		var numbers []int
		for _, h := range nearest {
			numbers = append(numbers, h.Row)
		}
		want := make([]int, n)
		for i := range want {
			want[i] = i
		}
		score := func(i int) float32 { return avx.Dot(level, queries[q*dim:][:dim], rows[i*dim:][:dim]) }
		slices.SortFunc(want, func(a, b int) int { return int(1e9 * (score(b) - score(a))) })
		if !slices.Equal(numbers, want[:10]) {
			t.Errorf("query %d: %v, want %v", q, numbers, want[:10])
		}
		hits := []client.Hit{{ID: "1000"}}
		for _, row := range want[:5] {
			hits = append(hits, client.Hit{ID: strconv.Itoa(row)})
		}
		if got, err := found.recallOf(q+len(found.nearest), hits); err != nil || got != 5 {
			t.Errorf("query %d: %d of its neighbours, want 5: %v", q, got, err)
		}
	}
}

func TestJobsOf(t *testing.T) {
	log := `not JSON
{"time":"2026-11-27T18:00:00Z","msg":"job started","kind":"rewrite"}
{"time":"2026-11-27T18:00:03Z","msg":"training"}
{"time":"2026-11-27T18:00:05Z","msg":"training"}
{"time":"2026-11-27T18:00:09Z","msg":"measured","took":"1.5s"}
{"time":"2026-11-27T18:00:10Z","msg":"job landed","kind":"rewrite","took":"10s"}
{"time":"2026-11-27T18:00:11Z","msg":"published","took":"20ms"}
{"time":"2026-11-27T18:00:12Z","msg":"published","took":"30ms"}
`
	j, err := jobsOf(log)
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]work{"rewrite": {1, 10, 10, 10}, "train, of a rewrite": {1, 5, 5, 5}, "measure, of a rewrite": {1, 1.5, 1.5, 1.5}, "publish": {2, 0.05, 0.03, 0.03}} {
		if got := j[what]; got == nil || strconv.FormatFloat(got.All, 'f', 3, 64) != strconv.FormatFloat(want.All, 'f', 3, 64) || got.Times != want.Times || got.Most != want.Most || got.Last != want.Last {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	if _, err := jobsOf(`{"took":1}`); err == nil {
		t.Error("no error")
	}
}

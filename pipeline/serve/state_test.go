package serve

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// get reads a JSON answer of status 200.
func get[T any](t *testing.T, api http.Handler, method, path, body string) (a T) {
	t.Helper()
	w := call(api, method, path, body)
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return a
}

func TestBatchGet(t *testing.T) {
	p := newPublisher(t)
	p.color = func(row int) string { return fmt.Sprint("c", row) }
	p.add(0, 30)
	n := p.node(Options{})
	p.await(n, 1)
	a := get[vectorsAnswer](t, n.API(), http.MethodPost, "/v1/vectors:batchGet", `{"ids":["id-7","nobody","id-2","id-7",""],"include_vector":true}`)
	var ids []string
	for _, v := range a.Vectors {
		ids = append(ids, v.ID)
		single := get[vectorAnswer](t, n.API(), http.MethodGet, "/v1/vectors/"+v.ID, "")
		if !slices.Equal(v.Vector, single.Vector) || v.Attributes["color"] != single.Attributes["color"] || v.Offset != single.Offset || v.Attributes["color"] != "c"+v.ID[3:] {
			t.Errorf("%+v, alone it is %+v", v, single)
		}
	}
	if !slices.Equal(ids, []string{"id-7", "id-2", "id-7"}) || !slices.Equal(a.Missing, []string{"nobody", ""}) || a.Snapshot.Generation != 1 {
		t.Errorf("%v, missing %q, of generation %d", ids, a.Missing, a.Snapshot.Generation)
	}
	if a := get[vectorsAnswer](t, n.API(), http.MethodPost, "/v1/vectors:batchGet", `{"ids":["id-7"],"fields":[]}`); a.Vectors[0].Vector != nil || a.Vectors[0].Attributes != nil || a.Missing == nil {
		t.Errorf("%+v", a)
	}
	for body, detail := range map[string]string{
		`{"ids":[]}`:                          "ids: 0",
		`{}`:                                  "ids: 0",
		`{"ids":["x"],"fields":["colour"]}`:   `fields: "colour"`,
		`{"ids":["x"],"wait_seconds":1}`:      "wait_seconds",
		`{"ids":["x"],"k":1}`:                 `json: unknown field "k"`,
		`{"ids":["x"],"min_offsets":{"9":1}}`: "min_offsets",
		`{"ids":["` + strings.Repeat(`x","`, 1000) + `"]}`: "ids: 1001",
	} {
		if p := problemOf(t, call(n.API(), http.MethodPost, "/v1/vectors:batchGet", body)); p.Status != http.StatusBadRequest || !strings.HasPrefix(p.Detail, detail) {
			t.Errorf("%.60s: %+v", body, p)
		}
	}
	if p := problemOf(t, call(n.API(), http.MethodPost, "/v1/vectors:batchGet", `{"ids":["id-40"],"min_offsets":{"0":31},"wait_seconds":0}`)); p.Code != codeNotFresh {
		t.Errorf("%+v", p)
	}
}

func TestGenerations(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 30)
	p.add(30, 50)
	n := p.node(Options{})
	p.await(n, 2)
	for generation, rows := range map[int64]int64{1: 30, 2: 50} {
		g := get[generationInfo](t, n.API(), http.MethodGet, fmt.Sprint("/v1/snapshots/", generation), "")
		if g.Generation != generation || g.LiveRows != rows || g.Parent != generation-1 || g.Segments != int(generation) || g.Bytes < rows*testDim || string(g.Offsets) != fmt.Sprintf(`{"0":%d}`, rows) {
			t.Errorf("generation %d: %+v", generation, g)
		}
	}
	for path, status := range map[string]int{"3": http.StatusNotFound, "9223372036854775807": http.StatusNotFound, "0": http.StatusBadRequest, "x": http.StatusBadRequest,
		"-1": http.StatusBadRequest, "9223372036854775808": http.StatusBadRequest, "..%2f1": http.StatusBadRequest} {
		if w := call(n.API(), http.MethodGet, "/v1/snapshots/"+path, ""); w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestStats(t *testing.T) {
	p := newPublisher(t)
	n := p.node(Options{MaxRunning: 3, MemoryBytes: 1 << 30})
	if a := get[statsAnswer](t, n.API(), http.MethodGet, "/v1/stats", ""); a.Snapshot != nil || a.Live != nil || a.FreshnessSeconds != nil {
		t.Errorf("%+v", a)
	}
	p.add(0, 30)
	p.await(n, 1)
	for range 7 {
		call(n.API(), http.MethodPost, "/v1/search", `{"like":"id-1"}`)
	}
	p.add(30, 40)
	p.await(n, 2)
	n.awaitConfirmed(t)
	a := get[statsAnswer](t, n.API(), http.MethodGet, "/v1/stats", "")
	if a.Snapshot == nil || a.Snapshot.LiveRows != 40 || a.Searches.Count != 7 || !(a.Searches.MeanMicroseconds > 0) || a.Slots != (SlotsInfo{0, 3, 0, 48}) ||
		a.Memory.WantedBytes <= 0 || a.Memory.LimitBytes != 1<<30 || a.ConfirmedSeconds == nil || a.FreshnessSeconds == nil || !(a.UptimeSeconds > 0) || a.Stale != "" {
		t.Errorf("%+v", a)
	}
	i := get[indexAnswer](t, n.API(), http.MethodGet, "/v1/index", "")
	if i.Name != "test" || i.Dims != testDim || i.Spec.Encoder != "e" || i.Limits != (limitsInfo{1000, maxQueries, maxHits, 16 << 20, 60}) {
		t.Errorf("%+v", i)
	}
}

// awaitConfirmed waits until the node has seen that it serves the newest.
func (n *Node) awaitConfirmed(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, ever := n.confirmed.age(); ever && n.Stale() == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("never confirmed")
		}
	}
}

// What is measured on demand is what searches with the same options find.
func TestRecallOnDemand(t *testing.T) {
	const dim, k, count = 32, 10, 200
	n, _ := clusteredNode(t, 3000, 64, 16, dim)
	api := n.API()
	queries := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, dim), count, 2).Vectors
	plan := `"plan":{"nprobe":2,"refine":20}`
	found := 0
	for i := range count {
		query := vectorJSON(queries[i*dim : (i+1)*dim])
		hits := decodeAnswer(t, call(api, http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,%s}`, query, plan))).Hits
		for _, want := range decodeAnswer(t, call(api, http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"exact":true}`, query))).Hits {
			for _, h := range hits {
				if h.ID == want.ID {
					found++
				}
			}
		}
	}
	a := get[recallAnswer](t, api, http.MethodPost, "/v1/recall", fmt.Sprintf(`{"vectors_f32":"%s",%s}`, base64Rows(queries), plan))
	want := float64(found) / (k * count)
	if math.Abs(a.Recall-want) > 1e-9 || a.Queries != count || !a.Complete || a.K != k || a.Truth != "originals" || want == 1 {
		t.Errorf("measured %+v, searches find %v", a, want)
	}
	if !(a.Interval[0] < want && want < a.Interval[1]) || !(a.ExactMicroseconds > 0) || !(a.Microseconds > 0) || a.Usage.Lists != 2*count || a.Snapshot.LiveRows != 3000 {
		t.Errorf("%+v", a)
	}

	// Rows that are drawn are not their own neighbours, and all that there are if there are few.
	a = get[recallAnswer](t, api, http.MethodPost, "/v1/recall", `{"queries":300,"plan":{"nprobe":64,"refine":3000},"k":5}`)
	if a.Queries != 300 || a.Recall < 0.97 { // int8 rows against originals
		t.Errorf("every list probed: %+v", a)
	}
	p := newPublisher(t)
	p.color = func(row int) string { return []string{"red", "green"}[row%2] }
	p.add(0, 20)
	p.drop()
	small := p.node(Options{})
	p.await(small, 2)
	if a := get[recallAnswer](t, small.API(), http.MethodPost, "/v1/recall", `{"filter":{"color":"red"}}`); a.Queries != 19 || a.Recall != 1 || *a.Usage.Matching != 9 {
		t.Errorf("few rows: %+v", a)
	}

	for body, detail := range map[string]string{
		`null`:                                "the document: null",
		`{"vectors_f32":null}`:                "vectors_f32: null",
		`{"plan":{"nprobe":2,"refine":null}}`: "plan.refine: null",
		`{"exact":true}`:                      "exact: true",
		`{"queries":0}`:                       "queries: 0",
		`{"queries":1001}`:                    "queries: 1001",
		`{"k":0}`:                             "k: 0",
		`{"like":"id-1"}`:                     `json: unknown field "like"`,
		`{"vectors":[[1]]}`:                   "vectors[0]: 1 values",
		`{"vectors":[[1]],"vectors_f32":""}`:  "vectors and vectors_f32: given together",
		`{"vectors":[[1]],"queries":5}`:       "queries: given with vectors",
		`{"target_recall":2}`:                 "target_recall",
		`{"filter":{"x":1}}`:                  "filter.x",
	} {
		if p := problemOf(t, call(api, http.MethodPost, "/v1/recall", body)); p.Status != http.StatusBadRequest || !strings.HasPrefix(p.Detail, detail) {
			t.Errorf("%s: %+v", body, p)
		}
	}
	n.measuring <- struct{}{}
	if p := problemOf(t, call(api, http.MethodPost, "/v1/recall", `{}`)); p.Code != codeOverloaded {
		t.Errorf("while another is measured: %+v", p)
	}
	<-n.measuring
	n.o.Timeout = 1
	if w := call(api, http.MethodPost, "/v1/recall", `{"queries":1000}`); w.Code == http.StatusOK || w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
		t.Errorf("without time: %d %s", w.Code, w.Body)
	}
	w := call(api, http.MethodPost, "/v1/recall", `{"queries":1000}`)
	for n.o.Timeout = 10 * time.Millisecond; w.Code == http.StatusServiceUnavailable; n.o.Timeout += 10 * time.Millisecond {
		w = call(api, http.MethodPost, "/v1/recall", `{"queries":1000}`)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); w.Code != http.StatusOK || err != nil || a.Complete || a.Queries == 0 || a.Queries == 1000 {
		t.Errorf("with little time: %d %s", w.Code, w.Body)
	}
}

package fanout_test

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/pipeline/source"
)

type measured struct {
	Recall   float64
	Interval [2]float64
	Queries  int
	Complete bool
	K        int
	Truth    string
	Exact    float64 `json:"exact_microseconds"`
	Snapshot struct {
		LiveRows int `json:"live_rows"`
		Shards   []any
	}
}

// blind is a node that finds nothing unless it searches exactly.
func blind(node http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		q.Body = io.NopCloser(strings.NewReader(string(body)))
		answer := httptest.NewRecorder()
		node.ServeHTTP(answer, q)
		text := answer.Body.Bytes()
		if strings.HasSuffix(q.URL.Path, "/search") && !strings.Contains(string(body), `"exact":true`) {
			var fields map[string]json.RawMessage
			var results []struct {
				Hits []json.RawMessage `json:"hits"`
			}
			if json.Unmarshal(text, &fields) == nil && json.Unmarshal(fields["results"], &results) == nil {
				for i := range results {
					results[i].Hits = []json.RawMessage{}
				}
				fields["results"], _ = json.Marshal(results)
				text, _ = json.Marshal(fields)
			}
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(text)
	})
}

// TestRecall: it is that of merged answers against merged exact ones, whatever the shards think of theirs.
func TestRecall(t *testing.T) {
	rows := someRows(600)
	spec, nodes := build(t, 2, rows)
	all := router(t, fanout.Options{Spec: spec, Own: nodes})
	half := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0], 1: blind(nodes[1])}})
	measure := func(h http.Handler, body string) (m measured) {
		t.Helper()
		w := call(h, "POST", "/v1/recall", body)
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d: %v: %.400s", body, w.Code, err, w.Body)
		}
		return m
	}
	vectors := text([][]float32{rows[3].vector, rows[4].vector, rows[5].vector})
	for body, want := range map[string]measured{
		`{}`:                          {Queries: 100, K: 10},
		`{"queries":7,"k":3}`:         {Queries: 7, K: 3},
		`{"vectors":` + vectors + `}`: {Queries: 3, K: 10},
		`{"queries":12,"plan":{"nprobe":3},"filter":{"class":"class 3"}}`: {Queries: 12, K: 10},
	} {
		m := measure(all, body)
		if m.Recall != 1 || m.Queries != want.Queries || m.K != want.K || !m.Complete || m.Truth != "originals" || m.Snapshot.LiveRows != 600 || len(m.Snapshot.Shards) != 2 {
			t.Errorf("%s: %+v", body, m)
		}
	}

	// What is found of the truth is what shard 0 has of it.
	var truth struct {
		Results []struct {
			Hits []struct{ ID string }
		}
	}
	w := call(all, "POST", "/v1/search", `{"exact":true,"fields":[],"vectors":`+vectors+`}`)
	if err := json.Unmarshal(w.Body.Bytes(), &truth); err != nil {
		t.Fatal(err)
	}
	there := 0
	for _, r := range truth.Results {
		for _, h := range r.Hits {
			if spec.ShardOf(source.PartitionOf(h.ID, partitions)) == 0 {
				there++
			}
		}
	}
	m := measure(half, `{"vectors":`+vectors+`}`)
	if math.Abs(m.Recall-float64(there)/30) > 1e-6 || m.Interval[0] >= m.Recall || m.Interval[1] <= m.Recall {
		t.Errorf("recall is %v within %v, want %d of 30", m.Recall, m.Interval, there)
	}
	if m := measure(half, `{"queries":200}`); m.Recall < 0.5 || m.Recall > 0.7 { // shard 0 has three of five partitions
		t.Errorf("of drawn rows recall is %v", m.Recall)
	}
}

// TestRecallWithoutOriginals: if one of the exact answers was by int8 rows, which their nodes say, it is not said that originals were compared.
func TestRecallWithoutOriginals(t *testing.T) {
	rows := someRows(300)
	spec, nodes := build(t, 2, rows)
	for filter, plain := range map[string]string{``: ``, `,"filter":{"class":"class 3"}`: `"k":1,`} {
		exact := 0
		away := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			body, _ := io.ReadAll(q.Body)
			q.Body = io.NopCloser(strings.NewReader(string(body)))
			answer := httptest.NewRecorder()
			nodes[1].ServeHTTP(answer, q)
			text := answer.Body.String()
			if strings.Contains(string(body), `"exact":true`) && (plain == "" || !strings.Contains(string(body), plain)) {
				if exact++; exact == 2 {
					text = strings.NewReplacer(`"usage":`, `"degraded":"int8","usage":`, `"expected_recall":1`, `"expected_recall":null`).Replace(text)
				}
			}
			w.WriteHeader(answer.Code)
			_, _ = io.WriteString(w, text)
		})
		w := call(router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0], 1: away}}), "POST", "/v1/recall", `{"queries":40`+filter+`}`)
		var m measured
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || m.Queries != 40 || exact < 2 || m.Truth != "int8" {
			t.Errorf("%s: %d exact answers: %.300s", filter, exact, w.Body)
		}
	}
}

// TestRecallRefuses what a node refuses, in its words.
func TestRecallRefuses(t *testing.T) {
	rows := someRows(100)
	_, one := build(t, 1, rows)
	spec, nodes := build(t, 2, rows)
	all := router(t, fanout.Options{Spec: spec, Own: nodes})
	vector := text(rows[0].vector)
	for _, body := range []string{`{"exact":true}`, `{"queries":0}`, `{"queries":1001}`, `{"queries":3,"vectors":[` + vector + `]}`, `{"vectors":[]}`, `{"vectors":[[1]]}`, `{"vectors_f32":"AAAA"}`,
		`{"vectors_f32":""}`, `{"k":0}`, `{"fields":[]}`, `{"k":null}`, `{`, `[]`, `{"filter":{"colour":3}}`, `{"encoder":"another"}`, `{"target_recall":2}`, `{"vectors":[` + vector + `],"vectors_f16":"AAAA"}`} {
		got, want := answerOf(t, call(all, "POST", "/v1/recall", body)), answerOf(t, call(one[0], "POST", "/v1/recall", body))
		if d, ok := got["detail"].(string); ok {
			got["detail"] = strings.TrimPrefix(d, "shard 0: ")
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%s, want\n%s", body, text(got), text(want))
		}
	}
}

// TestRecallTakesItsTime, and ends with what it has; where that is nothing it says so.
func TestRecallTakesItsTime(t *testing.T) {
	rows := someRows(100)
	spec, nodes := build(t, 2, rows)
	searches := 0
	slow := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if searches++; searches > 3 { // the sample, and ten queries by a plan and exactly
			<-q.Context().Done()
		}
		nodes[1].ServeHTTP(w, q)
	})
	all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0], 1: slow}, Timeout: time.Second})
	w := call(all, "POST", "/v1/recall", `{"queries":50}`)
	var m measured
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || m.Queries != 10 || m.Complete {
		t.Errorf("%d: %v: %s", w.Code, err, w.Body)
	}
	if w := call(all, "POST", "/v1/recall", `{"vectors":[`+text(rows[0].vector)+`]}`); w.Code != 503 || !strings.Contains(w.Body.String(), "not one query was measured") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

// TestSample: different rows, from each shard in proportion.
func TestSample(t *testing.T) {
	rows := someRows(600)
	spec, nodes := build(t, 2, rows)
	all := router(t, fanout.Options{Spec: spec, Own: nodes})
	var a struct {
		Vectors []struct {
			ID        string
			Vector    []float32
			Partition int
		}
	}
	for body, want := range map[string]int{`{}`: 100, `{"count":7}`: 7, `{"count":1000}`: 600} {
		a.Vectors = nil
		w := call(all, "POST", "/v1/vectors:sample", body)
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		ids, of := map[string]bool{}, [2]int{}
		for _, v := range a.Vectors {
			ids[v.ID] = true
			of[spec.ShardOf(v.Partition)]++
			if len(v.Vector) != dim {
				t.Errorf("%s has %d values", v.ID, len(v.Vector))
			}
		}
		if len(ids) != want || len(a.Vectors) != want || want >= 100 && (of[0] < want/3 || of[1] < want/5) {
			t.Errorf("%s: %d rows, %d ids, %v by shard", body, len(a.Vectors), len(ids), of)
		}
	}
	for _, body := range []string{`{"count":0}`, `{"n":1}`, `{"count":"3"}`, `{"count":null}`} {
		if w := call(all, "POST", "/v1/vectors:sample", body); w.Code != 400 {
			t.Errorf("%s: %d: %s", body, w.Code, w.Body)
		}
	}
}

// late is a node that leaves out the best hits of each query unless it searches exactly.
func late(node http.Handler, out int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		cut := strings.HasSuffix(q.URL.Path, "/search") && !strings.Contains(string(body), `"exact":true`)
		if cut {
			var fields map[string]any
			_ = json.Unmarshal(body, &fields)
			fields["k"] = fields["k"].(float64) + float64(out)
			body = []byte(text(fields))
		}
		q.Body, q.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
		answer := httptest.NewRecorder()
		node.ServeHTTP(answer, q)
		raw := answer.Body.Bytes()
		if cut && answer.Code == 200 {
			var fields map[string]json.RawMessage
			var results []struct {
				Hits []json.RawMessage `json:"hits"`
			}
			_ = json.Unmarshal(raw, &fields)
			_ = json.Unmarshal(fields["results"], &results)
			for i := range results {
				results[i].Hits = results[i].Hits[out:]
			}
			fields["results"], _ = json.Marshal(results)
			raw = []byte(text(fields))
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(raw)
	})
}

// TestRecallOfRowsThatAreTheSame: a hit that has the vector of a true neighbour counts for that, as where there is one shard, and one of
// another vector does not.
func TestRecallOfRowsThatAreTheSame(t *testing.T) {
	rows := someRows(600)
	for i := 100; i < 200; i++ {
		rows[i].vector = rows[100].vector
	}
	spec, nodes := build(t, 2, rows)
	all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: late(nodes[0], 8), 1: late(nodes[1], 8)}})
	for row, want := range map[int]float64{100: 1, 7: 0} { // which has hits of other rows only
		w := call(all, "POST", "/v1/recall", `{"k":5,"vectors":[`+text(rows[row].vector)+`]}`)
		var m measured
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || m.Queries != 1 || m.Recall != want {
			t.Errorf("row %d: %v, %+v, want %v: %.300s", row, err, m, want, w.Body)
		}
	}
}

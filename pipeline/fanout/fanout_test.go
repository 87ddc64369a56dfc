package fanout_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/openapitest"
)

const (
	dim        = 16
	partitions = 5
)

// row is one that is live in the end.
type row struct {
	id     string
	vector []float32
	class  string
	year   int64
	maybe  *bool
}

func someRows(n int) []row {
	rng := rand.New(rand.NewPCG(3, 5))
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{id: fmt.Sprint("id-", i), class: fmt.Sprint("class ", rng.IntN(9)), year: 1<<60 + int64(rng.IntN(50))}
		if n := rng.IntN(3); n > 0 {
			yes := n > 1
			rows[i].maybe = &yes
		}
		for range dim {
			rows[i].vector = append(rows[i].vector, float32(rng.NormFloat64()))
		}
	}
	return rows
}

// build makes an index of rows in some shards, and returns nodes that serve them.
func build(t testing.TB, shards int, rows []row) (*schemas.Spec, map[int]http.Handler) {
	t.Helper()
	spec := schemas.Spec{Name: "words", Ladder: []int{8, dim}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: partitions}, Shards: shards,
		Attributes: []schemas.Attribute{{Name: "class", Type: schemas.AttributeString}, {Name: "year", Type: schemas.AttributeInt}, {Name: "maybe", Type: schemas.AttributeBool}},
		Defaults:   schemas.Defaults{TargetRecall: 0.5}}.WithDefaults()
	b := store.NewMemory()
	if err := commit.Create(t.Context(), b, &spec); err != nil {
		t.Fatal(err)
	}
	logs, err := commit.OpenShards(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	of := make([]*segment.Rows, partitions)
	for p := range of {
		of[p] = segment.NewRows(&spec)
	}
	for _, r := range rows {
		p := source.PartitionOf(r.id, partitions)
		rows := of[p]
		rows.IDs, rows.Orders = append(rows.IDs, r.id), append(rows.Orders, segment.Order{Partition: int32(p), Offset: int64(rows.Len())})
		rows.AppendFloats(avx.Generic, r.vector)
		class, year, maybe := array.NewStringBuilder(memory.DefaultAllocator), array.NewInt64Builder(memory.DefaultAllocator), array.NewBooleanBuilder(memory.DefaultAllocator)
		class.Append(r.class)
		year.Append(r.year)
		if r.maybe == nil {
			maybe.AppendNull()
		} else {
			maybe.Append(*r.maybe)
		}
		for i, b := range []array.Builder{class, year, maybe} {
			if err := rows.Attributes[i].AppendFrom(b.NewArray(), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	nodes := map[int]http.Handler{}
	for _, log := range logs {
		for _, p := range log.Partitions() {
			if n := of[p].Len(); n > 0 {
				buildtest.Append(t, log, &schemas.Commit{Partition: p, End: int64(n)}, of[p], nil, nil, nil)
			}
		}
		m := buildtest.Build(t, log, func(m *schemas.Manifest) bool {
			c, err := log.Channel(t.Context(), 0)
			return err == nil && c != nil && c.Generation == m.Generation
		})
		node, err := serve.New(serve.Options{Log: log, Cache: buildtest.Cache(t, log.Bucket()), Level: avx.Generic, PollEvery: time.Millisecond, Admin: true})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- node.Run(t.Context()) }()
		t.Cleanup(func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
			node.Close()
		})
		for node.View().Manifest == nil || node.View().Manifest.Generation != m.Generation {
			time.Sleep(time.Millisecond)
		}
		nodes[log.Shard()] = node.API()
	}
	return &spec, nodes
}

func router(t testing.TB, o fanout.Options) http.Handler {
	t.Helper()
	r, err := fanout.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r.API()
}

// peer serves some shards over HTTP.
func peer(t *testing.T, spec *schemas.Spec, own map[int]http.Handler) *url.URL {
	t.Helper()
	server := httptest.NewServer(router(t, fanout.Options{Spec: spec, Own: own}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func call(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(w, r)
	return w
}

// answerOf is what is compared of an answer: all that does not depend on which generation it came from, or on how much was looked at.
func answerOf(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.UseNumber()
	var a map[string]any
	if err := d.Decode(&a); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	delete(a, "snapshot")
	delete(a, "usage")
	delete(a, "type")
	a["status"] = w.Code
	return a
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// TestSameAsOneShard: what is merged is what one node of all rows answers, to the byte of ids, scores and attributes.
func TestSameAsOneShard(t *testing.T) {
	rows := someRows(600)
	_, one := build(t, 1, rows)
	for _, shards := range []int{2, 4} {
		spec, nodes := build(t, shards, rows)
		own := map[int]http.Handler{0: nodes[0]}
		peers := map[int][]*url.URL{}
		for s := 1; s < shards; s++ {
			peers[s] = []*url.URL{peer(t, spec, map[int]http.Handler{s: nodes[s]})}
		}
		all := router(t, fanout.Options{Spec: spec, Own: own, Peers: peers})
		vector, other := text(rows[7].vector), text(rows[8].vector)
		offsets := map[string]int64{}
		for p := range partitions {
			offsets[fmt.Sprint(p)] = 1
		}
		for name, test := range map[string]struct{ method, path, body string }{
			"vector":              {"POST", "/v1/search", `{"exact":true,"vector":` + vector + `}`},
			"k":                   {"POST", "/v1/search", `{"exact":true,"k":57,"vector":` + vector + `}`},
			"k as K":              {"POST", "/v1/search", `{"exact":true,"K":3,"vector":` + vector + `}`},
			"all rows":            {"POST", "/v1/search", `{"exact":true,"k":1000,"fields":[],"vector":` + vector + `}`},
			"vectors":             {"POST", "/v1/search", `{"exact":true,"vectors":[` + vector + `,` + other + `]}`},
			"one of vectors":      {"POST", "/v1/search", `{"exact":true,"vectors":[` + vector + `]}`},
			"like":                {"POST", "/v1/search", `{"exact":true,"like":"id-9"}`},
			"like with k":         {"POST", "/v1/search", `{"exact":true,"k":1000,"like":"id-9"}`},
			"like nothing":        {"POST", "/v1/search", `{"exact":true,"like":"nobody"}`},
			"filter":              {"POST", "/v1/search", `{"exact":true,"filter":{"class":"class 3"},"vector":` + vector + `}`},
			"no row":              {"POST", "/v1/search", `{"exact":true,"filter":{"class":"none"},"vector":` + vector + `}`},
			"score":               {"POST", "/v1/search", `{"exact":true,"min_score":0.4,"k":100,"vector":` + vector + `}`},
			"with vectors":        {"POST", "/v1/search", `{"exact":true,"include_vector":true,"fields":["year"],"vector":` + vector + `}`},
			"groups":              {"POST", "/v1/search", `{"exact":true,"group_by":"class","k":4,"vector":` + vector + `}`},
			"all groups":          {"POST", "/v1/search", `{"exact":true,"group_by":"class","k":40,"vector":` + vector + `}`},
			"groups of 3":         {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":3,"k":4,"vector":` + vector + `}`},
			"groups of many":      {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":100,"k":2,"like":"id-1"}`},
			"few of many groups":  {"POST", "/v1/search", `{"exact":true,"group_by":"year","group_size":5,"k":3,"vector":` + vector + `}`},
			"all of all groups":   {"POST", "/v1/search", `{"exact":true,"group_by":"year","group_size":20,"k":50,"vector":` + vector + `}`},
			"groups of nulls":     {"POST", "/v1/search", `{"exact":true,"group_by":"maybe","group_size":4,"k":2,"vector":` + vector + `}`},
			"groups, filtered":    {"POST", "/v1/search", `{"exact":true,"group_by":"year","group_size":3,"filter":{"$or":[{"year":{"$gt":1152921504606846980}},{"class":"class 3"}]},"vector":` + vector + `}`},
			"groups, deep":        {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":3,"k":2,"filter":` + strings.Repeat(`{"$not":`, 7) + `{"class":"class 3"}` + strings.Repeat("}", 7) + `,"vector":` + vector + `}`},
			"groups, compared":    {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":3,"k":2,"filter":{"$or":[` + strings.Repeat(`{"year":{"$gt":1}},`, 63) + `{"class":"class 3"}]},"vector":` + vector + `}`},
			"groups, many values": {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":3,"k":2,"filter":{"year":{"$nin":[0` + strings.Repeat(`,0`, 9_999) + `]}},"vector":` + vector + `}`},
			"groups of values":    {"POST", "/v1/search", `{"exact":true,"group_by":"maybe","group_size":4,"k":3,"group_values":[null,true],"filter":{"class":{"$ne":"class 3"}},"vector":` + vector + `}`},
			"groups of no value":  {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_values":[],"vector":` + vector + `}`},
			"values of groups":    {"POST", "/v1/search", `{"exact":true,"group_by":"year","group_values":["1"],"vector":` + vector + `}`},
			"values alone":        {"POST", "/v1/search", `{"exact":true,"group_values":[1],"vector":` + vector + `}`},
			"values are null":     {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_values":null,"vector":` + vector + `}`},
			"k twice":             {"POST", "/v1/search", `{"exact":true,"k":1,"vector":` + vector + `,"K":2}`},
			"a null id":           {"POST", "/v1/vectors:batchGet", `{"ids":["id-5",null]}`},
			"ids twice":           {"POST", "/v1/vectors:batchGet", `{"ids":["id-5"],"ids":["id-6"]}`},
			"groups in the URL":   {"POST", "/v1/search?group_by=class", `{"exact":true,"vector":` + vector + `}`},
			"groups by a filter":  {"POST", "/v1/search", `{"exact":true,"group_by":"class","GROUP_SIZE":3,"K":2,"Filter":{"class":{"$ne":"class 3"}},"vector":` + vector + `}`},
			"offset is null":      {"POST", "/v1/search", `{"exact":true,"min_offsets":{"1":null},"vector":` + vector + `}`},
			"null for rows":       {"POST", "/v1/vectors:batchGet", `{"ids":["id-5"],"min_offsets":{"1":null}}`},
			"wait is null":        {"POST", "/v1/search", `{"exact":true,"min_offsets":{"1":1},"wait_seconds":null,"vector":` + vector + `}`},
			"groups of a score":   {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":9,"min_score":0.3,"k":3,"vector":` + vector + `}`},
			"groups, too many":    {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":500,"k":3,"vector":` + vector + `}`},
			"group_size is 0":     {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":0,"k":3,"vector":` + vector + `}`},
			"group_size alone":    {"POST", "/v1/search", `{"exact":true,"group_size":2,"vector":` + vector + `}`},
			"groups of vectors":   {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":2,"vectors":[` + vector + `]}`},
			"groups of queries":   {"POST", "/v1/search", `{"exact":true,"group_by":"year","group_size":5,"k":3,"vectors":[` + vector + `,` + other + `,` + vector + `]}`},
			"each of class":       {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":9,"k":2,"min_score":0.2,"vectors":[` + other + `,` + vector + `]}`},
			"each of its values":  {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":9,"k":2,"group_values":[["class 1","class 2","class 4"],[],["class 5"]],"vectors":[` + other + `,` + vector + `,` + vector + `,` + other + `]}`},
			"too many lists":      {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":9,"k":2,"group_values":[["class 1"],[]],"vectors":[` + other + `]}`},
			"each of no row":      {"POST", "/v1/search", `{"exact":true,"group_by":"class","group_size":9,"k":2,"filter":{"class":"none"},"vectors":[` + other + `,` + vector + `]}`},
			"groups of nothing":   {"POST", "/v1/search", `{"exact":true,"group_by":"colour","group_size":2,"vector":` + vector + `}`},
			"groups of size 1":    {"POST", "/v1/search", `{"exact":true,"group_by":"year","group_size":1,"k":4,"like":"id-1"}`},
			"offsets":             {"POST", "/v1/search", `{"exact":true,"min_offsets":` + text(offsets) + `,"wait_seconds":4,"vector":` + vector + `}`},
			"an offset":           {"POST", "/v1/search", `{"exact":true,"min_offsets":{"1":1},"wait_seconds":4,"vector":` + vector + `}`},
			"no partition":        {"POST", "/v1/search", `{"min_offsets":{"5":1},"vector":` + vector + `}`},
			"not an object":       {"POST", "/v1/search", `[1]`},
			"not JSON":            {"POST", "/v1/search", `{"k":`},
			"k is text":           {"POST", "/v1/search", `{"k":"ten","vector":` + vector + `}`},
			"k is 0":              {"POST", "/v1/search", `{"k":0,"vector":` + vector + `}`},
			"k is null":           {"POST", "/v1/search", `{"k":null,"vector":` + vector + `}`},
			"unknown field":       {"POST", "/v1/search", `{"kk":1,"vector":` + vector + `}`},
			"short vector":        {"POST", "/v1/search", `{"vector":[1]}`},
			"nothing asked":       {"POST", "/v1/search", `{}`},
			"parameters":          {"POST", "/v1/search?k=3", `{"vector":` + vector + `}`},
			"other parameters":    {"POST", "/v1/search?pretty", `{"exact":true,"vector":` + vector + `}`},
			"wait alone":          {"POST", "/v1/search", `{"wait_seconds":1,"vector":` + vector + `}`},
			"get":                 {"POST", "/v1/vectors:batchGet", `{"ids":["id-5","nobody","id-2","id-2"],"include_vector":true}`},
			"get with offset":     {"POST", "/v1/vectors:batchGet", `{"ids":["id-5"],"min_offsets":{"2":1}}`},
			"rows, twice":         {"POST", "/v1/vectors:sample", `{"count":2,"Count":3}`},
			"get nothing":         {"POST", "/v1/vectors:batchGet", `{"ids":[]}`},
			"get rubbish":         {"POST", "/v1/vectors:batchGet", `{"ids":7}`},
			"a vector":            {"GET", "/v1/vectors/id-77", ""},
			"no vector":           {"GET", "/v1/vectors/no%2Fbody", ""},
			"search by get":       {"GET", "/v1/search", ""},
		} {
			t.Run(fmt.Sprintf("%d shards/%s", shards, name), func(t *testing.T) {
				got, want := answerOf(t, call(all, test.method, test.path, test.body)), answerOf(t, call(one[0], test.method, test.path, test.body))
				if d, ok := got["detail"].(string); ok { // which says which shard it was
					_, after, _ := strings.Cut(d, ": ")
					if strings.HasPrefix(d, "shard ") {
						got["detail"] = after
					}
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("merged: %s\none:    %s", text(got), text(want))
				}
			})
		}
	}
}

// TestAbout: what an answer says beside its hits is of all shards.
func TestAbout(t *testing.T) {
	rows := someRows(600)
	spec, nodes := build(t, 3, rows)
	all := router(t, fanout.Options{Spec: spec, Own: nodes})
	var a struct {
		Snapshot struct {
			Generation int64            `json:"generation"`
			LiveRows   int              `json:"live_rows"`
			Offsets    map[string]int64 `json:"offsets"`
			Shards     []struct {
				Shard      int   `json:"shard"`
				Generation int64 `json:"generation"`
				LiveRows   int   `json:"live_rows"`
			} `json:"shards"`
		} `json:"snapshot"`
		Usage struct {
			Exact    bool `json:"exact"`
			Refined  int  `json:"refined"`
			Matching *int `json:"matching"`
		} `json:"usage"`
		Expected *float64 `json:"expected_recall"`
	}
	w := call(all, "POST", "/v1/search", `{"exact":true,"filter":{"class":{"$exists":true}},"vector":`+text(rows[0].vector)+`}`)
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	sum, lowest := 0, int64(1<<62)
	for i, s := range a.Snapshot.Shards {
		if s.Shard != i || s.Generation < 1 {
			t.Errorf("shard %d: %+v", i, s)
		}
		sum, lowest = sum+s.LiveRows, min(lowest, s.Generation)
	}
	if a.Snapshot.LiveRows != 600 || sum != 600 || len(a.Snapshot.Offsets) != partitions || a.Snapshot.Generation != lowest || !a.Usage.Exact || a.Usage.Matching == nil || *a.Usage.Matching != 600 {
		t.Errorf("%s", w.Body)
	}
}

// TestAnswersAreAsDescribed: in schemas/openapi.yaml.
func TestAnswersAreAsDescribed(t *testing.T) {
	const name = "../../schemas/openapi.yaml"
	compiler := openapitest.Compiler(t, name)
	rows := someRows(300)
	spec, nodes := build(t, 2, rows)
	all := router(t, fanout.Options{Spec: spec, Own: nodes})
	half := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0]}})
	vector := text(rows[0].vector)
	for _, test := range []struct {
		api                        http.Handler
		schema, method, path, body string
	}{
		{all, "SearchAnswer", "POST", "/v1/search", `{"vector":` + vector + `}`},
		{all, "SearchAnswer", "POST", "/v1/search", `{"exact":true,"filter":{"class":"class 1"},"vectors":[` + vector + `]}`},
		{all, "SearchAnswer", "POST", "/v1/search", `{"group_by":"class","group_size":2,"k":3,"like":"id-3"}`},
		{all, "SearchAnswer", "POST", "/v1/search", `{"group_by":"class","group_size":2,"k":3,"vectors":[` + vector + `]}`},
		{all, "VectorAnswer", "GET", "/v1/vectors/id-1", ""},
		{all, "VectorsAnswer", "POST", "/v1/vectors:batchGet", `{"ids":["id-1","nobody"]}`},
		{all, "IndexAnswer", "GET", "/v1/index", ""},
		{all, "StatsAnswer", "GET", "/v1/stats", ""},
		{all, "ShardsAnswer", "GET", "/v1/shards", ""},
		{half, "ShardsAnswer", "GET", "/v1/shards", ""},
		{half, "Problem", "POST", "/v1/search", `{"vector":` + vector + `}`},
		{half, "Problem", "GET", "/v1/shards/1/stats", ""},
		{all, "RecallAnswer", "POST", "/v1/recall", `{"queries":11,"k":3}`},
		{all, "SampleAnswer", "POST", "/v1/vectors:sample", `{"count":3}`},
		{all, "Problem", "GET", "/v1/recall", ""},
		{all, "Problem", "DELETE", "/v1/search", ""},
		{all, "Problem", "POST", "/v1/search", `{"group_by":"class","group_size":0,"vector":` + vector + `}`},
	} {
		s, err := compiler.Compile(name + "#/components/schemas/" + test.schema)
		if err != nil {
			t.Fatal(err)
		}
		w := call(test.api, test.method, test.path, test.body)
		if (w.Code == http.StatusOK) != (test.schema != "Problem") {
			t.Errorf("%s %s: %d: %s", test.method, test.path, w.Code, w.Body)
		}
		answer, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(answer); err != nil {
			t.Errorf("%s %s: %v\n%s", test.method, test.path, err, w.Body)
		}
	}
}

// TestDoubled: an id that is in two shards is in an answer once, and that is counted, but of the last hit, after which none is looked at.
func TestDoubled(t *testing.T) {
	rows := someRows(300)
	spec, nodes := build(t, 2, rows)
	registry := prometheus.NewRegistry()
	twice := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0], 1: nodes[0]}, Registry: registry})
	w := call(twice, "POST", "/v1/search", `{"exact":true,"k":20,"fields":[],"vector":`+text(rows[0].vector)+`}`)
	var a struct {
		Hits []struct{ ID string } `json:"hits"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || len(a.Hits) != 20 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	seen := map[string]bool{}
	for _, h := range a.Hits {
		if seen[h.ID] {
			t.Errorf("%s is there twice", h.ID)
		}
		seen[h.ID] = true
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP adastream_query_doubled_ids_total Number of hits left out of merged answers because another shard has their ID too. Should be 0, else a producer does not partition by ID.
# TYPE adastream_query_doubled_ids_total counter
adastream_query_doubled_ids_total 19
`), "adastream_query_doubled_ids_total"); err != nil {
		t.Error(err)
	}
}

// TestShardPaths: what is of one shard is asked below it, and what an administrator does stays below /v1/admin.
func TestShardPaths(t *testing.T) {
	spec, nodes := build(t, 2, someRows(300))
	all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{1: nodes[1]}})
	move := `{"verb":"pin","generation":1,"reason":"r"}`
	for _, test := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/v1/shards/1/stats", "", 200, `"snapshot":{"generation"`},
		{"GET", "/v1/shards/1/snapshots", "", 200, `"serving"`},
		{"GET", "/v1/shards/1/vectors/no%2Fbody", "", 404, `no/body`},
		{"GET", "/v1/shards/0/stats", "", 404, `"allowed":"1"`},
		{"GET", "/v1/shards/2/stats", "", 404, "no_such_shard"},
		{"GET", "/v1/shards/01/stats", "", 404, "no_such_shard"},
		{"GET", "/v1/shards/-1/stats", "", 404, "no_such_shard"},
		{"POST", "/v1/shards/1/admin/channel", move, 404, "no_such_url"},
		{"POST", "/v1/shards/1/vectors/../admin/channel", move, 307, ""},
		{"POST", "/v1/shards/1/vectors%2F..%2Fadmin/channel", move, 404, ""},
		{"POST", "/v1/admin/shards/1/channel", move, 200, `"pinned":true`},
		{"POST", "/v1/admin/shards/0/channel", move, 404, "no_such_shard"},
		{"GET", "/v1/snapshots", "", 404, "below /v1/shards/{shard}/"},
		{"GET", "/v1/stats", "", 503, "no_shard"},
		{"GET", "/v1/shards", "", 200, `{"shard":0,"here":false,"peers":[],"serving":null,"partitions":[0,2,4],"problem":"shard 0: this node has none and knows no other"}`},
		{"GET", "/v1/index", "", 503, "no_shard"},
	} {
		w := call(all, test.method, test.path, test.body)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
			t.Errorf("%s %s: %d: %s, want %d with %q", test.method, test.path, w.Code, w.Body, test.status, test.says)
		}
	}
}

func TestOptions(t *testing.T) {
	spec := &schemas.Spec{Shards: 2}
	bad, _ := url.Parse("ftp://host")
	for want, o := range map[string]fanout.Options{
		"no spec":                              {},
		"shard 2, allowed: 0 to 1":             {Spec: spec, Own: map[int]http.Handler{2: nil}},
		"shard -1, allowed: 0 to 1":            {Spec: spec, Peers: map[int][]*url.URL{-1: nil}},
		"peer ftp://host of shard 1, allowed:": {Spec: spec, Peers: map[int][]*url.URL{1: {bad}}},
		"timeout -1ns":                         {Spec: spec, Timeout: -1},
	} {
		if _, err := fanout.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

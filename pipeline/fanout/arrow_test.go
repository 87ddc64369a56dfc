package fanout_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/fanout"
)

const arrowType = "application/vnd.apache.arrow.stream"

// queriesOf is an Arrow stream of vectors.
func queriesOf(t testing.TB, vectors ...[]float32) string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "vector", Type: arrow.FixedSizeListOfNonNullable(int32(len(vectors[0])), arrow.PrimitiveTypes.Float32)}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	list := b.Field(0).(*array.FixedSizeListBuilder)
	for _, v := range vectors {
		list.Append(true)
		list.ValueBuilder().(*array.Float32Builder).AppendValues(v, nil)
	}
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// arrowOf is what is compared of an answer in Arrow: its rows and columns, and the metadata that depend on neither generation nor work.
func arrowOf(t *testing.T, body []byte) (rows string, about map[string]string) {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if !r.Next() {
		t.Fatal("no batch")
	}
	raw, err := r.RecordBatch().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	about = r.Schema().Metadata().ToMap()
	delete(about, "adastream.snapshot")
	delete(about, "adastream.usage")
	return r.Schema().String()[:strings.Index(r.Schema().String()+"\n  metadata", "\n  metadata")] + string(raw), about
}

func send(h http.Handler, path, sends, wants, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", sends)
	if wants != "" {
		r.Header.Set("Accept", wants)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestArrowAsOneShard: requests and answers in Arrow, each with or without the other, are those of one node of all rows.
func TestArrowAsOneShard(t *testing.T) {
	rows := someRows(600)
	_, one := build(t, 1, rows)
	for _, shards := range []int{2, 4} {
		spec, nodes := build(t, shards, rows)
		peers := map[int][]*url.URL{}
		for s := 1; s < shards; s++ {
			peers[s] = []*url.URL{peer(t, spec, map[int]http.Handler{s: nodes[s]})}
		}
		all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0]}, Peers: peers})
		stream, vector := queriesOf(t, rows[7].vector, rows[8].vector, rows[9].vector), text(rows[7].vector)
		const json = "application/json"
		for name, test := range map[string]struct{ path, sends, wants, body string }{
			"both":               {"?exact=true", arrowType, "", stream},
			"k":                  {"?exact=true&k=57", arrowType, "", stream},
			"all rows":           {"?exact=true&k=1000&fields=year,class,maybe", arrowType, arrowType, stream},
			"filter":             {"?exact=true&fields=maybe&filter=" + url.QueryEscape(`{"class":"class 3"}`), arrowType, "", stream},
			"no row":             {"?exact=true&fields=maybe&filter=" + url.QueryEscape(`{"class":"none"}`), arrowType, "", stream},
			"score":              {"?exact=true&min_score=0.6", arrowType, "", stream},
			"offsets":            {"?exact=true&wait_seconds=4&min_offsets=" + url.QueryEscape(`{"0":1,"3":1}`), arrowType, "", stream},
			"an offset":          {"?exact=true&wait_seconds=4&max_staleness_seconds=60&min_offsets=" + url.QueryEscape(`{"1":1}`), arrowType, "", stream},
			"wait alone":         {"?exact=true&wait_seconds=4", arrowType, "", stream},
			"no partition":       {"?min_offsets=" + url.QueryEscape(`{"5":1}`), arrowType, "", stream},
			"null for an offset": {"?exact=true&min_offsets=" + url.QueryEscape(`{"1":null}`), arrowType, "", stream},
			"no offsets":         {"?min_offsets=3", arrowType, "", stream},
			"k is text":          {"?k=ten", arrowType, "", stream},
			"k is 0":             {"?k=0", arrowType, "", stream},
			"k twice":            {"?k=3&k=4", arrowType, "", stream},
			"no parameters":      {"?a=%zz", arrowType, "", stream},
			"unknown parameter":  {"?kk=3", arrowType, "", stream},
			"rubbish":            {"", arrowType, "", "rubbish"},
			"JSON for Arrow":     {"?exact=true&fields=class", arrowType, json, stream},
			"Arrow for JSON":     {"", json, arrowType, `{"exact":true,"vectors":[` + vector + `]}`},
			"of one vector":      {"", json, arrowType, `{"exact":true,"fields":[],"k":33,"vector":` + vector + `}`},
			"like":               {"", json, arrowType, `{"exact":true,"like":"id-9"}`},
			"groups":             {"", json, arrowType, `{"exact":true,"group_by":"class","vector":` + vector + `}`},
			"groups of 5":        {"", json, arrowType, `{"exact":true,"group_by":"year","group_size":5,"k":3,"fields":["class"],"vectors":[` + vector + `,` + text(rows[8].vector) + `]}`},
			"groups of queries":  {"?exact=true&group_by=year&group_size=5&k=3&fields=class,year", arrowType, "", stream},
			"groups of nulls":    {"?exact=true&group_by=maybe&group_size=5&k=2", arrowType, "", stream},
			"groups, waited for": {"?exact=true&group_by=class&group_size=5&k=3&wait_seconds=4&min_offsets=" + url.QueryEscape(`{"0":1,"3":1}`), arrowType, "", stream},
			"groups in JSON":     {"?exact=true&group_by=year&group_size=5&k=3&fields=class", arrowType, json, stream},
			"groups of values":   {"?exact=true&group_by=class&group_size=5&k=2&group_values=" + url.QueryEscape(`[["class 1","class 2","class 4"],[],["class 5"]]`), arrowType, "", stream},
			"groups of no row":   {"?exact=true&group_by=class&group_size=5&filter=" + url.QueryEscape(`{"class":"none"}`), arrowType, "", stream},
			"group_size is text": {"?exact=true&group_by=class&group_size=x", arrowType, "", stream},
			"group_size alone":   {"?exact=true&group_size=2", arrowType, "", stream},
			"too many in groups": {"?exact=true&group_by=class&k=100&group_size=11", arrowType, "", stream},
			"vectors back":       {"", json, arrowType, `{"exact":true,"include_vector":true,"vector":` + vector + `}`},
		} {
			t.Run(fmt.Sprintf("%d shards/%s", shards, name), func(t *testing.T) {
				got, want := send(all, "/v1/search"+test.path, test.sends, test.wants, test.body), send(one[0], "/v1/search"+test.path, test.sends, test.wants, test.body)
				if g, w := got.Header().Get("Content-Type"), want.Header().Get("Content-Type"); g != w || got.Code != want.Code {
					t.Fatalf("%d %s, want %d %s\n%.300s", got.Code, g, want.Code, w, got.Body)
				}
				if want.Header().Get("Content-Type") != arrowType {
					a, b := answerOf(t, got), answerOf(t, want)
					if d, ok := a["detail"].(string); ok {
						a["detail"] = strings.TrimPrefix(d, "shard 0: ")
					}
					if !reflect.DeepEqual(a, b) {
						t.Errorf("merged: %s\none:    %s", text(a), text(b))
					}
					return
				}
				rows, about := arrowOf(t, got.Body.Bytes())
				wantRows, wantAbout := arrowOf(t, want.Body.Bytes())
				if rows != wantRows || !reflect.DeepEqual(about, wantAbout) {
					t.Errorf("merged: %v %s\none:    %v %s", about, rows, wantAbout, wantRows)
				}
			})
		}
	}
}

// TestArrowForClients: package client reads merged answers, and what they say of shards.
func TestArrowForClients(t *testing.T) {
	rows := someRows(100)
	spec, nodes := build(t, 2, rows)
	server := httptest.NewServer(router(t, fanout.Options{Spec: spec, Own: nodes}))
	defer server.Close()
	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.SearchBatch(t.Context(), append(append([]float32{}, rows[3].vector...), rows[4].vector...), dim, client.How{}, "class")
	if err != nil {
		t.Fatal(err)
	}
	hits, err := b.Of(2)
	if err != nil || len(hits[0]) != 10 || hits[0][0].ID != rows[3].id || hits[1][0].ID != rows[4].id || len(b.Snapshot.Shards) != 2 || b.Snapshot.LiveRows != 100 || b.ExpectedRecall == nil {
		t.Errorf("%v: %v of %+v", err, hits, b.About)
	}
}

// TestArrowOfNoNode: what is no answer in Arrow is an error, whatever it is.
func TestArrowOfNoNode(t *testing.T) {
	rows := someRows(100)
	spec, nodes := build(t, 2, rows)
	good := send(nodes[1], "/v1/search", arrowType, "", queriesOf(t, rows[0].vector)).Body.Bytes()
	other := send(nodes[1], "/v1/search?fields=class", arrowType, "", queriesOf(t, rows[0].vector)).Body.Bytes()
	for name, body := range map[string][]byte{"nothing": nil, "rubbish": []byte("rubbish"), "half": good[:len(good)/2], "queries": []byte(queriesOf(t, rows[0].vector)), "other columns": other} {
		peer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
		all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0], 1: peer}})
		if w := send(all, "/v1/search", arrowType, "", queriesOf(t, rows[0].vector)); w.Code != 500 {
			t.Errorf("%s: %d: %.200s", name, w.Code, w.Body)
		}
	}
}

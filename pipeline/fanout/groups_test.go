package fanout_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/schemas"
)

// TestGroupsAreOfOneGeneration: a shard that is swapped between the two times that it is asked is asked anew, so that all of its hits are
// of the generation that the answer names.
func TestGroupsAreOfOneGeneration(t *testing.T) {
	rows := someRows(600)
	spec, nodes := build(t, 2, rows)
	for form, query := range map[string]string{
		"one query":    `{"exact":true,"group_by":"year","group_size":5,"k":1,"vector":` + text(rows[7].vector) + `}`,
		"many queries": `{"exact":true,"group_by":"year","group_size":5,"k":1,"vectors":[` + text(rows[8].vector) + `,` + text(rows[7].vector) + `]}`,
	} {
		t.Run(form, func(t *testing.T) { groupsAreOfOneGeneration(t, spec, nodes, query) })
	}
}

func groupsAreOfOneGeneration(t *testing.T, spec *schemas.Spec, nodes map[int]http.Handler, query string) {
	want := answerOf(t, call(router(t, fanout.Options{Spec: spec, Own: nodes}), "POST", "/v1/search", query))
	var asked, again atomic.Int64 // for more
	swapping := func(node http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			body, err := io.ReadAll(q.Body)
			if err != nil {
				t.Error(err)
			}
			q.Body = io.NopCloser(bytes.NewReader(body))
			answer := httptest.NewRecorder()
			node.ServeHTTP(answer, q)
			text := answer.Body.String()
			if !bytes.Contains(body, []byte(`group_values`)) {
				asked.Add(1)
			} else if again.Add(1) < 3 {
				text = strings.Replace(text, `"generation":`, `"generation":1`, 1)
			}
			w.WriteHeader(answer.Code)
			_, _ = io.WriteString(w, text)
		})
	}
	both := map[int]http.Handler{0: swapping(nodes[0]), 1: swapping(nodes[1])}
	got := answerOf(t, call(router(t, fanout.Options{Spec: spec, Own: both}), "POST", "/v1/search", query))
	if text(got) != text(want) {
		t.Errorf("got %s\nwant %s", text(got), text(want))
	}
	if asked.Load() < 4 || again.Load() < 3 || asked.Load()%2 != 0 {
		t.Errorf("two shards were asked %d times, and %d times for more", asked.Load(), again.Load())
	}
}

// TestGroupsOfLongValues: shards are asked for more in as many requests as it takes, since in Arrow the values stand in the URL.
func TestGroupsOfLongValues(t *testing.T) {
	rows := someRows(600)
	for i := range rows {
		rows[i].class = fmt.Sprint(i%200) + strings.Repeat("\"", 20_000)
	}
	_, one := build(t, 1, rows)
	spec, nodes := build(t, 2, rows)
	all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0]}, Peers: map[int][]*url.URL{1: {peer(t, spec, map[int]http.Handler{1: nodes[1]})}}})
	stream := queriesOf(t, rows[7].vector, rows[8].vector)
	for _, wants := range []string{"application/json", arrowType} {
		const path = "/v1/search?exact=true&group_by=class&group_size=3&k=50"
		got, want := send(all, path, arrowType, wants, stream), send(one[0], path, arrowType, wants, stream)
		if got.Code != 200 || want.Code != 200 {
			t.Fatalf("%d %.300s, one shard: %d %.300s", got.Code, got.Body, want.Code, want.Body)
		}
		if wants != arrowType {
			if a, b := answerOf(t, got), answerOf(t, want); !reflect.DeepEqual(a, b) {
				t.Error("in JSON it is another answer than that of one shard")
			}
			continue
		}
		a, _ := arrowOf(t, got.Body.Bytes())
		if b, _ := arrowOf(t, want.Body.Bytes()); a != b {
			t.Error("in Arrow it is another answer than that of one shard")
		}
	}
}

// TestGroupsTellOfBothAnswers: what a shard says when it is asked for the rest of some groups counts as what it said before: that originals
// were lacking above all, since some of the hits are by int8 rows then.
func TestGroupsTellOfBothAnswers(t *testing.T) {
	rows := someRows(600)
	spec, nodes := build(t, 2, rows)
	var again, originals atomic.Int64
	degraded := func(node http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			body, err := io.ReadAll(q.Body)
			if err != nil {
				t.Error(err)
			}
			q.Body = io.NopCloser(bytes.NewReader(body))
			answer := httptest.NewRecorder()
			node.ServeHTTP(answer, q)
			text := answer.Body.String()
			originals.Add(gjson.Get(text, "usage.originals").Int())
			if bytes.Contains(body, []byte(`group_values`)) {
				again.Add(1)
				text = strings.Replace(text, `"usage":`, `"degraded":"int8","usage":`, 1)
				text = strings.Replace(text, `,"expected_recall":1`, ``, 1) // nothing was measured of that
			}
			w.WriteHeader(answer.Code)
			_, _ = io.WriteString(w, text)
		})
	}
	both := map[int]http.Handler{0: degraded(nodes[0]), 1: degraded(nodes[1])}
	w := call(router(t, fanout.Options{Spec: spec, Own: both}), "POST", "/v1/search", `{"exact":true,"group_by":"year","group_size":5,"k":1,"vector":`+text(rows[7].vector)+`}`)
	if again.Load() == 0 || originals.Load() == 0 {
		t.Fatalf("asked again %d times, %d originals", again.Load(), originals.Load())
	}
	if got := gjson.Get(w.Body.String(), "degraded").Str; got != "int8" {
		t.Errorf("degraded: %q", got)
	}
	if got := gjson.Get(w.Body.String(), "expected_recall"); got.Exists() {
		t.Errorf("expected recall %v of int8 rows", got)
	}
	if got := gjson.Get(w.Body.String(), "usage.originals").Int(); got != originals.Load() {
		t.Errorf("%d originals, of nodes that scored %d", got, originals.Load())
	}
}

// TestLikeIsAsFreshAsTheSearch: a search that waits until a row is there can be for what is like it.
func TestLikeIsAsFreshAsTheSearch(t *testing.T) {
	rows := someRows(600)
	spec, nodes := build(t, 2, rows)
	// behind is a node that has its rows only once somebody waits for them.
	behind := func(node http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			body, err := io.ReadAll(q.Body)
			if err != nil {
				t.Error(err)
			}
			if strings.HasSuffix(q.URL.Path, "batchGet") && !gjson.GetBytes(body, "min_offsets").Exists() {
				body = bytes.Replace(body, []byte("id-9"), []byte("id-not-yet"), 1)
			}
			q.Body = io.NopCloser(bytes.NewReader(body))
			node.ServeHTTP(w, q)
		})
	}
	both := map[int]http.Handler{0: behind(nodes[0]), 1: behind(nodes[1])}
	search := func(how string) map[string]any {
		return answerOf(t, call(router(t, fanout.Options{Spec: spec, Own: both}), "POST", "/v1/search", `{"exact":true,"like":"id-9"`+how+`}`))
	}
	want := answerOf(t, call(router(t, fanout.Options{Spec: spec, Own: nodes}), "POST", "/v1/search", `{"exact":true,"like":"id-9"}`))
	if got := search(`,"min_offsets":{"0":1,"1":1,"2":1,"3":1,"4":1},"wait_seconds":4`); text(got) != text(want) {
		t.Errorf("got %s\nwant %s", text(got), text(want))
	}
	for how, status := range map[string]int{`,"max_staleness_seconds":600`: 404, `,"max_staleness_seconds":-1`: 400, `,"wait_seconds":1`: 400, ``: 404} {
		if got := search(how); got["status"] != status {
			t.Errorf("%s: %s, want %d", how, text(got), status)
		}
	}
}

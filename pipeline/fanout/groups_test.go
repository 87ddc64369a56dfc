package fanout_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/adastream/adastream/pipeline/fanout"
)

// TestGroupsAreOfOneGeneration: a shard that is swapped between the two times that it is asked is asked anew, so that all of its hits are
// of the generation that the answer names.
func TestGroupsAreOfOneGeneration(t *testing.T) {
	rows := someRows(600)
	spec, nodes := build(t, 2, rows)
	query := `{"exact":true,"group_by":"year","group_size":5,"k":1,"vector":` + text(rows[7].vector) + `}`
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
			if !bytes.Contains(body, []byte(`"$in"`)) {
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
	if asked.Load() != 6 || again.Load() != 3 {
		t.Errorf("two shards were asked %d times, and one %d times for more, want 6 and 3", asked.Load(), again.Load())
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
			if bytes.Contains(body, []byte(`"$in"`)) {
				again.Add(1)
				text = strings.Replace(text, `"usage":`, `"degraded":"int8","usage":`, 1)
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
	if got := gjson.Get(w.Body.String(), "usage.originals").Int(); got != originals.Load() {
		t.Errorf("%d originals, of nodes that scored %d", got, originals.Load())
	}
}

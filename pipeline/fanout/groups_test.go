package fanout_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

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

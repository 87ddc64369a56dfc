package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// Hits are of rows that the filter selects, in JSON and in Arrow, and of what is live now: a filter is applied to each
// generation.
func TestFilter(t *testing.T) {
	p := newPublisher(t)
	p.color = func(row int) string { return []string{"red", "green", "blue"}[row%3] }
	p.add(0, 30)
	n := p.node(Options{})
	p.await(n, 1)
	ask := func(filter string) answerJSON {
		t.Helper()
		return decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"k":30,"filter":%s}`, vectorJSON(unit(1)), filter)))
	}
	check := func(filter string, counts func(row int) bool, rows int) {
		t.Helper()
		var want, got []string
		for row := range rows {
			if counts(row) {
				want = append(want, fmt.Sprint("id-", row))
			}
		}
		a := ask(filter)
		for _, h := range a.Hits {
			got = append(got, h.ID)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || a.Usage.Matching == nil || *a.Usage.Matching != int64(len(want)) {
			t.Errorf("%s: hits %v, matching %v, want %v", filter, got, a.Usage.Matching, want)
		}
	}
	isRed := func(row int) bool { return row%3 == 0 }
	check(`{"color":"red"}`, isRed, 30)
	check(`{"color":{"$ne":"red"}}`, func(row int) bool { return !isRed(row) }, 30)
	check(`{}`, func(int) bool { return true }, 30)
	check(`{"color":"grey"}`, func(int) bool { return false }, 30)

	p.drop() // id-0
	p.add(30, 36)
	p.await(n, 3)
	check(`{"color":"red"}`, func(row int) bool { return isRed(row) && row > 0 }, 36)

	stream := vectorsStream(t, singleItems, testDim, append(unit(1), unit(2)...))
	w := post(n.API(), "/v1/search?k=30&filter="+url.QueryEscape(`{"color":"red"}`), stream, "Content-Type", arrowType)
	b, about := readAnswer(t, w.Body.Bytes())
	if len(hitsOf(b)) != 22 || !strings.Contains(about["adastream.usage"], `"matching":11`) {
		t.Errorf("Arrow: %d hits, %s", len(hitsOf(b)), about["adastream.usage"])
	}

	check(`{"color":null}`, func(int) bool { return false }, 36) // a value, other than no filter
	a := decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", `{"like":"id-3","filter":{"color":"red"}}`))
	if len(a.Hits) != 10 || slices.ContainsFunc(a.Hits, func(h struct {
		ID         string         `json:"id"`
		Score      float32        `json:"score"`
		Attributes map[string]any `json:"attributes"`
		Vector     []float32      `json:"vector"`
	}) bool {
		return h.ID == "id-3" || h.Attributes["color"] != "red"
	}) {
		t.Errorf("like: %+v", a.Hits)
	}
}

// What is wrong with a filter is told with its place and what is allowed there.
func TestFilterErrors(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 3)
	n := p.node(Options{})
	p.await(n, 1)
	for filter, want := range map[string]string{
		`{"shape":"round"}`:     `"detail":"filter.shape: not an attribute of the index, allowed: color","code":"invalid","allowed":"color"`,
		`{"color":{"$gt":3}}`:   `filter.color.$gt: 3`,
		`[]`:                    `filter: an array`,
		`"color = 1"`:           `filter: \"color = 1\"`,
		`{"color":1,"color":2}`: `filter.color: 1`,
	} {
		w := call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"like":"id-1","filter":%s}`, filter))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s, want %s", filter, w.Code, w.Body, want)
		}
	}
	stream := vectorsStream(t, singleItems, testDim, unit(1))
	w := post(n.API(), "/v1/search?filter=color", stream, "Content-Type", arrowType)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "filter: no JSON") {
		t.Errorf("Arrow: %d %s", w.Code, w.Body)
	}
}

// A recall that was measured without a filter is not promised with one, and filtered answers are measured against exact ones
// with the same filter.
func TestFilteredRecallIsMeasured(t *testing.T) {
	data := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 8, 32), 4000, 1)
	data.Spec.Attributes = []schemas.Attribute{{Name: "n", Type: schemas.AttributeInt}}
	b := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range data.N() {
		b.Append(int64(i % 4))
	}
	data.Attributes = []arrow.Array{b.NewArray()}
	n := nodeOf(t, data, 64)
	measure(t, n, 1)
	ask := func(filter string) answerJSON {
		return decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"plan":{"nprobe":8,"refine":100}%s}`, vectorJSON(data.Vector(7)), filter)))
	}
	for deadline := time.Now().Add(time.Minute); n.live.current() == nil; {
		ask(`,"filter":{"n":{"$gte":2}}`)
		if time.Now().After(deadline) {
			t.Fatal("no answer was measured in a minute")
		}
	}
	if e := n.live.current(); e.Recall < 0.9 {
		t.Errorf("recall %v: compared without the filter?", e.Recall)
	}
	if a := decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", `{"like":"`+data.IDs[0]+`","exact":true,"filter":{"n":1}}`)); a.ExpectedRecall == nil || *a.ExpectedRecall != 1 {
		t.Errorf("an exact answer: expected recall %v", a.ExpectedRecall)
	}
	n.current.Load().Manifest().Plans = []schemas.PlanPoint{{NProbe: 8, ScanDims: 32, Refine: 100, Recall: 0.97, Low: 0.96, High: 0.98, Micros: 10}}
	for filter, want := range map[string]bool{"": true, `,"filter":{"n":{"$gte":2}}`: false} {
		a := decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s%s}`, vectorJSON(data.Vector(7)), filter)))
		if (a.ExpectedRecall != nil) != want {
			t.Errorf("with %q: expected recall %v", filter, a.ExpectedRecall)
		}
	}
}

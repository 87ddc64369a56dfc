package serve

import (
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/client"
)

// Package client says what a node understands, and reads all of what it answers.
func TestClient(t *testing.T) {
	p := newPublisher(t)
	p.color = func(row int) string { return []string{"red", "green", "blue"}[row%3] }
	p.add(0, 30)
	n := p.node(Options{})
	p.await(n, 1)
	server := httptest.NewServer(n.API())
	defer server.Close()
	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	score := 0.1
	how := client.How{K: 4, Exact: true, Filter: []byte(`{"color":"red"}`), MinScore: &score, Encoder: "e",
		Freshness: client.Freshness{MinOffsets: map[string]int64{"0": 30}, MaxStaleness: 60}}
	a, err := c.Search(ctx, client.Query{Vector: unit(3), How: how, IncludeVector: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Hits) == 0 || a.Hits[0].ID != "id-3" || a.Hits[0].Attributes["color"] != "red" || len(a.Hits[0].Vector) != testDim ||
		a.Snapshot.Offsets["0"] != 30 || !a.Usage.Exact || *a.Usage.Matching != 10 || *a.ExpectedRecall != 1 {
		t.Errorf("%+v", a)
	}
	b, err := c.SearchBatch(ctx, slices.Concat(unit(3), unit(6)), testDim, how, "color")
	if err != nil {
		t.Fatal(err)
	}
	results, err := b.Of(2)
	if err != nil {
		t.Fatal(err)
	}
	if results[0][0].ID != "id-3" || results[1][0].ID != "id-6" || len(results[0]) != len(a.Hits) || b.Snapshot.Offsets["0"] != 30 || *b.Usage.Matching != 10 || *b.ExpectedRecall != 1 ||
		b.Hits.Column(3).(*array.String).Value(0) != "red" {
		t.Errorf("%+v, %v", b, results)
	}
	if a, err = c.Search(ctx, client.Query{Like: "id-3", How: client.How{K: 2, GroupBy: "color", GroupSize: 3}, Fields: &[]string{}}); err != nil || len(a.Groups) != 2 || len(a.Groups[0].Hits) != 3 || a.Groups[0].Hits[0].Attributes != nil {
		t.Errorf("%+v, %v", a, err)
	}
	grouped := client.How{K: 2, GroupBy: "color", GroupSize: 3, Exact: true}
	for name, values := range map[string]*[]any{"all": nil, "some": {"red", "blue", nil}, "each": {[]any{"blue", "red"}, []any{}}} {
		grouped.GroupValues = values
		if b, err = c.SearchBatch(ctx, slices.Concat(unit(3), unit(6)), testDim, grouped); err != nil {
			t.Fatal(name, err)
		}
		groups, err := b.GroupsOf(2)
		if err != nil {
			t.Fatal(name, err)
		}
		for i, seed := range []int{3, 6} {
			how := grouped
			if name == "each" {
				of := (*values)[i].([]any)
				how.GroupValues = &of
			}
			one, err := c.Search(ctx, client.Query{Vector: unit(seed), How: how, Fields: &[]string{}})
			if err != nil || !reflect.DeepEqual(one.Groups, groups[i]) && len(one.Groups)+len(groups[i]) > 0 || (len(groups[i]) == 0) != (name == "each" && i == 1) {
				t.Errorf("%s: query %d has the groups %+v, alone %+v, %v", name, i, groups[i], one.Groups, err)
			}
		}
	}
	if _, err := b.GroupsOf(0); err == nil {
		t.Error("hits of a query that there was not")
	}
	effort := 0.0
	if a, err = c.Search(ctx, client.Query{Like: "id-3", How: client.How{Effort: &effort, Dims: 8}}); err != nil || len(a.Hits) != 10 || a.Usage.Dims != 8 {
		t.Errorf("%+v, %v", a, err)
	}
	v, err := c.Vector(ctx, "id-5")
	if err != nil || v.Offset != 5 || len(v.Vector) != testDim {
		t.Errorf("%+v, %v", v, err)
	}
	vs, err := c.Vectors(ctx, client.VectorsRequest{IDs: []string{"id-5", "no/body"}})
	if err != nil || len(vs.Vectors) != 1 || vs.Missing[0] != "no/body" || vs.Snapshot.Generation != 1 {
		t.Errorf("%+v, %v", vs, err)
	}
	drawn, err := c.Sample(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, v := range drawn.Vectors {
		ids[v.ID] = len(v.Vector) == testDim
	}
	if len(drawn.Vectors) != 7 || len(ids) != 7 || slices.Contains(slices.Collect(maps.Values(ids)), false) || drawn.Snapshot.Generation != 1 {
		t.Errorf("%+v", drawn)
	}
	if drawn, err = c.Sample(ctx, 0); err != nil || len(drawn.Vectors) != 30 { // of 100
		t.Errorf("%+v, %v", drawn, err)
	}
	i, err := c.Index(ctx)
	if err != nil || i.Dims != testDim || i.Spec.Encoder != "e" || i.Limits.K != 1000 {
		t.Errorf("%+v, %v", i, err)
	}
	r, err := c.Recall(ctx, client.RecallRequest{Queries: 5, How: client.How{K: 3}})
	if err != nil || r.Recall != 1 || r.Queries != 5 || r.K != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	var problem *client.Problem
	if _, err := c.Vector(ctx, "no/body"); !errors.As(err, &problem) || problem.Code != codeNotFound {
		t.Errorf("%v", err)
	}
	wait := 0.0
	_, err = c.Search(ctx, client.Query{Like: "id-1", How: client.How{Freshness: client.Freshness{MinOffsets: map[string]int64{"0": 31}, Wait: &wait}}})
	if !errors.As(err, &problem) || problem.Code != codeNotFresh || problem.Snapshot.Offsets["0"] != 30 {
		t.Errorf("%v", err)
	}
	if _, err := c.Sample(ctx, -1); !errors.As(err, &problem) || problem.Detail != "count: -1" || problem.Allowed != "1 to 1000" {
		t.Errorf("%v", err)
	}
	if _, err := c.SearchBatch(ctx, unit(1), testDim, client.How{K: 5000}); !errors.As(err, &problem) || problem.Allowed != fmt.Sprintf("1 to %d", 1000) {
		t.Errorf("%v", err)
	}
}

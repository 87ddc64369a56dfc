package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

type groupJSON struct {
	Value any `json:"value"`
	hitsJSON
}

type groupsJSON struct {
	Groups []groupJSON `json:"groups"`
	about
}

func askGroups(t *testing.T, api http.Handler, body string) groupsJSON {
	t.Helper()
	w := call(api, http.MethodPost, "/v1/search", body)
	var a groupsJSON
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK || a.Groups == nil {
		t.Fatalf("%s: %d %s", body, w.Code, w.Body)
	}
	return a
}

// Groups are those that one would make of all hits: however few rows a value has, and however many another.
func TestGroups(t *testing.T) {
	p := newPublisher(t)
	p.color = func(row int) string { // 150 rows of one, and ever fewer of others
		return fmt.Sprint("c", max(0, 8-(row%300)/15))
	}
	p.add(0, 250)
	p.color = nil
	p.add(250, 280) // null, a value like others
	p.drop()
	n := p.node(Options{})
	p.await(n, 3)
	for _, query := range []string{`"vector":` + vectorJSON(unit(1)), `"vector":` + vectorJSON(unit(400)), `"like":"id-3"`} {
		for _, options := range []string{"", `,"filter":{"color":{"$gte":"c5"}}`, `,"min_score":0.2`, `,"filter":{"color":null}`, `,"filter":{"color":"none"}`} {
			all := decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{%s,"k":1000%s}`, query, options))).Hits
			for _, c := range [][2]int{{1, 1}, {3, 1}, {5, 3}, {20, 1}, {20, 40}, {2, 300}, {1000, 1}} {
				k, size := c[0], c[1]
				var values []any
				want := map[any][]string{}
				for _, h := range all {
					v := h.Attributes["color"]
					if _, known := want[v]; !known && len(values) < k {
						values = append(values, v)
						want[v] = []string{}
					}
					if ids, known := want[v]; known && len(ids) < size {
						want[v] = append(ids, fmt.Sprint(h.ID, h.Score))
					}
				}
				a := askGroups(t, n.API(), fmt.Sprintf(`{%s,"k":%d,"group_by":"color","group_size":%d%s}`, query, k, size, options))
				var got []any
				for _, g := range a.Groups {
					got = append(got, g.Value)
					var ids []string
					for _, h := range g.Hits {
						ids = append(ids, fmt.Sprint(h.ID, h.Score))
						if h.Attributes["color"] != g.Value {
							t.Errorf("a hit of %v is in the group of %v", h.Attributes["color"], g.Value)
						}
					}
					if !slices.Equal(ids, want[g.Value]) {
						t.Errorf("%s%s, k %d, size %d: %v has %v, want %v", query, options, k, size, g.Value, ids, want[g.Value])
					}
				}
				if !slices.Equal(got, values) {
					t.Errorf("%s%s, k %d, size %d: groups %v, want %v", query, options, k, size, got, values)
				}
			}
		}
	}
	for _, c := range []struct {
		options string
		want    []any // sorted
	}{
		{`"group_values":["c5",null,"none"]`, []any{nil, "c5"}},
		{`"group_values":["c5","c6","c7"],"filter":{"color":{"$ne":"c6"}}`, []any{"c5", "c7"}},
		{`"group_values":[]`, nil},
		{`"filter":{"color":{"$in":["k","c5","\"k\":","k","group_by"]}}`, []any{"c5"}}, // names that are values are not given twice
		{`"group_values":[null],"filter":{"color":"c5"}`, nil},
	} {
		a := askGroups(t, n.API(), `{"like":"id-3","k":4,"group_by":"color","group_size":7,`+c.options+`}`)
		var got []any
		for _, g := range a.Groups {
			if got = append(got, g.Value); len(g.Hits) != 7 {
				t.Errorf("%s: %d hits of %v", c.options, len(g.Hits), g.Value)
			}
		}
		slices.SortFunc(got, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: groups %v, want %v", c.options, got, c.want)
		}
	}
	for _, c := range []struct{ request, detail, allowed string }{
		{`{"like":"id-3","group_by":"colour"}`, `group_by: "colour" is not`, "color"},
		{`{"like":"id-3","group_size":2}`, "group_size: given alone", "beside group_by"},
		{`{"like":"id-3","group_values":["c1"]}`, "group_values: given alone", "beside group_by"},
		{`{"like":"id-3","group_by":"color","group_values":["c1",7]}`, "group_values[1]: 7", "a text"},
		{`{"like":"id-3","group_by":"color","group_values":"c1"}`, `group_values: "c1"`, "an array of values"},
		{`{"like":"id-3","group_by":"colour","group_values":["c1"]}`, `group_by: "colour" is not`, "color"},
		{`{"like":"id-3","group_by":"color","group_size":0}`, "group_size: 0, with k = 10", "1 to 100"},
		{`{"like":"id-3","k":400,"group_by":"color","group_size":3}`, "group_size: 3, with k = 400", "1 to 2"},
		{`{"like":"id-3","k":4,"group_by":"color","group_size":4611686018427387905}`, "group_size: 4611686018427387905, with k = 4", "1 to 250"}, // times 4 is 4
		{`{"like":"id-3","group_by":"color","group_values":[["c1"],["c2"]]}`, "group_values: 2 arrays", "at most 1"},
	} {
		if p := problemOf(t, call(n.API(), http.MethodPost, "/v1/search", c.request)); p.Code != codeInvalid || !strings.HasPrefix(p.Detail, c.detail) || !strings.Contains(p.Allowed, c.allowed) {
			t.Errorf("%s: %+v", c.request, p)
		}
	}
}

// A plan that looks at a few rows still finds as many groups as there are.
func TestGroupsOfAPlan(t *testing.T) {
	spec := snapshottest.Spec(schemas.Cosine, 16, 32)
	spec.Attributes = []schemas.Attribute{{Name: "n", Type: schemas.AttributeInt}, {Name: "even", Type: schemas.AttributeBool}, {Name: "x", Type: schemas.AttributeFloat}}
	data := snapshottest.Clustered(spec, 3000, 1)
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64},
		{Name: "even", Type: arrow.FixedWidthTypes.Boolean}, {Name: "x", Type: arrow.PrimitiveTypes.Float64}}, nil))
	for i := range data.N() {
		b.Field(0).(*array.Int64Builder).Append(int64(i % 40))
		b.Field(1).(*array.BooleanBuilder).Append(i%2 == 0)
		b.Field(2).(*array.Float64Builder).Append(float64(i))
	}
	data.Attributes = b.NewRecordBatch().Columns()
	n := nodeOf(t, data, 64)
	for i := range 20 {
		a := askGroups(t, n.API(), fmt.Sprintf(`{"vector":%s,"k":50,"group_by":"n","group_size":4,"plan":{"nprobe":2}}`, vectorJSON(data.Vector(i))))
		if len(a.Groups) != 40 || a.ExpectedRecall != nil || a.Usage.Codes == 0 {
			t.Fatalf("%d groups, want 40: %+v", len(a.Groups), a.about)
		}
		last := float32(2)
		for _, g := range a.Groups {
			if len(g.Hits) != 4 || g.Hits[0].Score > last {
				t.Errorf("%v: %d hits from %v on, after a group from %v on", g.Value, len(g.Hits), g.Hits[0].Score, last)
			}
			last = g.Hits[0].Score
		}
	}
	if a := askGroups(t, n.API(), fmt.Sprintf(`{"vector":%s,"group_by":"even"}`, vectorJSON(data.Vector(0)))); len(a.Groups) != 2 {
		t.Errorf("%d groups, want 2", len(a.Groups))
	}
	if p := problemOf(t, call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"group_by":"x"}`, vectorJSON(data.Vector(0))))); !strings.Contains(p.Detail, "float64") {
		t.Errorf("%+v", p)
	}
}

// groupedRows are the rows of a grouped answer as texts, in the order of an Arrow one.
func groupedRows(query int, a []groupJSON) (rows []string) {
	for _, g := range a {
		for _, h := range g.Hits {
			rows = append(rows, fmt.Sprint(query, " ", g.Value, " ", h.ID, " ", h.Score))
		}
	}
	return rows
}

// Whatever way queries come and answers go, groups are those that each query gets alone.
func TestGroupsOfQueries(t *testing.T) {
	const dim, count = 32, 40
	spec := snapshottest.Spec(schemas.Cosine, 16, dim)
	spec.Attributes = []schemas.Attribute{{Name: "name", Type: schemas.AttributeString}, {Name: "n", Type: schemas.AttributeInt}}
	data := snapshottest.Clustered(spec, 3000, 1)
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "name", Type: arrow.BinaryTypes.String}, {Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil))
	for i := range data.N() {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("c%d", i*i%37))
		if i%11 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.Int64Builder).Append(int64(i % 500))
		}
	}
	data.Attributes = b.NewRecordBatch().Columns()
	n := nodeOf(t, data, 64)
	vectors := data.Vectors[:count*dim]
	stream := vectorsStream(t, singleItems, dim, vectors)
	for _, c := range []struct{ name, json, url string }{
		{"exact", `"k":4,"exact":true,"group_by":"name","group_size":3`, "k=4&exact=true&group_by=name&group_size=3"},
		{"planned", `"k":7,"group_by":"n","plan":{"nprobe":4,"refine":6000}`, "k=7&group_by=n&plan.nprobe=4&plan.refine=6000"},
		{"filtered", `"k":3,"exact":true,"group_by":"n","group_size":5,"filter":{"name":{"$in":["c1","c4","c9"]}}`, "k=3&exact=true&group_by=n&group_size=5&filter=" + url.QueryEscape(`{"name":{"$in":["c1","c4","c9"]}}`)},
		{"of values", `"k":3,"exact":true,"group_by":"n","group_size":2,"group_values":[null,7,9]`, "k=3&exact=true&group_by=n&group_size=2&group_values=" + url.QueryEscape("[null,7,9]")},
		{"of a score", `"k":9,"exact":true,"group_by":"name","group_size":9,"min_score":0.7`, "k=9&exact=true&group_by=name&group_size=9&min_score=0.7"},
		{"of no row", `"group_by":"name","filter":{"name":"none"}`, "group_by=name&filter=" + url.QueryEscape(`{"name":"none"}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []string
			for i := range count {
				want = append(want, groupedRows(i, askGroups(t, n.API(), fmt.Sprintf(`{"vector":%s,%s}`, vectorJSON(data.Vector(i)), c.json)).Groups)...)
			}
			if (len(want) == 0) != (c.name == "of no row") {
				t.Fatalf("%d rows", len(want))
			}
			inJSON := func(w *httptest.ResponseRecorder) (rows []string) {
				var a struct {
					Results []struct {
						Groups []groupJSON `json:"groups"`
					} `json:"results"`
				}
				if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || len(a.Results) != count {
					t.Fatalf("%d results: %d %.300s", len(a.Results), w.Code, w.Body)
				}
				for i, r := range a.Results {
					if r.Groups == nil {
						t.Fatalf("result %d has no groups: %.300s", i, w.Body)
					}
					rows = append(rows, groupedRows(i, r.Groups)...)
				}
				return rows
			}
			inArrow := func(w *httptest.ResponseRecorder) (rows []string) {
				b, _ := readAnswer(t, w.Body.Bytes())
				if b.ColumnName(3) != columnGroup {
					t.Fatalf("columns of %v", b.Schema())
				}
				for i := range int(b.NumRows()) {
					var value any
					if g := b.Column(3); g.IsValid(i) {
						value = g.GetOneForMarshal(i)
					}
					rows = append(rows, fmt.Sprint(b.Column(0).(*array.Uint32).Value(i), " ", value, " ", b.Column(1).(*array.String).Value(i), " ", b.Column(2).(*array.Float32).Value(i)))
				}
				return rows
			}
			body := fmt.Appendf(nil, `{"vectors_f32":"%s",%s}`, base64Rows(vectors), c.json)
			for name, got := range map[string][]string{
				"vectors":             inJSON(post(n.API(), "/v1/search", fmt.Appendf(nil, `{"vectors":%s,%s}`, rowsJSON(dim, vectors), c.json))),
				"packed":              inJSON(post(n.API(), "/v1/search", body)),
				"packed, Arrow":       inArrow(post(n.API(), "/v1/search", body, "Accept", arrowType)),
				"Arrow":               inArrow(post(n.API(), "/v1/search?fields=name,n&"+c.url, stream, "Content-Type", arrowType)),
				"Arrow, JSON":         inJSON(post(n.API(), "/v1/search?"+c.url, stream, "Content-Type", arrowType, "Accept", jsonType)),
				"Arrow, by no column": inArrow(post(n.API(), "/v1/search?"+c.url, stream, "Content-Type", arrowType)),
			} {
				if !slices.Equal(got, want) {
					t.Errorf("%s: other groups than those of single queries:\n%q\n%q", name, got, want)
				}
			}
		})
	}
	// Of its own values each query has groups, and of none it has none.
	lists := []string{`[1,null]`, `[]`, `[2]`}
	w := post(n.API(), "/v1/search?exact=true&k=5&group_size=2&group_by=n&group_values="+url.QueryEscape("["+strings.Join(lists, ",")+"]"), stream, "Content-Type", arrowType, "Accept", jsonType)
	var a struct {
		Results []struct {
			Groups []groupJSON `json:"groups"`
		} `json:"results"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || len(a.Results) != count {
		t.Fatalf("%v: %d %.300s", err, w.Code, w.Body)
	}
	for i, r := range a.Results {
		values := `[]`
		if i < len(lists) {
			values = lists[i]
		}
		want := askGroups(t, n.API(), fmt.Sprintf(`{"vector":%s,"exact":true,"k":5,"group_size":2,"group_by":"n","group_values":%s}`, vectorJSON(data.Vector(i)), values)).Groups
		if got, want := groupedRows(i, r.Groups), groupedRows(i, want); !slices.Equal(got, want) || (values == "[]") != (len(got) == 0) {
			t.Errorf("query %d of the values %s: %q, want %q", i, values, got, want)
		}
	}
}

// The rows of a grouped answer are bounded as those of any other.
func TestGroupsOfTooMany(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 30)
	n := p.node(Options{MaxK: 200})
	p.await(n, 1)
	many := base64Rows(slices.Repeat(unit(1), maxQueries))
	two := base64Rows(slices.Repeat(unit(1), 2))
	for _, c := range []struct{ request, detail, allowed string }{
		{`{"vectors_f32":"` + many + `","group_by":"color","k":20,"group_size":6}`, "group_size: 6, with k = 20 for 1000 queries", "1 to 5"},
		{`{"vectors_f32":"` + many + `","group_by":"color","k":101}`, "k: 101", "1 to 100 for 1000 queries"},
		{`{"vectors_f32":"` + two + `","group_by":"color","k":20,"group_size":11}`, "group_size: 11, with k = 20 for 2 queries", "1 to 10"},
		{`{"vectors_f32":"` + two + `","group_by":"color","k":20,"group_size":6,"include_vector":true}`, "include_vector: true, with k = 20 and group_size = 6 for 2 queries", "at most 200 vectors"},
		{`{"vectors_f32":"` + two + `","group_by":"colour"}`, `group_by: "colour" is not`, "color"},
		{`{"vectors_f32":"` + two + `","group_by":"color","group_values":[["a"],["b"],[]]}`, "group_values: 3 arrays", "at most 2, one for each query"},
		{`{"vectors_f32":"` + two + `","group_by":"color","group_values":[["a"],"b"]}`, `group_values[1]: "b"`, "an array of values"},
		{`{"vectors_f32":"` + two + `","group_by":"color","group_values":[["a"],["b",7]]}`, "group_values[1][1]: 7", "a text"},
		{`{"vectors_f32":"` + two + `","group_by":"color","group_values":["a",["b"]]}`, "group_values[1]: an array", "a text"},
	} {
		if p := problemOf(t, call(n.API(), http.MethodPost, "/v1/search", c.request)); p.Code != codeInvalid || !strings.HasPrefix(p.Detail, c.detail) || !strings.Contains(p.Allowed, c.allowed) {
			t.Errorf("%.20s..%s: %+v", c.request, c.request[len(c.request)-60:], p)
		}
	}
	stream := vectorsStream(t, singleItems, testDim, unit(1))
	for parameters, want := range map[string][]string{
		"group_size=2":                                          {"group_size: given alone"},
		"group_by=color&group_size=x":                           {"group_size: x", "an integer"},
		"group_by=color&group_values=red":                       {"group_values: red", "a JSON array of values"},
		"group_by=color&group_values=7":                         {"group_values: 7", "an array of values"},
		"group_by=color&group_values=null":                      {"group_values: null", "an array of values"},
		"group_by=color&k=20&group_size=11":                     {"group_size: 11, with k = 20", "1 to 10"},
		"group_by=color&group_values=" + url.QueryEscape("[[]"): {"group_values: [[]"},
	} {
		checkProblem(t, post(n.API(), "/v1/search?"+parameters, stream, "Content-Type", arrowType), http.StatusBadRequest, want)
	}
}

package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

type groupsJSON struct {
	Groups []struct {
		Value any `json:"value"`
		hitsJSON
	} `json:"groups"`
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
		{`{"vectors":[` + vectorJSON(unit(1)) + `],"group_by":"color"}`, "group_by: given with vectors", "one query"},
	} {
		if p := problemOf(t, call(n.API(), http.MethodPost, "/v1/search", c.request)); p.Code != codeInvalid || !strings.HasPrefix(p.Detail, c.detail) || !strings.Contains(p.Allowed, c.allowed) {
			t.Errorf("%s: %+v", c.request, p)
		}
	}
	if w := post(n.API(), "/v1/search", []byte(`{"like":"id-3","group_by":"color"}`), "Accept", arrowType); w.Code != http.StatusBadRequest {
		t.Errorf("in Arrow: %d", w.Code)
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

package filter_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
)

func testSpec() *schemas.Spec {
	spec := snapshottest.Spec(schemas.Cosine, 8, 16)
	spec.Attributes = []schemas.Attribute{
		{Name: "text", Type: schemas.AttributeString},
		{Name: "flag", Type: schemas.AttributeBool},
		{Name: "count", Type: schemas.AttributeInt},
		{Name: "price", Type: schemas.AttributeFloat},
		{Name: "at", Type: schemas.AttributeTimestamp},
	}
	return spec
}

// Values of few kinds each, that comparisons meet, and the limits.
var (
	someTexts  = []string{"", "a", "ab", "abc", "b", "Straße", "\x00", "z\"\\"}
	someInts   = []int64{math.MinInt64, -5, -1, 0, 1, 2, 3, 7, 1 << 53, 1<<53 + 1, math.MaxInt64}
	someFloats = []float64{math.Inf(-1), -1.5, math.Copysign(0, -1), 0, 5e-324, 0.1, 2, math.MaxFloat64, math.Inf(1), math.NaN()}
	someTimes  = []int64{-62_167_219_200_000, -1, 0, 1, 1_700_000_000_000, 1_700_000_000_001, 253_402_300_799_999}
)

// attributes are n rows with each value, a fifth of them nulls.
func attributes(spec *schemas.Spec, n int, r *rand.Rand) (columns []arrow.Array) {
	for _, a := range spec.Attributes {
		b := array.NewBuilder(memory.DefaultAllocator, a.Type.ArrowType())
		for range n {
			if r.IntN(5) == 0 {
				b.AppendNull()
				continue
			}
			switch b := b.(type) {
			case *array.StringBuilder:
				b.Append(someTexts[r.IntN(len(someTexts))])
			case *array.BooleanBuilder:
				b.Append(r.IntN(2) == 0)
			case *array.Int64Builder:
				b.Append(someInts[r.IntN(len(someInts))])
			case *array.Float64Builder:
				b.Append(someFloats[r.IntN(len(someFloats))])
			case *array.TimestampBuilder:
				b.Append(arrow.Timestamp(someTimes[r.IntN(len(someTimes))]))
			}
		}
		columns = append(columns, b.NewArray())
	}
	return columns
}

func data(n int, seed uint64) *snapshottest.Data {
	d := snapshottest.Clustered(testSpec(), n, seed)
	d.Attributes = attributes(d.Spec, n, rand.New(rand.NewPCG(seed, 9)))
	return d
}

func parse(t testing.TB, spec *schemas.Spec, raw string) *filter.Filter {
	t.Helper()
	f, err := filter.Parse(spec, []byte(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return f
}

// holds is what a filter means, said as plainly as possible: of one row, by values, without columns and bits.
func holds(spec *schemas.Spec, p *segment.Part, row int, f map[string]any) bool {
	for name, v := range f {
		var ok bool
		switch name {
		case "$and", "$or":
			ok = name == "$and"
			for _, one := range v.([]any) {
				if h := holds(spec, p, row, one.(map[string]any)); h != ok {
					ok = h
					break
				}
			}
		case "$not":
			ok = !holds(spec, p, row, v.(map[string]any))
		default:
			ok = meets(p.Attribute(spec.AttributeAt(name)), row, v)
		}
		if !ok {
			return false
		}
	}
	return true
}

func meets(column arrow.Array, row int, operand any) bool {
	operators, isObject := operand.(map[string]any)
	if !isObject {
		return compare(column, row, "$eq", operand)
	}
	for operator, v := range operators {
		if operator == "$not" {
			if meets(column, row, v) {
				return false
			}
		} else if !compare(column, row, operator, v) {
			return false
		}
	}
	return true
}

func compare(column arrow.Array, row int, operator string, operand any) bool {
	null := column.IsNull(row)
	switch operator {
	case "$ne":
		return !compare(column, row, "$eq", operand)
	case "$nin":
		return !compare(column, row, "$in", operand)
	case "$in":
		return slices.ContainsFunc(operand.([]any), func(one any) bool { return compare(column, row, "$eq", one) })
	case "$exists":
		return operand.(bool) != null
	case "$eq":
		if operand == nil || null {
			return operand == nil && null
		}
	}
	if null {
		return false
	}
	var order int
	switch c := column.(type) {
	case *array.Boolean:
		return c.Value(row) == operand.(bool)
	case *array.String:
		if operator == "$prefix" {
			return strings.HasPrefix(c.Value(row), operand.(string))
		}
		order = strings.Compare(c.Value(row), operand.(string))
	case *array.Int64:
		n, _ := operand.(json.Number).Int64()
		order = sign(c.Value(row) > n, c.Value(row) < n)
	case *array.Timestamp:
		at, _ := time.Parse(time.RFC3339Nano, operand.(string))
		v := time.UnixMilli(int64(c.Value(row)))
		order = sign(v.After(at), v.Before(at))
	case *array.Float64:
		v := c.Value(row)
		x, _ := operand.(json.Number).Float64()
		if v != v {
			return false
		}
		order = sign(v > x, v < x)
	}
	return map[string]bool{"$eq": order == 0, "$gt": order > 0, "$gte": order >= 0, "$lt": order < 0, "$lte": order <= 0}[operator]
}

func sign(more, less bool) int {
	switch {
	case more:
		return 1
	case less:
		return -1
	}
	return 0
}

// random is a filter of conditions that are drawn.
func random(spec *schemas.Spec, r *rand.Rand, depth int) map[string]any {
	f := map[string]any{}
	for range r.IntN(3) {
		switch n := r.IntN(8); {
		case n == 0 && depth > 0:
			f["$not"] = random(spec, r, depth-1)
		case n < 3 && depth > 0:
			some := []any{}
			for range 1 + r.IntN(3) {
				some = append(some, random(spec, r, depth-1))
			}
			f[[]string{"$and", "$or"}[n-1]] = some
		default:
			a := spec.Attributes[r.IntN(len(spec.Attributes))]
			f[a.Name] = randomCondition(a.Type, r, depth)
		}
	}
	return f
}

func randomCondition(t schemas.AttributeType, r *rand.Rand, depth int) any {
	if r.IntN(3) == 0 {
		return randomValue(t, r, true)
	}
	operators := map[string]any{}
	for range 1 + r.IntN(2) {
		names := []string{"$eq", "$ne", "$in", "$nin", "$exists", "$gt", "$gte", "$lt", "$lte", "$prefix", "$not"}
		switch name := names[r.IntN(len(names))]; {
		case name == "$eq" || name == "$ne":
			operators[name] = randomValue(t, r, true)
		case name == "$in" || name == "$nin":
			some := []any{}
			for range r.IntN(8) {
				some = append(some, randomValue(t, r, true))
			}
			operators[name] = some
		case name == "$exists" || t == schemas.AttributeBool:
			operators["$exists"] = r.IntN(2) == 0
		case name == "$not":
			if depth > 0 {
				if inner, ok := randomCondition(t, r, depth-1).(map[string]any); ok {
					operators[name] = inner
				}
			}
		case name == "$prefix":
			if t == schemas.AttributeString {
				operators[name] = randomValue(t, r, false)
			}
		default:
			operators[name] = randomValue(t, r, false)
		}
	}
	if len(operators) == 0 {
		operators["$exists"] = true
	}
	return operators
}

func randomValue(t schemas.AttributeType, r *rand.Rand, null bool) any {
	if null && r.IntN(6) == 0 {
		return nil
	}
	switch t {
	case schemas.AttributeBool:
		return r.IntN(2) == 0
	case schemas.AttributeInt:
		return json.Number(fmt.Sprint(someInts[r.IntN(len(someInts))]))
	case schemas.AttributeFloat:
		for {
			if v := someFloats[r.IntN(len(someFloats))]; v-v == 0 {
				raw, _ := json.Marshal(v)
				return json.Number(raw)
			}
		}
	case schemas.AttributeTimestamp:
		return time.UnixMilli(someTimes[r.IntN(len(someTimes))]).UTC().Format(time.RFC3339Nano)
	}
	return someTexts[r.IntN(len(someTexts))]
}

var layouts = map[string][]snapshottest.Group{
	"chunks":   {{Kind: snapshottest.Chunks, Start: 0, End: 700}},
	"segments": {{Kind: snapshottest.Segment, Start: 0, End: 63}, {Kind: snapshottest.Segment, Start: 63, End: 700}},
	"all": {{Kind: snapshottest.Chunks, Start: 0, End: 300}, {Kind: snapshottest.Segment, Start: 300, End: 364},
		{Kind: snapshottest.Unlisted, Start: 364, End: 470}, {Kind: snapshottest.Segment, Start: 470, End: 700}},
}

// A selection is the live rows for which the filter holds, in whatever parts they are.
func TestSelectionIsWhatTheFilterSays(t *testing.T) {
	d := data(700, 1)
	level := avx.Generic
	mdl := d.Train(t, level, 16)
	for name, groups := range layouts {
		t.Run(name, func(t *testing.T) {
			snap := snapshottest.Build(t, d, mdl, level, groups, func(i int) bool { return i%11 == 3 })
			r := rand.New(rand.NewPCG(2, 3))
			selected := 0
			for range 400 {
				f := random(d.Spec, r, 3)
				raw, err := json.Marshal(f)
				if err != nil {
					t.Fatal(err)
				}
				s, err := filter.Select(t.Context(), snap, parse(t, d.Spec, string(raw)).Match)
				if err != nil {
					t.Fatal(err)
				}
				check(t, string(raw), snap, s, func(part, row int) bool { return holds(d.Spec, snap.Parts()[part], row, f) })
				if s.Count() > 0 && s.Count() < snap.Live() {
					selected++
				}
			}
			if selected < 100 {
				t.Errorf("only %d filters select some rows and not all", selected)
			}
		})
	}
}

// check compares all that a selection tells with what it should select of the rows that are not dead.
func check(t *testing.T, name string, snap *snapshot.Snapshot, s *filter.Selection, want func(part, row int) bool) {
	t.Helper()
	count, base, inList, fresh := int64(0), int64(0), make([]int, snap.Model().NList()), make([]bool, snap.Model().NList())
	for part, p := range snap.Parts() {
		var rows []uint32
		for row := range p.N {
			want := want(part, row) && !snap.Dead(part).Has(row)
			if got := s.Has(part, row); got != want {
				t.Fatalf("%s: part %d, row %d: selected %v, want %v", name, part, row, got, want)
			}
			isBase := part < len(snap.Manifest().Chunks)
			if isBase && s.HasBase(p.FirstRow+row) != want {
				t.Fatalf("%s: row %d of the base: selected %v, want %v", name, p.FirstRow+row, !want, want)
			}
			if want {
				rows, count = append(rows, uint32(row)), count+1
				if isBase {
					base++
					inList[p.ListAt(row)]++
				} else if list := p.ListAt(row); list >= 0 {
					fresh[list] = true
				}
			}
		}
		start, end := p.N/3, p.N-p.N/5
		wantRows := slices.DeleteFunc(slices.Clone(rows), func(row uint32) bool { return int(row) < start || int(row) >= end })
		if got := s.AppendRows(nil, part, start, end); !slices.Equal(got, wantRows) {
			t.Fatalf("%s: part %d has rows %v in [%d, %d), want %v", name, part, got, start, end, wantRows)
		}
		if got := s.AppendRows(nil, part, 0, p.N); !slices.Equal(got, rows) {
			t.Fatalf("%s: part %d has rows %v, want %v", name, part, got, rows)
		}
	}
	if s.Count() != count || s.BaseCount() != base {
		t.Errorf("%s: counts %d rows, %d of the base, want %d and %d", name, s.Count(), s.BaseCount(), count, base)
	}
	for list, want := range inList {
		if got := s.InList(int32(list)); got != want {
			t.Errorf("%s: counts %d rows in list %d, want %d", name, got, list, want)
		}
		if got := s.HasFresh(int32(list)); got != fresh[list] {
			t.Errorf("%s: rows of segments in list %d: %v, want %v", name, list, got, fresh[list])
		}
	}
}

func TestParse_refuses(t *testing.T) {
	deep := strings.Repeat(`{"$not":`, filter.MaxDepth) + `{}` + strings.Repeat(`}`, filter.MaxDepth)
	many := `{"$or":[` + strings.Repeat(`{"flag":true},`, filter.MaxConditions) + `{"flag":true}]}`
	long := `{"count":{"$in":[` + strings.Repeat("1,", filter.MaxValues) + `1]}}`
	for raw, want := range map[string][3]string{
		``:                              {"filter", "no JSON", "object"},
		`[]`:                            {"filter", "an array", "object"},
		`"x"`:                           {"filter", `"x"`, "object"},
		`{"text":"a"`:                   {"filter", "no JSON", "object"},
		`{"text":"a"} {}`:               {"filter", "bytes after", "one JSON object"},
		`{"color":"a"}`:                 {"filter.color", "not an attribute", "text, flag, count, price, at"},
		`{"$nor":[]}`:                   {"filter.$nor", "no such operator", "$and, $or, $not"},
		`{"$and":{}}`:                   {"filter.$and", "an object", "array of filters"},
		`{"$or":[]}`:                    {"filter.$or", "empty", "one filter"},
		`{"$or":[1]}`:                   {"filter.$or[0]", "1", "object"},
		`{"$not":[]}`:                   {"filter.$not", "an array", "object"},
		`{"text":1}`:                    {"filter.text", "1", "a text"},
		`{"text":["a"]}`:                {"filter.text", "an array", "a text"},
		`{"text":{"$in":"a"}}`:          {"filter.text.$in", `"a"`, "an array of values"},
		`{"text":{"$in":["a",2]}}`:      {"filter.text.$in[1]", "2", "a text"},
		`{"text":{"$gt":null}}`:         {"filter.text.$gt", "null", "a text"},
		`{"text":{"$prefix":1}}`:        {"filter.text.$prefix", "1", "a text"},
		`{"text":{}}`:                   {"filter.text", "{}", "operators"},
		`{"text":{"$regex":"a"}}`:       {"filter.text.$regex", "no such operator", "$prefix"},
		`{"text":{"a":"b"}}`:            {"filter.text.a", "no such operator", "$eq"},
		`{"text":{"$not":"a"}}`:         {"filter.text.$not", `"a"`, "operators"},
		`{"text":{"$exists":1}}`:        {"filter.text.$exists", "1", "true or false"},
		`{"flag":"true"}`:               {"filter.flag", `"true"`, "true or false"},
		`{"flag":{"$gt":true}}`:         {"filter.flag.$gt", "order", "$eq"},
		`{"flag":{"$prefix":"t"}}`:      {"filter.flag.$prefix", "bool", "utf8"},
		`{"count":1.5}`:                 {"filter.count", "1.5", "an integer"},
		`{"count":1e3}`:                 {"filter.count", "1e3", "without fraction or exponent"},
		`{"count":9223372036854775808}`: {"filter.count", "9223372036854775808", "9223372036854775807"},
		`{"count":"1"}`:                 {"filter.count", `"1"`, "an integer"},
		`{"price":1e999}`:               {"filter.price", "1e999", "float64"},
		`{"price":true}`:                {"filter.price", "true", "a number"},
		`{"at":1700000000}`:             {"filter.at", "1700000000", "RFC 3339"},
		`{"at":"yesterday"}`:            {"filter.at", `"yesterday"`, "RFC 3339"},
		`{"count":1,"count":2}`:         {"filter.count", "given twice", "$and"},
		`{"count":{"$gt":1,"$gt":2}}`:   {"filter.count.$gt", "given twice", "$and"},
		deep:                            {"$not", "9 objects deep", "8"},
		many:                            {"filter.$or[64].flag", "comparison 65", "64"},
		long:                            {"filter.count.$in[10000]", "value 10001", "10000"},
	} {
		_, err := filter.Parse(testSpec(), []byte(raw))
		var bad *filter.Error
		if !errors.As(err, &bad) {
			t.Errorf("%.80s: %v, want an Error", raw, err)
			continue
		}
		if !strings.HasPrefix(bad.Field, "filter") || !strings.HasSuffix(bad.Field, want[0]) || !strings.Contains(bad.Value, want[1]) || !strings.Contains(bad.Allowed, want[2]) {
			t.Errorf("%.80s: %v, want %q", raw, bad, want)
		}
	}
	bare := snapshottest.Spec(schemas.Cosine, 8)
	if _, err := filter.Parse(bare, []byte(`{"a":1}`)); err == nil || !strings.Contains(err.Error(), "the index has no attributes") {
		t.Errorf("an index without attributes: %v", err)
	}
}

// The text does not depend on how a filter is written down.
func TestString(t *testing.T) {
	if got := parse(t, testSpec(), "{ \"count\" : {\"$gt\": 1},\n \"text\":\"a b\" }").String(); got != `{"count":{"$gt":1},"text":"a b"}` {
		t.Errorf("got %s", got)
	}
}

func TestCache(t *testing.T) {
	d := data(700, 4)
	mdl := d.Train(t, avx.Generic, 8)
	c, err := filter.NewCache(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	f := parse(t, d.Spec, `{"count":{"$gte":0}}`)
	first := snapshottest.Build(t, d, mdl, avx.Generic, layouts["all"], nil)
	g := snapshottest.Write(t, d, mdl, avx.Generic, layouts["all"], func(i int) bool { return i%2 == 0 })
	g.Manifest.Generation = first.Manifest().Generation + 1
	second, err := snapshot.Open(d.Spec, g.Manifest, mdl, g.Parts, g.Dead, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, snap := range []*snapshot.Snapshot{first, second} {
			s, err := c.Select(t.Context(), snap, f)
			if err != nil {
				t.Fatal(err)
			}
			want, err := filter.Select(t.Context(), snap, f.Match)
			if err != nil {
				t.Fatal(err)
			}
			if s.Count() != want.Count() || !s.Of(snap) {
				t.Errorf("selects %d rows, want %d", s.Count(), want.Count())
			}
		}
	}
	a, _ := c.Select(t.Context(), first, f)
	if b, _ := c.Select(t.Context(), first, parse(t, d.Spec, `{"count": {"$gte": 0}}`)); a != b {
		t.Error("the same filter is applied anew")
	}
	if n := c.Bytes(); n < 700/8*2 || n > 1<<20 {
		t.Errorf("%d bytes", n)
	}
	if c.Forget(); c.Bytes() != 0 {
		t.Errorf("%d bytes of nothing", c.Bytes())
	}
	if b, _ := c.Select(t.Context(), first, f); a == b || b.Count() != a.Count() {
		t.Error("what was forgotten is there, or is another")
	}
}

func FuzzParse(f *testing.F) { mutate.Fuzz(f, parsing) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{"FuzzParse": parsing})
}

// parsing: what is taken for a filter selects the same rows once it is written down again, anything else is an Error.
func parsing(t testing.TB) (seeds [][]byte, check func(t testing.TB, input []byte)) {
	for _, raw := range []string{`{}`, `{"text":"a","count":{"$in":[1,2,null]}}`, `{"$or":[{"flag":true},{"$not":{"at":{"$lt":"2026-01-01T00:00:00Z"}}}]}`, `{"price":{"$not":{"$gt":1e3}}}`, `{"text":{"$prefix":"a\u0000"}}`} {
		seeds = append(seeds, []byte(raw))
	}
	d := data(100, 5)
	p := snapshottest.Build(t, d, nil, avx.Generic, []snapshottest.Group{{Kind: snapshottest.Unlisted, Start: 0, End: 100}}, nil).Parts()[0]
	return seeds, func(t testing.TB, raw []byte) {
		parsed, err := filter.Parse(d.Spec, raw)
		if err != nil {
			var bad *filter.Error
			if !errors.As(err, &bad) {
				t.Fatalf("%v is not an Error", err)
			}
			return
		}
		again, err := filter.Parse(d.Spec, []byte(parsed.String()))
		if err != nil {
			t.Fatalf("%s: %v", parsed, err)
		}
		if got, want := again.Match(p), parsed.Match(p); !slices.Equal(got, want) {
			t.Fatalf("%s selects %v, as given %v", parsed, got, want)
		}
	}
}

// Millions of rows are what a filter that is new is applied to.
func BenchmarkMatch(b *testing.B) {
	d := snapshottest.Clustered(testSpec(), 65536, 6)
	d.Attributes = attributes(d.Spec, d.N(), rand.New(rand.NewPCG(6, 6)))
	p := snapshottest.Build(b, d, nil, avx.Generic, []snapshottest.Group{{Kind: snapshottest.Unlisted, Start: 0, End: d.N()}}, nil).Parts()[0]
	for name, raw := range map[string]string{
		"int=":      `{"count":2}`,
		"int range": `{"count":{"$gt":0,"$lt":5}}`,
		"int in 8":  `{"count":{"$in":[1,2,3,4,5,6,7,8]}}`,
		"text=":     `{"text":"ab"}`,
		"text in 3": `{"text":{"$in":["a","b","c"]}}`,
		"bool":      `{"flag":true}`,
	} {
		f := parse(b, d.Spec, raw)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f.Match(p)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(p.N), "ns/row")
		})
	}
}

// What a new generation costs a filter that is known.
func BenchmarkSelect(b *testing.B) {
	d := snapshottest.Clustered(testSpec(), 65536, 6)
	d.Attributes = attributes(d.Spec, d.N(), rand.New(rand.NewPCG(6, 6)))
	level, err := avx.Best()
	if err != nil {
		b.Fatal(err)
	}
	snap := snapshottest.Build(b, d, d.Train(b, level, 512), level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: d.N()}}, nil)
	f := parse(b, d.Spec, `{"count":{"$gt":0}}`)
	matches := map[*segment.Part]snapshot.BitSet{}
	for _, p := range snap.Parts() {
		matches[p] = f.Match(p)
	}
	for b.Loop() {
		if _, err := filter.Select(b.Context(), snap, func(p *segment.Part) snapshot.BitSet { return matches[p] }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(d.N()), "ns/row")
}

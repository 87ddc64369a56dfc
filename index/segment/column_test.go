package segment

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

func timeOf(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// build returns an array of one type from JSON values.
func build(t testing.TB, dt arrow.DataType, json string) arrow.Array {
	t.Helper()
	a, _, err := array.FromJSON(memory.DefaultAllocator, dt, strings.NewReader(json))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func timestamps(unit arrow.TimeUnit, values ...arrow.Timestamp) arrow.Array {
	b := array.NewTimestampBuilder(memory.DefaultAllocator, &arrow.TimestampType{Unit: unit, TimeZone: "Europe/Berlin"})
	b.AppendValues(values, nil)
	return b.NewArray()
}

func TestAppendFromWidens(t *testing.T) {
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	halves := array.NewFloat16Builder(memory.DefaultAllocator)
	halves.Append(float16.New(-1.5))
	tests := []struct {
		typ  schemas.AttributeType
		arr  arrow.Array
		want []any
	}{
		{schemas.AttributeString, build(t, arrow.BinaryTypes.String, `["a", null, ""]`), []any{"a", nil, ""}},
		{schemas.AttributeString, build(t, arrow.BinaryTypes.LargeString, `["ä"]`), []any{"ä"}},
		{schemas.AttributeString, build(t, dictionary, `["x", null, "y", "x"]`), []any{"x", nil, "y", "x"}},
		{schemas.AttributeBool, build(t, arrow.FixedWidthTypes.Boolean, `[true, null, false]`), []any{true, nil, false}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Int8, `[-128, null]`), []any{int64(-128), nil}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Int16, `[-32768]`), []any{int64(-32768)}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Int32, `[-2147483648]`), []any{int64(math.MinInt32)}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Int64, `[-9223372036854775808]`), []any{int64(math.MinInt64)}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Uint8, `[255]`), []any{int64(255)}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Uint16, `[65535]`), []any{int64(65535)}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Uint32, `[4294967295]`), []any{int64(math.MaxUint32)}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Uint64, `[9223372036854775807]`), []any{int64(math.MaxInt64)}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Float64, `[-9223372036854775808, null, 7]`), []any{int64(math.MinInt64), nil, int64(7)}},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Float32, `[-3]`), []any{int64(-3)}},
		{schemas.AttributeFloat, halves.NewArray(), []any{-1.5}},
		{schemas.AttributeFloat, build(t, arrow.PrimitiveTypes.Float32, `[0.5, null]`), []any{0.5, nil}},
		{schemas.AttributeFloat, build(t, arrow.PrimitiveTypes.Float64, `[1e300]`), []any{1e300}},
		{schemas.AttributeFloat, build(t, arrow.PrimitiveTypes.Int8, `[-128, null]`), []any{-128.0, nil}},
		{schemas.AttributeFloat, build(t, arrow.PrimitiveTypes.Int64, `[9007199254740993]`), []any{9007199254740992.0}},
		{schemas.AttributeFloat, build(t, arrow.PrimitiveTypes.Uint64, `[18446744073709551615]`), []any{18446744073709551616.0}},
		{schemas.AttributeTimestamp, timestamps(arrow.Second, 1, -1), []any{timeOf(1000), timeOf(-1000)}},
		{schemas.AttributeTimestamp, timestamps(arrow.Millisecond, 1, -1), []any{timeOf(1), timeOf(-1)}},
		{schemas.AttributeTimestamp, timestamps(arrow.Microsecond, 1999, -1, -1000), []any{timeOf(1), timeOf(-1), timeOf(-1)}},
		{schemas.AttributeTimestamp, timestamps(arrow.Nanosecond, 999_999, -1, math.MaxInt64), []any{timeOf(0), timeOf(-1), timeOf(9_223_372_036_854)}},
		{schemas.AttributeTimestamp, build(t, arrow.BinaryTypes.String, `["1970-01-01T01:00:01.0019+01:00", null]`), []any{timeOf(1001), nil}},
		{schemas.AttributeTimestamp, build(t, dictionary, `["1970-01-01T00:00:01Z", null, "1969-12-31T23:59:59Z"]`), []any{timeOf(1000), nil, timeOf(-1000)}},
		{schemas.AttributeInt, array.NewNull(2), []any{nil, nil}},
	}
	for _, test := range tests {
		c := NewColumn(test.typ)
		for i := range test.arr.Len() {
			if err := c.AppendFrom(test.arr, i); err != nil {
				t.Errorf("%s from %s: %v", test.typ, test.arr.DataType(), err)
			}
		}
		stored, err := c.array(nil)
		if err != nil {
			t.Fatal(err)
		}
		p := &Part{attributes: []arrow.Array{stored}}
		if !arrow.TypeEqual(stored.DataType(), test.typ.ArrowType()) {
			t.Errorf("%s is stored as %s", test.typ, stored.DataType())
		}
		for i, want := range test.want {
			if got := c.Value(i); got != want {
				t.Errorf("%s from %s: value %d is %v, want %v", test.typ, test.arr.DataType(), i, got, want)
			}
			if got := p.Value(0, i); got != want {
				t.Errorf("%s from %s: stored value %d is %v, want %v", test.typ, test.arr.DataType(), i, got, want)
			}
		}
	}
}

func TestAppendFromRefuses(t *testing.T) {
	short := array.NewDictionaryArray(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String},
		build(t, arrow.PrimitiveTypes.Int8, `[3]`), build(t, arrow.BinaryTypes.String, `["a"]`))
	tests := []struct {
		typ  schemas.AttributeType
		arr  arrow.Array
		want string // part of the error
	}{
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Uint64, `[9223372036854775808]`), "9223372036854775808, allowed: at most 9223372036854775807"},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Float64, `[1.5]`), "1.5, allowed: a whole number of 64 bits"},
		{schemas.AttributeInt, build(t, arrow.PrimitiveTypes.Float64, `[9223372036854775808]`), "9.223372036854776e+18, allowed: a whole number"},
		{schemas.AttributeInt, array.NewFloat64Data(array.NewData(arrow.PrimitiveTypes.Float64, 1, []*memory.Buffer{nil, memory.NewBufferBytes(BytesOf([]float64{math.NaN()}))}, nil, 0, 0)), "NaN, allowed: a whole number"},
		{schemas.AttributeInt, build(t, arrow.FixedWidthTypes.Boolean, `[null]`), "type bool is not int64, allowed: an integer type, floats that are whole"},
		{schemas.AttributeFloat, build(t, arrow.FixedWidthTypes.Boolean, `[true]`), "type bool is not float64, allowed: float16, float32, float64, an integer type"},
		{schemas.AttributeBool, build(t, arrow.PrimitiveTypes.Int8, `[1]`), "type int8 is not bool"},
		{schemas.AttributeString, build(t, arrow.BinaryTypes.Binary, `["AAAA"]`), "type binary is not utf8"},
		{schemas.AttributeString, short, "dictionary index 3, allowed: 0 to 0"},
		{schemas.AttributeTimestamp, build(t, arrow.PrimitiveTypes.Int64, `[1]`), "type int64 is not timestamp"},
		{schemas.AttributeTimestamp, build(t, arrow.BinaryTypes.String, `["2026-05-04"]`), `"2026-05-04", allowed: a time such as 2026-05-04T12:00:00Z`},
		{schemas.AttributeTimestamp, build(t, arrow.BinaryTypes.String, `["9999-12-31T23:59:59-01:00"]`), "allowed: the years 0 to 9999"},
		{schemas.AttributeTimestamp, short, "dictionary index 3, allowed: 0 to 0"},
		{schemas.AttributeTimestamp, timestamps(arrow.Second, math.MaxInt64), "timestamp 9223372036854775807 s since the epoch, allowed: the years 0 to 9999"},
		{schemas.AttributeTimestamp, timestamps(arrow.Second, math.MinInt64/1000), "allowed: the years 0 to 9999"},
		{schemas.AttributeTimestamp, timestamps(arrow.Millisecond, maxTimestamp+1), "allowed: the years 0 to 9999"},
		{schemas.AttributeTimestamp, timestamps(arrow.Millisecond, minTimestamp-1), "allowed: the years 0 to 9999"},
	}
	for _, test := range tests {
		c := NewColumn(test.typ)
		err := c.AppendFrom(test.arr, 0)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s from %s: error %v, want %q", test.typ, test.arr.DataType(), err, test.want)
		}
		if c.Len() != 0 {
			t.Errorf("%s from %s: appended all the same", test.typ, test.arr.DataType())
		}
	}
}

func TestTimestampLimitsAreWhatJSONHolds(t *testing.T) {
	for _, ms := range []int64{minTimestamp, maxTimestamp} {
		if _, err := timeOf(ms).MarshalJSON(); err != nil {
			t.Error(err)
		}
	}
	for _, ms := range []int64{minTimestamp - 1, maxTimestamp + 1} {
		if _, err := timeOf(ms).MarshalJSON(); err == nil {
			t.Errorf("%d can be written", ms)
		}
	}
}

func TestValueOfFloatThatJSONCannotHold(t *testing.T) {
	c := NewColumn(schemas.AttributeFloat)
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	b.AppendValues([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}, nil)
	arr := b.NewArray()
	for i := range arr.Len() {
		if err := c.AppendFrom(arr, i); err != nil {
			t.Fatal(err)
		}
		if c.Value(i) != nil {
			t.Errorf("value is %v", c.Value(i))
		}
	}
	stored, err := c.array(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := stored.(*array.Float64).Value(0); !math.IsNaN(got) {
		t.Errorf("stored value is %v", got)
	}
}

func TestOrderCompare(t *testing.T) {
	ascending := []Order{
		{},
		{Row: 1},
		{Offset: 1},
		{Partition: 1},
		{Timestamp: 1},
		{Version: 1},
		{Version: 1, Timestamp: 1},
	}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := a.Compare(b), min(max(i-j, -1), 1); got != want {
				t.Errorf("%v against %v: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	vector := func(first, rest float32) []float32 {
		v := make([]float32, 16)
		for i := range v {
			v[i] = rest
		}
		v[0] = first
		return v
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	tests := []struct {
		name    string
		metric  schemas.Metric
		vectors schemas.VectorType
		v       []float32
		reason  string
	}{
		{"fine", schemas.Cosine, schemas.Float32, vector(1, 0), ""},
		{"short", schemas.Cosine, schemas.Float32, vector(1, 0)[:15], schemas.ReasonDims},
		{"nan", schemas.InnerProduct, schemas.Float16, vector(nan, 1), schemas.ReasonNotFinite},
		{"infinity", schemas.Cosine, schemas.Float32, vector(inf, 1), schemas.ReasonNotFinite},
		{"over float16", schemas.Cosine, schemas.Float16, vector(65520, 1), schemas.ReasonNotFinite},
		{"largest float16", schemas.Cosine, schemas.Float16, vector(65519, 1), ""},
		{"the same in float32", schemas.Cosine, schemas.Float32, vector(65520, 1), ""},
		{"too long", schemas.InnerProduct, schemas.Float32, vector(1.1e15, 0), schemas.ReasonNotFinite},
		{"zero", schemas.Cosine, schemas.Float32, vector(0, 0), schemas.ReasonZero},
		{"zero has a score under ip", schemas.InnerProduct, schemas.Float32, vector(0, 0), ""},
		{"zero as float16", schemas.Cosine, schemas.Float16, vector(1e-8, 1e-8), schemas.ReasonZero},
		{"smallest float16", schemas.Cosine, schemas.Float16, vector(6e-8, 0), ""},
		{"too short for a direction", schemas.Cosine, schemas.Float32, vector(9e-16, 0), schemas.ReasonZero},
	}
	for _, test := range tests {
		spec := testSpec(test.metric, test.vectors)
		for _, level := range levelsHere() {
			rows := NewRows(spec)
			rows.AppendFloats(level, test.v)
			reason, detail := Check(spec, level, rows.Vectors)
			if reason != test.reason || (detail == "") != (reason == "") {
				t.Errorf("%s: %q %q, want %q", test.name, reason, detail, test.reason)
			}
		}
		if len(test.v) != spec.Dim() {
			continue
		}
		rows := NewRows(spec)
		rows.IDs, rows.Orders = []string{"a"}, []Order{{}}
		rows.AppendFloats(avx.Generic, test.v)
		for _, c := range rows.Attributes {
			c.AppendNull()
		}
		if _, err := Write(spec, nil, levelsHere()[0], rows); err != nil && test.reason == "" {
			t.Errorf("%s: passes the check, but %v", test.name, err)
		}
	}
}

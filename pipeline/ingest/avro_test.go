package ingest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/registry"
	"github.com/adastream/adastream/schemas"
)

// Schemas of tests, by id.
var avroSchemas = map[uint32]string{
	1: `{"type":"record","name":"Row","namespace":"shop","fields":[
		{"name":"id","type":"string"},
		{"name":"vector","type":{"type":"array","items":"float"}},
		{"name":"junk","type":{"type":"map","values":["null","long","string"]}},
		{"name":"title","type":["null","string"]},
		{"name":"year","type":["int","null"]},
		{"name":"price","type":["null","double"]},
		{"name":"new","type":["null","boolean"]},
		{"name":"seen","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},
		{"name":"rev","type":["null","long"]},
		{"name":"op","type":["null",{"type":"enum","name":"Op","symbols":["upsert","delete","other"]}]}]}`,
	2: `{"type":"record","name":"Odd","fields":[
		{"name":"id","type":["null","long","string",{"type":"fixed","name":"Sixteen","size":16,"logicalType":"uuid"}]},
		{"name":"vector","type":["null",{"type":"array","items":["null","double"]},"string"]},
		{"name":"seen","type":{"type":"int","logicalType":"date"}},
		{"name":"price","type":["null","float","int",{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}]}]}`,
	3: `{"type":"record","name":"Blob","fields":[{"name":"id","type":{"type":"fixed","name":"U","size":16}},{"name":"vector","type":"bytes"}]}`,
	4: `{"type":"record","name":"Key","namespace":"shop.public.products","fields":[{"name":"sku","type":"long"}],"connect.name":"shop.public.products.Key"}`,
	5: `{"type":"record","name":"Envelope","namespace":"shop.public.products","fields":[
		{"name":"before","type":["null",{"type":"record","name":"Value","fields":[
			{"name":"sku","type":"long"},
			{"name":"title","type":["null","string"],"default":null},
			{"name":"stock","type":["null","int"],"default":null},
			{"name":"updated_at","type":["null",{"type":"string","connect.version":1,"connect.name":"io.debezium.time.ZonedTimestamp"}],"default":null},
			{"name":"embedding","type":["null",{"type":"array","items":"double","connect.version":1,"connect.name":"io.debezium.data.DoubleVector"}],"default":null}],
			"connect.name":"shop.public.products.Value"}],"default":null},
		{"name":"after","type":["null","Value"],"default":null},
		{"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[
			{"name":"version","type":"string"},{"name":"connector","type":"string"},
			{"name":"snapshot","type":[{"type":"string","connect.default":"false","connect.parameters":{"allowed":"true,last,false"}},"null"],"default":"false"},
			{"name":"lsn","type":["null","long"],"default":null}]}},
		{"name":"op","type":"string"},
		{"name":"ts_ms","type":["null","long"],"default":null}],"connect.version":2,"connect.name":"shop.public.products.Envelope"}`,
	6:  `"string"`,
	7:  `{"type":"record","name":"None","fields":[{"name":"other","type":"int"}]}`,
	8:  `{"type":"record","name":"Nothing","fields":[{"name":"id","type":"string"},{"name":"vector","type":{"type":"array","items":"null"}},{"name":"junk","type":{"type":"array","items":{"type":"record","name":"Empty","fields":[]}}}]}`,
	10: `{"type":"record","name":"Map","fields":[{"name":"id","type":"string"},{"name":"vector","type":["null",{"type":"map","values":"int"}]}]}`,
	11: `{"type":"record","name":"Skip","fields":[{"name":"id","type":"string"},{"name":"vector","type":{"type":"array","items":"long"}},{"name":"junk","type":{"type":"array","items":"null"}}]}`,
	9:  `{"type":"record","name":"Chain","fields":[{"name":"id","type":"string"},{"name":"vector","type":{"type":"array","items":"float"}},{"name":"next","type":["null","Chain"]}]}`,
}

// avroMessage is a value by a schema, framed.
func avroMessage(t testing.TB, id uint32, v any) []byte {
	t.Helper()
	schema, err := avro.Parse(avroSchemas[id])
	if err != nil {
		t.Fatal(err)
	}
	out, err := schema.AppendEncode(binary.BigEndian.AppendUint32([]byte{0}, id), v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// avroSpec is an index of Avro messages with all schemas of the tests. The block is without them and its last brace.
func avroSpec(t testing.TB, block string) *schemas.Spec {
	t.Helper()
	given := map[string]string{}
	for id, text := range avroSchemas {
		given[fmt.Sprint(id)] = text
	}
	text, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	return messagesSpec(t, block+`,"schemas":`+string(text)+"}")
}

type obj = map[string]any

func TestAvroRows(t *testing.T) {
	noon := time.UnixMicro(1764230400123999).UTC()
	full := obj{"id": "a", "vector": []float32{1, 0.5, -0.25, 0}, "junk": obj{"x": int64(5), "y": "z", "n": nil}, "title": "xé", "year": int32(-7), "price": 1.5, "new": true, "seen": noon, "rev": int64(9), "op": "upsert"}
	empty := obj{"id": "b", "vector": []float32{}, "junk": obj{}, "title": nil, "year": nil, "price": nil, "new": nil, "seen": nil, "rev": nil, "op": "delete"}
	with := func(of obj, changes obj) obj {
		all := obj{}
		for k, v := range of {
			all[k] = v
		}
		for k, v := range changes {
			all[k] = v
		}
		return all
	}
	odd := obj{"id": int64(42), "vector": []any{1.0, 2.0, 3.0, 4.0}, "seen": time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC), "price": float32(0.5)}
	spec := avroSpec(t, `{"format":"avro","op":"op","version":"rev"`)
	for i, test := range []struct {
		id   uint32
		v    any
		want string
	}{
		{1, full, "a v9 [1 0.5 -0.25 0] [xé -7 1.5 true 2025-11-27 08:00:00.123 +0000 UTC]"},
		{1, empty, "delete b v0"},
		{1, with(full, obj{"op": nil, "title": nil, "year": nil, "price": math.NaN(), "rev": nil}), "a v0 [1 0.5 -0.25 0] [<nil> <nil> <nil> true 2025-11-27 08:00:00.123 +0000 UTC]"},
		{1, with(full, obj{"op": "other"}), `op: op is "other" at "op", allowed: upsert, delete, null`},
		{1, with(full, obj{"vector": []float32{1, 2}}), "dims: vector has 2 values, allowed: 4"},
		{1, with(full, obj{"vector": []float32{1, 2, 3, float32(math.Inf(1))}}), "not_finite: "},
		{1, with(full, obj{"vector": []float32{0, 0, 0, 0}}), "zero_vector: "},
		{1, with(full, obj{"id": ""}), "null_id: id is empty"},
		{1, with(full, obj{"title": unavailable}), `attribute: attribute "title": "__debezium_unavailable_value"`},
		{2, odd, "42 v0 [1 2 3 4] [<nil> <nil> 0.5 <nil> 2026-11-27 00:00:00 +0000 UTC]"},
		{2, with(odd, obj{"id": "x", "price": int32(7)}), "x v0 [1 2 3 4] [<nil> <nil> 7 <nil> "},
		{2, with(odd, obj{"id": nil}), `null_id: id is null at "id"`},
		{2, with(odd, obj{"vector": nil}), `dims: vector is null at "vector"`},
		{2, with(odd, obj{"vector": []any{1.0, nil, 3.0, 4.0}}), "dims: vector has a null at 1"},
		{2, with(odd, obj{"vector": "[4,3,2,1]"}), "42 v0 [4 3 2 1] ["},
		{10, obj{"id": "a", "vector": obj{}}, `schema: schema 10: field "vector": map is where a value should be, allowed: texts, numbers`},
		{3, obj{"id": []byte("0123456789abcdef"), "vector": make([]byte, 16)}, "schema: vector is 16 bytes at"},
		{11, obj{"id": "a", "vector": []int64{1, 2, 3, 4}, "junk": []any{nil, nil}}, "a v0 [1 2 3 4] ["},
		{6, "a", "schema: schema 6: it has none of the fields"},
		{7, obj{"other": int32(1)}, "schema: schema 7: it has none of the fields"},
		{8, obj{"id": "a", "vector": []any{nil, nil, nil, nil}, "junk": []any{}}, `schema: schema 8: field "vector": array is where a value should be`},
		{9, obj{"id": "a", "vector": []float32{1, 2, 3, 4}, "next": obj{"id": "b", "vector": []float32{}, "next": nil}}, "a v0 [1 2 3 4] ["},
	} {
		if got, _ := became(t, spec, nil, avroMessage(t, test.id, test.v)); !strings.HasPrefix(got, test.want) {
			t.Errorf("%d: schema %d: %v\nbecame %s\nwant   %s", i, test.id, test.v, got, test.want)
		}
	}
	blobs := avroSpec(t, `{"format":"avro","vector_bytes":"float32"`)
	raw := []byte{0, 0, 0, 0x3f, 0, 0, 0x80, 0xbe, 0, 0, 0, 0, 0, 0, 0x80, 0x3f}
	if got, _ := became(t, blobs, nil, avroMessage(t, 3, obj{"id": []byte("0123456789abcdef"), "vector": raw})); !strings.HasPrefix(got, "30313233-3435-3637-3839-616263646566 v0 [0.5 -0.25 0 1] [") {
		t.Errorf("bytes became %s", got)
	}
	_, out := became(t, avroSpec(t, `{"format":"avro"`), nil, avroMessage(t, 1, full))
	if got := fmt.Sprint(out.ignored); got != "[junk rev op]" {
		t.Errorf("ignored %s", got)
	}
}

// What is no record of the schema that its frame names is refused.
func TestAvroFaults(t *testing.T) {
	spec := avroSpec(t, `{"format":"avro"`)
	good := avroMessage(t, 9, obj{"id": "a", "vector": []float32{1, 2, 3, 4}, "next": nil})
	frame := func(id byte, rest ...byte) []byte { return append([]byte{0, 0, 0, 0, id}, rest...) }
	for want, message := range map[string][]byte{
		"malformed: message begins with , allowed: a zero":                              {},
		"malformed: message begins with 01 00 00 00 09, allowed: a zero byte":           append([]byte{1}, good[1:]...),
		"malformed: Avro by schema 9: 1 bytes after the record":                         append(append([]byte{}, good...), 0),
		"malformed: Avro by schema 9: ":                                                 good[:len(good)-3],
		"schema: schema 77: no schema to read messages by: messages of the index spec ": frame(77, 0),
		`schema: id is "\xff" at "id", allowed: a text`:                                 frame(9, 2, 0xff, 0, 0),
		// A million million items of no bytes, and a text longer than the message.
		"malformed: Avro by schema 11: field junk: ":                                                    frame(11, 2, 'a', 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0, 0),
		"malformed: Avro by schema 9: field id: avro: short buffer for string: need 2147483647, have 1": frame(9, 0xfe, 0xff, 0xff, 0xff, 0x0f, 'a'),
	} {
		got, out := became(t, spec, nil, message)
		if len(out.bad) != 1 || !strings.HasPrefix(got, want) {
			t.Errorf("% x\nbecame %s\nwant   %s", message, got, want)
		}
	}
	deep := frame(9)
	for range 100_000 {
		deep = append(deep, 2, 'a', 0, 2)
	}
	if got, _ := became(t, spec, nil, deep); !strings.HasPrefix(got, "malformed: Avro by schema 9: ") {
		t.Errorf("a long chain became %.300s", got)
	}
	bad := messagesSpec(t, `{"format":"avro","schemas":{"3":"{\"type\":\"record\"}"}}`)
	if _, err := NewDecoder(bad, avx.Generic, Limits{}, nil); err == nil || !strings.HasPrefix(err.Error(), "messages.schemas: schema 3: invalid record name") {
		t.Errorf("a bad schema in the spec: %v", err)
	}
}

// Debezium's envelope in Avro, with keys of a schema of their own.
func TestAvroDebezium(t *testing.T) {
	spec := avroSpec(t, `{"format":"avro","envelope":"debezium","id":"sku","vector":"embedding","version":"$.source.lsn","attributes":{"year":"stock","seen":"updated_at"}`)
	source := obj{"version": "3.2.0.Final", "connector": "postgresql", "snapshot": "false", "lsn": int64(33817504)}
	row := obj{"sku": int64(1004), "title": "Concert guitar", "stock": int32(7), "updated_at": "2026-11-27T08:00:00.123456Z", "embedding": []float64{0.5, -0.25, 0.01, 0}}
	old := obj{"sku": int64(1004), "title": nil, "stock": nil, "updated_at": nil, "embedding": nil}
	keyed := avroMessage(t, 4, obj{"sku": int64(1005)})
	for i, test := range []struct {
		value any
		want  string
	}{
		{obj{"before": nil, "after": row, "source": source, "op": "c", "ts_ms": int64(1)}, "1004 v33817504 [0.5 -0.25 0.01 0] [Concert guitar 7 <nil> <nil> 2026-11-27 08:00:00.123 +0000 UTC]"},
		{obj{"before": old, "after": nil, "source": source, "op": "d", "ts_ms": nil}, "delete 1004 v33817504"},
		{obj{"before": nil, "after": nil, "source": source, "op": "d", "ts_ms": nil}, "delete 1005 v33817504"},
		{obj{"before": nil, "after": nil, "source": source, "op": "t", "ts_ms": nil}, `op: op of the envelope is "t"`},
		{obj{"before": nil, "after": nil, "source": source, "op": "u", "ts_ms": nil}, `null_id: id is missing at "sku"`},
		{nil, "delete 1005 v0"},
	} {
		var message []byte
		if test.value != nil {
			message = avroMessage(t, 5, test.value)
		}
		if got, _ := became(t, spec, keyed, message); got != test.want && !strings.HasPrefix(got, test.want+",") {
			t.Errorf("%d became %s\nwant %s", i, got, test.want)
		}
	}
	if got, _ := became(t, avroSpec(t, `{"format":"avro","key":"$"`), avroMessage(t, 6, "a-1"), nil); got != "delete a-1 v0" {
		t.Errorf("a key that is a text became %s", got)
	}
}

// A large message is not kept for as long as none of its schema follows.
func TestAvroLetsGo(t *testing.T) {
	d, err := NewDecoder(avroSpec(t, `{"format":"avro"`), avx.Generic, Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := d.single.reader.(*avroReader)
	read := func(message []byte) *shape {
		if fault, err := a.read(message, d.single.plan, d.single.values); fault != nil || err != nil {
			t.Fatal(fault, err)
		}
		return a.large
	}
	large := read(avroMessage(t, 9, obj{"id": strings.Repeat("a", largeMessage), "vector": []float32{}, "next": nil}))
	if large == nil || large.target.Elem().IsZero() {
		t.Fatal("a large message was let go of at once")
	}
	if read(avroMessage(t, 11, obj{"id": "a", "vector": []int64{}, "junk": []any{}})); !large.target.Elem().IsZero() {
		t.Error("a large message is kept after the next one")
	}
}

// What cannot be had now is no fault of the message, which is not taken and can be decoded again.
func TestAvroAsks(t *testing.T) {
	spec := messagesSpec(t, `{"format":"avro","key":"$"}`)
	d, err := NewDecoder(spec, avx.Generic, Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	away := true
	d.Ask(func(id uint32) (*avro.Schema, error) {
		switch {
		case away:
			return nil, fmt.Errorf("%w: away", schemas.ErrTransient)
		case avroSchemas[id] == "":
			return nil, fmt.Errorf("schema %d: %w", id, registry.ErrUnusable)
		}
		return avro.Parse(avroSchemas[id])
	})
	rows, deletes, bad := segment.NewRows(spec), []segment.Tombstone(nil), 0
	decode := func(m Message) error { return d.Decode(m, rows, &deletes, func(Quarantined) { bad++ }) }
	row := Message{Value: avroMessage(t, 9, obj{"id": "a", "vector": []float32{1, 2, 3, 4}, "next": nil})}
	key := Message{Key: avroMessage(t, 6, "a")}
	for _, m := range []Message{row, key} {
		if err := decode(m); !errors.Is(err, schemas.ErrTransient) || rows.Len()+len(deletes)+bad+len(rows.Vectors) > 0 {
			t.Errorf("while the registry is away: %v, %d rows, %d deletes, %d refused", err, rows.Len(), len(deletes), bad)
		}
	}
	away = false
	for _, m := range []Message{row, key, {Value: []byte{0, 0, 0, 0, 99, 1}}} {
		if err := decode(m); err != nil {
			t.Error(err)
		}
	}
	if rows.Len() != 1 || len(deletes) != 1 || bad != 1 {
		t.Errorf("%d rows, %d deletes, %d refused, want 1 of each", rows.Len(), len(deletes), bad)
	}
}

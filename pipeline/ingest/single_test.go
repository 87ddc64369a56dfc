package ingest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// messagesSpec is an index with a block of messages.
func messagesSpec(t testing.TB, block string) *schemas.Spec {
	t.Helper()
	var m schemas.Messages
	if err := json.Unmarshal([]byte(block), &m); err != nil {
		t.Fatal(err)
	}
	s := testSpec(func(s *schemas.Spec) { s.Messages = &m })
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

// became is what came of one record: a row, a delete, a refusal or nothing.
func became(t testing.TB, spec *schemas.Spec, key, value []byte) (string, *decoded) {
	t.Helper()
	out := &decoded{rows: segment.NewRows(spec)}
	d, err := NewDecoder(spec, avx.Generic, Limits{}, func(c string) { out.ignored = append(out.ignored, c) })
	if err != nil {
		t.Fatal(err)
	}
	m := Message{Topic: "topic", Partition: 3, Offset: 100, Timestamp: 1100, Watermark: 2000, Key: key, Value: value}
	if err := d.Decode(m, out.rows, &out.deletes, func(q Quarantined) { out.bad = append(out.bad, q) }); err != nil {
		t.Fatal(err)
	}
	out.check(t, spec)
	all := []string{}
	for i, id := range out.rows.IDs {
		order, cells := out.rows.Orders[i], []any{}
		if (order != segment.Order{Version: order.Version, Timestamp: 2000, Partition: 3, Offset: 100}) {
			t.Errorf("order %+v", order)
		}
		for _, c := range out.rows.Attributes {
			cells = append(cells, c.Value(i))
		}
		all = append(all, fmt.Sprintf("%s v%d %v %v", id, order.Version, out.floats(), cells))
	}
	for _, d := range out.deletes {
		all = append(all, fmt.Sprintf("delete %s v%d", d.ID, d.Version))
	}
	for _, q := range out.bad {
		if q.Row != WholeMessage || q.Offset != 100 || q.Timestamp != 1100 || string(q.Payload) != string(value) {
			t.Errorf("quarantined %+v, want all of the message", q)
		}
		all = append(all, q.Reason+": "+q.Detail)
	}
	return strings.Join(all, "; "), out
}

const plainJSON = `{"format":"json"}`

func TestJSONRows(t *testing.T) {
	for block, messages := range map[string]map[string]string{
		plainJSON: {
			`{"id":"a","vector":[1,0.5,-2e-1,0]}`: "a v0 [1 0.5 -0.2 0] [<nil> <nil> <nil> <nil> <nil>]",
			` {"id":42,"title":"x\u00e9\n","year":-7,"price":1e2,"new":true,"seen":1764230400123,"vector":[1,2,3,4],"more":{}}` + "\n": "42 v0 [1 2 3 4] [xé\n -7 100 true 2025-11-27 08:00:00.123 +0000 UTC]",
			`{"id":18446744073709551615,"price":5,"new":0,"seen":"2025-11-27T09:00:00.1239+01:00","vector":"[1, 2,3,4]"}`:              "18446744073709551615 v0 [1 2 3 4] [<nil> <nil> 5 false 2025-11-27 08:00:00.123 +0000 UTC]",
			`{"id":"a\/b","title":null,"op":"delete","version":"x","vector":[1,2,3,4]}`:                                                "a/b v0 [1 2 3 4] [<nil> <nil> <nil> <nil> <nil>]",
			`{"schema":null,"payload":{"id":"a","vector":[1,2,3,4]}}`:                                                                  "a v0 [1 2 3 4] [<nil> <nil> <nil> <nil> <nil>]",
		},
		`{"format":"json","attributes":{"title":"schema"}}`: {
			`{"schema":"x","payload":{"id":"a","vector":[1,2,3,4]}}`:  "a v0 [1 2 3 4] [<nil> <nil> <nil> <nil> <nil>]",
			`{"schema":"x","id":"a","vector":[1,2,3,4],"payload":{}}`: "a v0 [1 2 3 4] [x <nil> <nil> <nil> <nil>]",
		},
		`{"format":"json","op":"op","version":"rev"}`: {
			`{"id":"a","op":"upsert","rev":9,"vector":[1,2,3,4]}`:         "a v9 [1 2 3 4] [<nil> <nil> <nil> <nil> <nil>]",
			`{"id":"a","op":null,"rev":null,"vector":[1,2,3,4]}`:          "a v0 [1 2 3 4] [<nil> <nil> <nil> <nil> <nil>]",
			`{"id":"a","op":"delete","rev":-3,"vector":"none","year":{}}`: "delete a v-3",
		},
		`{"format":"json","id":"meta.key","vector":"e.v","encoder":"e.model","op":"meta.gone","deletes":["true","1"],"attributes":{"title":"meta.t","year":"meta.key"},"units":{"seen":"us"}}`: {
			`{"meta":{"key":5,"t":"x","gone":false},"e":{"v":[1,2,3,4],"model":"test-encoder@1"},"seen":1764230400123999}`: "5 v0 [1 2 3 4] [x 5 <nil> <nil> 2025-11-27 08:00:00.123 +0000 UTC]",
			`{"meta":{"key":5,"gone":true}}`:       "delete 5 v0",
			`{"meta":{"key":5,"gone":1},"e":null}`: "delete 5 v0",
		},
		`{"format":"json","vector_bytes":"float32"}`: {`{"id":"a","vector":"AAAAPwAAgL4K1yM8AAAAAA=="}`: "a v0 [0.5 -0.25 0.01 0] [<nil> <nil> <nil> <nil> <nil>]"},
		`{"format":"json","vector_bytes":"float16"}`: {`{"id":"a","vector":"ADgAtAAAAIA="}`: "a v0 [0.5 -0.25 0 -0] [<nil> <nil> <nil> <nil> <nil>]"},
		`{"format":"json","framing":"confluent"}`:    {"\x00\x00\x00\x00\x2a" + `{"id":"a","vector":[1,2,3,4]}`: "a v0 [1 2 3 4] [<nil> <nil> <nil> <nil> <nil>]"},
	} {
		spec := messagesSpec(t, block)
		for message, want := range messages {
			if got, _ := became(t, spec, nil, []byte(message)); got != want {
				t.Errorf("%s: %s\nbecame %s\nwant   %s", block, message, got, want)
			}
		}
	}
}

// What cannot be a row is refused with the reasons of Arrow messages.
func TestJSONFaults(t *testing.T) {
	const good = `"vector":[1,2,3,4]`
	for block, messages := range map[string]map[string]string{
		plainJSON: {
			``:                                 "malformed: JSON: EOF",
			"\x00\x00\x00\x00\x2a{}":           `malformed: JSON: it begins with a zero byte, as what Confluent's serializers write: that takes framing "confluent", or the format "avro"`,
			`null`:                             "malformed: JSON: not an object, allowed: one object",
			`[{}]`:                             "malformed: JSON: not an object",
			`{"id"`:                            "malformed: JSON: ",
			`{"id":"a",` + good + `}{}`:        "malformed: JSON: more after the first value, allowed: one object",
			`{"id":"a",` + good + `,"id":"b"}`: "malformed: JSON: jsontext: duplicate object member name \"id\"",
			`{"id":"a",` + good + `,"x":[{"y":1,"y":2}]}`:                                      "malformed: JSON: jsontext: duplicate object member name",
			"{\"id\":\"a\xff\"," + good + "}":                                                  "malformed: JSON: jsontext: invalid UTF-8",
			"{\"id\":\"a\"," + good + ",\"x\":\"\xc0\x80\"}":                                   "malformed: JSON: jsontext: invalid UTF-8",
			`{"id":"a\ud800",` + good + `}`:                                                    "malformed: JSON: jsontext: invalid surrogate pair",
			`{"id":"a","vector":[1,NaN,3,4]}`:                                                  "malformed: JSON: jsontext: invalid character",
			`{"id":"a","vector":[1,01,3,4]}`:                                                   "malformed: JSON: jsontext: invalid character",
			`{"id":"a","x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`: "malformed: JSON: jsontext: exceeded max depth",
			`{` + good + `}`: `null_id: id is missing at "id"`,
			`{"else":1,"payload":{"id":"a",` + good + `}}`:                   `null_id: id is missing at "id"`,
			`{"id":null,` + good + `}`:                                       `null_id: id is null at "id"`,
			`{"id":"",` + good + `}`:                                         `null_id: id is empty at "id"`,
			`{"id":"` + strings.Repeat("x", 1025) + `",` + good + `}`:        "id_length: id has 1025 bytes, allowed: 1024",
			`{"id":1.5,` + good + `}`:                                        `schema: id is 1.5 at "id", allowed: a text, an integer of 64 bits`,
			`{"id":-0,` + good + `}`:                                         `schema: id is -0 at "id"`,
			`{"id":true,` + good + `}`:                                       `schema: id is true at "id"`,
			`{"id":["a"],` + good + `}`:                                      `schema: id is an array at "id"`,
			`{"id":{},` + good + `}`:                                         `schema: id is an object at "id"`,
			`{"id":"a"}`:                                                     `dims: vector is missing at "vector", needed: 4 values`,
			`{"id":"a","vector":null}`:                                       `dims: vector is null at "vector", needed: 4 values`,
			`{"id":"a","vector":[]}`:                                         "dims: vector has 0 values, allowed: 4",
			`{"id":"a","vector":[1,2,3]}`:                                    "dims: vector has 3 values, allowed: 4",
			`{"id":"a","vector":[1,2,3,4,5,6]}`:                              "dims: vector has 6 values, allowed: 4",
			`{"id":"a","vector":[1,null,3,4]}`:                               "dims: vector has a null at 1",
			`{"id":"a","vector":[1,1e400,3,4]}`:                              "not_finite: vector: value 1 is 1e400, allowed: a number that a float32 holds",
			`{"id":"a","vector":[1,3.5e38,3,4]}`:                             "not_finite: vector: value 1 is 3.5e38",
			`{"id":"a","vector":[0,0,0,0]}`:                                  "zero_vector: ",
			`{"id":"a","vector":[1,"2",3,4]}`:                                `schema: vector: value 1 is "2"`,
			`{"id":"a","vector":"x"}`:                                        `schema: vector is "x" at "vector", allowed: an array of numbers`,
			`{"id":"a","vector":"[1,2"}`:                                     `schema: vector is "[1,2", allowed: an array of numbers`,
			`{"id":"a","vector":{}}`:                                         "schema: vector is an object",
			`{"id":"a","vector":"__debezium_unavailable_value"}`:             "dims: vector is \"__debezium_unavailable_value\" at \"vector\", needed: 4 values, which the database does not send",
			`{"id":"a",` + good + `,"title":5}`:                              `attribute: attribute "title": 5, allowed: a text of UTF-8`,
			`{"id":"a",` + good + `,"title":"__debezium_unavailable_value"}`: `attribute: attribute "title": "__debezium_unavailable_value", allowed: the value itself`,
			`{"id":"a",` + good + `,"year":"5"}`:                             `attribute: attribute "year": "5", allowed: an integer of 64 bits`,
			`{"id":"a",` + good + `,"year":9223372036854775808}`:             `attribute: attribute "year": 9223372036854775808, allowed: an integer of 64 bits`,
			`{"id":"a",` + good + `,"year":1.0}`:                             `attribute: attribute "year": 1.0`,
			`{"id":"a",` + good + `,"price":1e400}`:                          `attribute: attribute "price": 1e400, allowed: a number that a float64 holds`,
			`{"id":"a",` + good + `,"new":2}`:                                `attribute: attribute "new": 2, allowed: true, false, 1, 0`,
			`{"id":"a",` + good + `,"seen":"yesterday"}`:                     `attribute: attribute "seen": "yesterday", allowed: a time such as`,
			`{"id":"a",` + good + `,"seen":1.5}`:                             `attribute: attribute "seen": 1.5`,
			`{"id":"a",` + good + `,"seen":9000000000000000}`:                `attribute: attribute "seen": timestamp 9000000000000000 ms since the epoch, allowed: the years 0 to 9999`,
		},
		`{"format":"json","op":"op","version":"rev","encoder":"model"}`: {
			`{"id":"a","op":"drop"}`:                           `op: op is "drop" at "op", allowed: upsert, delete, null`,
			`{"id":"a","op":[]}`:                               `op: op is an array at "op"`,
			`{"id":"a","rev":"5",` + good + `}`:                `schema: version is "5" at "rev", allowed: an integer of 64 bits`,
			`{"id":"a","rev":1e3,` + good + `}`:                `schema: version is 1e3 at "rev"`,
			`{"op":"delete"}`:                                  `null_id: id is missing at "id"`,
			`{"id":"a",` + good + `}`:                          `encoder: encoder is missing at "model", the index is for "test-encoder@1"`,
			`{"id":"a","model":"test-encoder@2",` + good + `}`: `encoder: encoder is "test-encoder@2" at "model"`,
		},
		`{"format":"json","vector_bytes":"float32"}`: {
			`{"id":"a","vector":"AAAAPwAAgL4K1yM8AAAAAA="}`:  "schema: vector is \"AAAAPwAAgL4K1yM8AAAAAA=\", allowed: base64: ",
			`{"id":"a","vector":"AAAAPw=="}`:                 "dims: vector has 4 bytes, allowed: 16, which are 4 values of float32",
			`{"id":"a","vector":[1,2,3,4]}`:                  "schema: vector is an array, allowed: bytes, in JSON as base64",
			`{"id":"a","vector":"AADAfwAAgL4K1yM8AAAAAA=="}`: "not_finite: ",
		},
		`{"format":"json","framing":"confluent"}`: {
			`{"id":"a",` + good + `}`: "malformed: message begins with 7b 22 69 64 22, allowed: a zero byte and the id of a schema in four",
			"\x00\x00\x00":            "malformed: message begins with 00 00 00, allowed",
		},
	} {
		spec := messagesSpec(t, block)
		for message, want := range messages {
			got, out := became(t, spec, nil, []byte(message))
			if len(out.bad) != 1 || out.rows.Len()+len(out.deletes) > 0 || !strings.HasPrefix(got, want) {
				t.Errorf("%s: %.200s\nbecame %s\nwant   %s", block, message, got, want)
			}
		}
	}
	spec := messagesSpec(t, plainJSON)
	big := fmt.Sprintf(`{"id":"a",%s,"x":%q}`, good, strings.Repeat("x", maxSingle))
	if got, _ := became(t, spec, nil, []byte(big)); !strings.HasPrefix(got, "too_large: message has ") {
		t.Errorf("a large message became %.200s", got)
	}
}

// A refused message changes nothing of what came before it, and one after it is read as ever.
func TestJSONNeighbours(t *testing.T) {
	spec := messagesSpec(t, plainJSON)
	out := decode(t, spec, Limits{}, []byte(`{"id":"a","title":"x","vector":[1,2,3,4]}`), []byte(`{"id":"b","title":"y","seen":"x","vector":[1,2,3,4]}`),
		[]byte(`{"id":"c","title":"z","vector":[1,2,3,0,5]}`), []byte(`rubbish`), []byte(`{"id":"d","title":"w","extra":1,"vector":[4,3,2,1],"also":{"x":2}}`))
	if !slices.Equal(out.rows.IDs, []string{"a", "d"}) || !slices.Equal(out.floats(), []float32{1, 2, 3, 4, 4, 3, 2, 1}) || len(out.bad) != 3 {
		t.Errorf("ids %v, vectors %v, %d refused", out.rows.IDs, out.floats(), len(out.bad))
	}
	if out.rows.Attributes[0].Value(1) != "w" || !slices.Equal(out.ignored, []string{"extra", "also"}) {
		t.Errorf("title %v, ignored %q", out.rows.Attributes[0].Value(1), out.ignored)
	}
}

// Records without a value delete the id in their key.
func TestTombstones(t *testing.T) {
	for block, keys := range map[string]map[string]string{
		plainJSON: {
			"a b":                     "delete a b v0",
			"42":                      "delete 42 v0",
			"":                        `null_id: id is empty at "the key"`,
			"\xff":                    `malformed: key is "\xff", allowed: UTF-8`,
			strings.Repeat("k", 1025): "id_length: id has 1025 bytes, allowed: 1024",
		},
		`{"format":"json","key":"$"}`: {
			`"a\u0062"`: "delete ab v0", `42`: "delete 42 v0", `{"schema":{"type":"int32"},"payload":5}`: "delete 5 v0",
			`{"id":1}`: `schema: id is an object at "the key"`, `a`: "malformed: key: JSON: ", `null`: "null_id: id is null",
		},
		`{"format":"json","key":"pk.id"}`:         {`{"pk":{"id":7}}`: "delete 7 v0", `{"id":7}`: "null_id: id is missing", `7`: "malformed: key: JSON: not an object"},
		`{"format":"json","tombstones":"ignore"}`: {"a": ""},
		`{"format":"json","envelope":"debezium","id":"sku"}`: {
			`{"sku":1004}`: "delete 1004 v0",
			`{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"sku"}],"optional":false,"name":"shop.public.products.Key"},"payload":{"sku":1004}}`: "delete 1004 v0",
		},
	} {
		spec := messagesSpec(t, block)
		for key, want := range keys {
			if got, _ := became(t, spec, []byte(key), nil); !strings.HasPrefix(got, want) || want == "" && got != "" {
				t.Errorf("%s: key %.100s became %s, want %s", block, key, got, want)
			}
		}
	}
	if got, _ := became(t, messagesSpec(t, plainJSON), nil, nil); got != "null_id: the record has neither a value nor a key" {
		t.Errorf("nothing became %s", got)
	}
	if got, _ := became(t, testSpec(), []byte("a"), nil); !strings.HasPrefix(got, schemas.ReasonMalformed) {
		t.Errorf("of Arrow messages a tombstone became %s", got)
	}
}

// Messages as Debezium's connectors write them.
func TestDebezium(t *testing.T) {
	const (
		postgres = `{"format":"json","envelope":"debezium","id":"sku","vector":"embedding","version":"$.source.lsn","attributes":{"year":"stock","new":"fresh","seen":"updated_at"}}`
		mysql    = `{"format":"json","envelope":"debezium","id":"sku","vector":"embedding","attributes":{"year":"stock","new":"fresh","seen":"updated_at"},"units":{"seen":"us"}}`
		blobs    = `{"format":"json","envelope":"debezium","id":"sku","vector":"embedding","vector_bytes":"float32","attributes":{"year":"stock","new":"fresh","seen":"updated_at"},"units":{"seen":"us"}}`
		flat     = `{"format":"json","id":"sku","vector":"embedding","version":"__source_lsn","op":"__deleted","deletes":["true"],"key":"sku","attributes":{"year":"stock","new":"fresh","seen":"updated_at"}}`
		flatOp   = `{"format":"json","id":"sku","vector":"embedding","version":"__source_lsn","op":"__op","deletes":["d"],"key":"sku","attributes":{"year":"stock","new":"fresh","seen":"updated_at"}}`

		guitar = "[0.5 -0.25 0.01 0] [Concert guitar 7 429 true 2026-11-27 08:00:00.123 +0000 UTC]"
		cedar  = "[0.5 -0.25 0.01 0] [Concert guitar, cedar 7 399.5 true 2026-11-27 08:00:00.123 +0000 UTC]"
	)
	for _, test := range []struct{ file, block, want string }{
		{"postgres-create", postgres, "1004 v33817504 " + guitar},
		{"postgres-read", postgres, "1004 v33817000 " + guitar},
		{"postgres-update", postgres, "1004 v33818000 " + cedar},
		{"postgres-wrapped-create", postgres, "1004 v33817504 " + guitar},
		{"postgres-update-untouched", postgres, `dims: vector is "__debezium_unavailable_value" at "embedding", needed: 4 values, which`},
		{"postgres-update-untouched-title", postgres, `attribute: attribute "title": "__debezium_unavailable_value"`},
		{"postgres-delete", postgres, "delete 1004 v33819000"},
		{"postgres-wrapped-delete", postgres, "delete 1004 v33819000"},
		{"postgres-delete-nothing", postgres, "delete 1004 v33819100"},
		{"postgres-truncate", postgres, `op: op of the envelope is "t", allowed: c, r, u, d`},
		{"postgres-message", postgres, `op: op of the envelope is "m", allowed: c, r, u, d`},
		{"mysql-create", mysql, "1004 v0 [0.5 -0.25 0.01 0] [Concert guitar 7 429 true 2025-11-27 08:00:00.123 +0000 UTC]"},
		{"mysql-update", mysql, "1004 v0 [0.5 -0.25 0.01 0] [Concert guitar 6 429 false 2025-11-27 08:00:00.123 +0000 UTC]"},
		{"mysql-delete", mysql, "delete 1004 v0"},
		{"mysql-truncate", mysql, `op: op of the envelope is "t"`},
		{"mysql-blob", blobs, "1004 v0 [0.5 -0.25 0.01 0] [Concert guitar 7 429 true 2025-11-27 08:00:00.123 +0000 UTC]"},
		{"flat-update", flat, "1004 v33818000 " + guitar},
		{"flat-wrapped-update", flat, "1004 v33818000 " + guitar},
		{"flat-delete", flat, "delete 1004 v33819000"},
		{"flat-update", flatOp, "1004 v33818000 " + guitar},
		{"flat-delete", flatOp, "delete 1004 v33819000"},
		{"flat-update", postgres, "op: op of the envelope is missing"},
	} {
		message, err := os.ReadFile(filepath.Join("testdata", "debezium", test.file+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var key []byte // is asked only where the message does not say the id
		if test.file == "postgres-delete-nothing" {
			key = []byte(`{"sku":1004}`)
		}
		if got, _ := became(t, messagesSpec(t, test.block), key, message); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s by %s\nbecame %s\nwant   %s", test.file, test.block, got, test.want)
		}
	}
}

// What messages have more than the index is told once, of the row and not of the envelope.
func TestDebeziumIgnored(t *testing.T) {
	message, err := os.ReadFile("testdata/debezium/postgres-update.json")
	if err != nil {
		t.Fatal(err)
	}
	_, out := became(t, messagesSpec(t, `{"format":"json","envelope":"debezium","id":"sku","vector":"embedding"}`), nil, message)
	if want := []string{"stock", "fresh", "updated_at"}; !slices.Equal(out.ignored, want) {
		t.Errorf("ignored %q, want %q", out.ignored, want)
	}
}

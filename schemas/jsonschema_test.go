package schemas

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compile(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(name + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t testing.TB, schema *jsonschema.Schema, body []byte) error {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(document)
}

func TestRecordsMatchTheirSchemas(t *testing.T) {
	for kind, examples := range records() {
		schema := compile(t, kind)
		for _, record := range examples {
			if err := validate(t, schema, mustEncode(t, record)); err != nil {
				t.Errorf("%s %+v: %v", kind, record, err)
			}
		}
	}
}

// TestSchemasAreStrict: each of these is one step from a good record.
func TestSchemasAreStrict(t *testing.T) {
	for name, test := range map[string]struct {
		kind   string
		change func(map[string]any)
	}{
		"unknown field":              {"commit", func(m map[string]any) { m["lease"] = 1 }},
		"no start":                   {"commit", func(m map[string]any) { delete(m, "start") }},
		"negative start":             {"commit", func(m map[string]any) { m["start"] = -1 }},
		"fractional end":             {"commit", func(m map[string]any) { m["end"] = 10.5 }},
		"end as text":                {"commit", func(m map[string]any) { m["end"] = "20" }},
		"rows without segment":       {"commit", func(m map[string]any) { delete(m, "segment"); delete(m, "model") }},
		"segment without rows":       {"commit", func(m map[string]any) { m["rows"] = 0 }},
		"deletes without file":       {"commit", func(m map[string]any) { delete(m, "tombstones") }},
		"quarantine without reasons": {"commit", func(m map[string]any) { delete(m, "quarantined") }},
		"reasons without quarantine": {"commit", func(m map[string]any) { delete(m, "quarantine") }},
		"model without segment":      {"commit", func(m map[string]any) { delete(m, "segment"); m["rows"] = 0 }},
		"gap with data":              {"commit", func(m map[string]any) { m["gap"] = true }},
		"upper-case sum":             {"commit", func(m map[string]any) { m["segment"].(map[string]any)["sha256"] = strings.ToUpper(sum) }},
		"empty object":               {"commit", func(m map[string]any) { m["segment"].(map[string]any)["size"] = 0 }},
		"no writer":                  {"commit", func(m map[string]any) { m["writer"] = "" }},
		"a day":                      {"commit", func(m map[string]any) { m["created"] = "2026-05-04" }},
		"format":                     {"commit", func(m map[string]any) { m["format"] = 2 }},
		"generation 0":               {"manifest", func(m map[string]any) { m["generation"] = 0 }},
		"null checkpoint":            {"manifest", func(m map[string]any) { m["checkpoint"] = nil }},
		"padded partition":           {"manifest", func(m map[string]any) { m["checkpoint"] = map[string]any{"007": 1} }},
		"negative checkpoint":        {"manifest", func(m map[string]any) { m["checkpoint"] = map[string]any{"7": -1} }},
		"empty list":                 {"manifest", func(m map[string]any) { m["segments"] = []any{} }},
		"recall above 1":             {"manifest", func(m map[string]any) { m["quality"].(map[string]any)["recall"] = 1.01 }},
		"unknown field of a chunk":   {"manifest", func(m map[string]any) { m["chunks"].([]any)[0].(map[string]any)["crc"] = 1 }},
		"pages in format 1":          {"manifest", func(m map[string]any) { m["pages"] = []PageRef{chunkPage().Ref(object)} }},
		"format 2 without pages":     {"manifest", func(m map[string]any) { m["format"] = 2 }},
		"page of two kinds": {"manifest", func(m map[string]any) {
			m["format"], m["pages"] = 2, []PageRef{{Object: object, Chunks: 1, Segments: 1, Rows: 2}}
		}},
		"page of nothing":         {"manifest", func(m map[string]any) { m["format"], m["pages"] = 2, []PageRef{{Object: object, Rows: 2}} }},
		"empty page":              {"page", func(m map[string]any) { delete(m, "chunks") }},
		"page with all":           {"page", func(m map[string]any) { m["segments"] = []Segment{segmentOf(sum)} }},
		"sequence 0":              {"channel", func(m map[string]any) { m["sequence"] = 0 }},
		"no author":               {"channel", func(m map[string]any) { delete(m, "by") }},
		"nothing to follow":       {"channel", func(m map[string]any) { delete(m, "generation") }},
		"two to follow":           {"channel", func(m map[string]any) { m["epoch"], m["pinned"] = "e", false }},
		"pinned epoch":            {"channel", func(m map[string]any) { delete(m, "generation"); m["epoch"] = "e" }},
		"epoch outside":           {"channel", func(m map[string]any) { delete(m, "generation"); m["epoch"], m["pinned"] = "../e", false }},
		"keeps nothing":           {"collection", func(m map[string]any) { m["kept"] = []any{} }},
		"keeps one twice":         {"collection", func(m map[string]any) { m["kept"] = []any{40, 40} }},
		"dropped with an id":      {"resolution", func(m map[string]any) { m["state"] = "dropped" }},
		"replaying without an id": {"resolution", func(m map[string]any) { delete(m, "id") }},
		"unknown state":           {"resolution", func(m map[string]any) { m["state"] = "lost" }},
		"null cluster":            {"spec", func(m map[string]any) { m["topic"].(map[string]any)["cluster"] = nil }},
	} {
		examples := records()[test.kind]
		var m map[string]any
		if err := json.Unmarshal(mustEncode(t, examples[len(examples)-1]), &m); err != nil {
			t.Fatal(err)
		}
		test.change(m)
		if err := validate(t, compile(t, test.kind), mustEncode(t, m)); err == nil {
			t.Errorf("%s: the schema of %s allows it", name, test.kind)
		}
	}
}

// TestSchemasHaveTheFieldsOfTheRecords compares both ways: names, which are required, and types.
func TestSchemasHaveTheFieldsOfTheRecords(t *testing.T) {
	for name, record := range map[string]any{"spec": Spec{}, "commit": Commit{}, "manifest": Manifest{}, "page": Page{}, "channel": Channel{}, "collection": Collection{}, "resolution": Resolution{}, "event": Event{}} {
		body, err := os.ReadFile(name + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		var root map[string]any
		if err := json.Unmarshal(body, &root); err != nil {
			t.Fatal(err)
		}
		if root["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: dialect %v", name, root["$schema"])
		}
		compareSchema(t, name, root, root, reflect.TypeOf(record))
	}
}

// compareSchema compares a schema within root with the Go type of what it describes.
func compareSchema(t *testing.T, at string, root, schema map[string]any, typ reflect.Type) {
	t.Helper()
	if target, ok := schema["$ref"].(string); ok {
		schema = root["$defs"].(map[string]any)[strings.TrimPrefix(target, "#/$defs/")].(map[string]any)
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	want := ""
	switch {
	case typ == reflect.TypeFor[time.Time]():
		want = "string"
		if schema["format"] != "date-time" {
			t.Errorf("%s: format is %v, want date-time", at, schema["format"])
		}
	case typ.Kind() == reflect.String:
		want = "string"
	case typ.Kind() == reflect.Bool:
		want = "boolean"
	case typ.Kind() == reflect.Int || typ.Kind() == reflect.Int64:
		want = "integer"
	case typ.Kind() == reflect.Float64:
		want = "number"
	case typ.Kind() == reflect.Slice:
		want = "array"
		compareSchema(t, at+"[]", root, schema["items"].(map[string]any), typ.Elem())
	case typ.Kind() == reflect.Map:
		want = "object"
		compareSchema(t, at+"{}", root, schema["additionalProperties"].(map[string]any), typ.Elem())
	case typ.Kind() == reflect.Struct:
		want = "object"
		compareFields(t, at, root, schema, typ)
	default:
		t.Errorf("%s: Go type %v has no place in a record", at, typ)
	}
	if schema["type"] != want {
		t.Errorf("%s: type is %v, want %s", at, schema["type"], want)
	}
}

func compareFields(t *testing.T, at string, root, schema map[string]any, typ reflect.Type) {
	t.Helper()
	if schema["additionalProperties"] != false {
		t.Errorf("%s: additionalProperties is %v", at, schema["additionalProperties"])
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		t.Fatalf("%s: no properties", at)
	}
	var names, required []string
	for _, field := range reflect.VisibleFields(typ) {
		if field.Anonymous {
			continue // its fields are listed themselves
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
		if options != "omitempty" {
			required = append(required, name)
		}
		if property, ok := properties[name].(map[string]any); ok {
			if property["description"] == nil && property["$ref"] == nil {
				t.Errorf("%s.%s: no description", at, name)
			}
			compareSchema(t, at+"."+name, root, property, field.Type)
		} else {
			t.Errorf("%s.%s is missing in the schema", at, name)
		}
	}
	for name := range properties {
		if !slices.Contains(names, name) {
			t.Errorf("%s.%s is not in the Go type", at, name)
		}
	}
	var inSchema []string
	for _, name := range schema["required"].([]any) {
		inSchema = append(inSchema, name.(string))
	}
	slices.Sort(required)
	slices.Sort(inSchema)
	if !slices.Equal(required, inSchema) {
		t.Errorf("%s: required are %v, want %v", at, inSchema, required)
	}
}

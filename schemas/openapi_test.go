package schemas

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/adastream/adastream/schemas/openapitest"
)

const openAPI = "openapi.yaml"

func dig(m map[string]any, path ...string) map[string]any {
	for _, name := range path {
		m, _ = m[name].(map[string]any)
	}
	return m
}

// TestOpenAPIExamples: every example is what its schema says, every reference leads somewhere, and each operation and
// each answer has an example.
func TestOpenAPIExamples(t *testing.T) {
	root := openapitest.Read(t, openAPI)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(openAPI, root); err != nil {
		t.Fatal(err)
	}
	checked := 0
	check := func(at string, content map[string]any) {
		t.Helper()
		if len(content) == 0 {
			t.Errorf("%s: no content", at)
		}
		for _, media := range content {
			m := media.(map[string]any)
			schema, err := c.Compile(openAPI + dig(m, "schema")["$ref"].(string))
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			if len(dig(m, "examples")) == 0 {
				t.Errorf("%s: no example", at)
			}
			for name, example := range dig(m, "examples") {
				checked++
				if err := schema.Validate(example.(map[string]any)["value"]); err != nil {
					t.Errorf("%s: example %s: %v", at, name, err)
				}
			}
		}
	}
	for path, operations := range dig(root, "paths") {
		for method, operation := range operations.(map[string]any) {
			o := operation.(map[string]any)
			at := method + " " + path
			if method == "post" {
				check(at, dig(o, "requestBody", "content"))
			}
			for status, response := range dig(o, "responses") {
				r := response.(map[string]any)
				if ref, ok := r["$ref"].(string); ok {
					if r = dig(root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...); r == nil {
						t.Fatalf("%s %s: %s leads nowhere", at, status, ref)
					}
				}
				check(at+" "+status, dig(r, "content"))
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d examples were found", checked)
	}
	for name := range dig(root, "components", "schemas") {
		if _, err := c.Compile(openAPI + "#/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
}

func TestOpenAPIRefusesBadRequests(t *testing.T) {
	c := jsonschema.NewCompiler()
	if err := c.AddResource(openAPI, openapitest.Read(t, openAPI)); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(openAPI + "#/components/schemas/SearchRequest")
	if err != nil {
		t.Fatal(err)
	}
	for body, allowed := range map[string]bool{
		`{"like":"17"}`: true,
		`{"like":"17","exact":false,"target_recall":0.9}`:       true,
		`{"like":"17","exact":false,"plan":{"nprobe":1}}`:       true,
		`{"like":"17","target_recall":1}`:                       true,
		`{"like":"17","encoder":"mini 2"}`:                      true,
		`{"like":"17","encoder":2}`:                             false,
		`{}`:                                                    false,
		`{"k":3}`:                                               false,
		`{"like":"17","vector":[1,2,3,4]}`:                      false,
		`{"like":"17","k":0}`:                                   false,
		`{"like":"17","k":"3"}`:                                 false,
		`{"like":"17","target_recall":0}`:                       false,
		`{"like":"17","exact":true,"target_recall":0.9}`:        false,
		`{"like":"17","exact":true,"plan":{"nprobe":1}}`:        false,
		`{"like":"17","target_recall":0.9,"plan":{"nprobe":1}}`: false,
		`{"like":"17","plan":{}}`:                               false,
		`{"like":"17","plan":{"nprobe":1,"coarse_dims":64}}`:    false,
		`{"like":"17","filter":{}}`:                             true,
		`{"like":"17","filter":[]}`:                             false,
		`{"like":"17","filters":{}}`:                            false,
		`{"vector":[1,2,3,"4"]}`:                                false,
		`{"vector":[]}`:                                         false,
	} {
		if err := validate(t, schema, []byte(body)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed: %v", body, err, allowed)
		}
	}
}

// TestOpenAPIProblems: the type of a problem is made of its code, and its status is the one under which it is listed.
func TestOpenAPIProblems(t *testing.T) {
	root := openapitest.Read(t, openAPI)
	statuses := map[string]string{} // response component -> status
	for _, operations := range dig(root, "paths") {
		for _, operation := range operations.(map[string]any) {
			for status, response := range dig(operation.(map[string]any), "responses") {
				if ref, ok := response.(map[string]any)["$ref"].(string); ok {
					statuses[ref[strings.LastIndexByte(ref, '/')+1:]] = status
				}
			}
		}
	}
	var codes []any
	for name, response := range dig(root, "components", "responses") {
		for _, example := range dig(response.(map[string]any), "content", "application/problem+json", "examples") {
			p := dig(example.(map[string]any), "value")
			codes = append(codes, p["code"])
			if p["type"] != "urn:adastream:problem:"+p["code"].(string) || p["status"].(json.Number).String() != statuses[name] {
				t.Errorf("%s, listed under %s: %v", name, statuses[name], p)
			}
		}
	}
	for _, code := range dig(root, "components", "schemas", "Problem", "properties", "code")["enum"].([]any) {
		elsewhere := []any{"no_such_url", "no_such_shard", "other_index"} // of paths that are not described here
		if !slices.Contains(elsewhere, code) && !slices.Contains(codes, code) {
			t.Errorf("no example of code %v", code)
		}
	}
}

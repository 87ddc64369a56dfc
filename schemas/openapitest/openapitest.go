// Package openapitest reads schemas/openapi.yaml for tests that hold something against it.
package openapitest

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Read reads the description, which is in a file of that name, and forbids fields that it does not describe in answers too: clients have
// to ignore them, but what the code answers, and what the examples show, is to be described.
func Read(t testing.TB, name string) map[string]any {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var fromYAML any
	if err := yaml.Unmarshal(body, &fromYAML); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	root := document.(map[string]any)
	for _, schema := range root["components"].(map[string]any)["schemas"].(map[string]any) {
		s := schema.(map[string]any)
		if _, set := s["additionalProperties"]; s["type"] == "object" && !set {
			s["additionalProperties"] = false
		}
	}
	return root
}

// Compiler knows the description by its name, so that NAME#/components/schemas/Hit is a schema. It refers to files beside it.
func Compiler(t testing.TB, name string) *jsonschema.Compiler {
	t.Helper()
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, Read(t, name)); err != nil {
		t.Fatal(err)
	}
	return c
}

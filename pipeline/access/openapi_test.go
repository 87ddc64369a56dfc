package access

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Refusals are problems as schemas/openapi.yaml has them, with its codes.
func TestRefusalsAreAsDescribed(t *testing.T) {
	const name = "../../schemas/openapi.yaml"
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
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(name + "#/components/schemas/Problem")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*refusal{unauthenticated(Search, "d"), forbidden("d", "a"), tooMany(byRate, "d", "a", time.Second), encoded("gzip")} {
		w := httptest.NewRecorder()
		f.write(w)
		answer, err := jsonschema.UnmarshalJSON(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(answer); err != nil {
			t.Errorf("%s: %v", f.Code, err)
		}
	}
}

package access

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/adastream/adastream/schemas/openapitest"
)

// Refusals are problems as schemas/openapi.yaml has them, with its codes.
func TestRefusalsAreAsDescribed(t *testing.T) {
	const name = "../../schemas/openapi.yaml"
	schema, err := openapitest.Compiler(t, name).Compile(name + "#/components/schemas/Problem")
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

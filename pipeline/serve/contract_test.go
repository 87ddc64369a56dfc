package serve

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/openapitest"
)

// python is where programs of Python are.
func python(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ADASTREAM_TEST_PYTHON")
	if dir == "" {
		t.Skip("ADASTREAM_TEST_PYTHON names no directory with python, schemathesis, pyarrow and requests")
	}
	return dir
}

// Schemathesis makes requests of what schemas/openapi.yaml describes, and such as it forbids, and holds the answers against it.
// It is in the directory ADASTREAM_TEST_PYTHON. Its positive_data_acceptance is left out: what is right for one index, its names,
// widths and limits, is more than a description of all can say.
func TestContract(t *testing.T) {
	program := filepath.Join(python(t), "schemathesis")
	spec := snapshottest.Spec(schemas.Cosine, 4, 8)
	spec.Attributes = []schemas.Attribute{{Name: "n", Type: schemas.AttributeInt}, {Name: "title", Type: schemas.AttributeString}}
	data := snapshottest.Clustered(spec, 2000, 1)
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "title", Type: arrow.BinaryTypes.String}}, nil))
	for i := range data.N() {
		b.Field(0).(*array.Int64Builder).Append(int64(i % 40))
		b.Field(1).(*array.StringBuilder).Append(data.IDs[i])
	}
	data.Attributes = b.NewRecordBatch().Columns()
	n := nodeOf(t, data, 32)
	server := httptest.NewServer(n.API())
	defer server.Close()

	dir := t.TempDir()
	for _, name := range []string{"spec.schema.json", "manifest.schema.json", "channel.schema.json"} {
		body, err := os.ReadFile(filepath.Join("../../schemas", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	description, err := json.Marshal(ofIndex(t, spec.Dim(), data.IDs[17]))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "openapi.json")
	if err := os.WriteFile(file, description, 0o644); err != nil {
		t.Fatal(err)
	}
	// One worker: the parser of CPython 3.11 fails now and then when threads use it together.
	run := exec.CommandContext(t.Context(), program, "run", file, "--url", server.URL,
		"--checks", "all", "--exclude-checks", "positive_data_acceptance", "--exclude-path-regex", "^/v1/admin/", "--workers", "1",
		"--max-examples", "100", "--seed", "1", "--no-color", "--continue-on-failure", "--request-timeout", "20")
	run.Dir = dir
	out, err := run.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// ofIndex is the description for an index: its width, one of its ids in examples, and JSON only, as Arrow is nothing that
// schemathesis writes.
func ofIndex(t *testing.T, dim int, id string) map[string]any {
	t.Helper()
	root := openapitest.Read(t, "../../schemas/openapi.yaml")
	at := func(path ...string) map[string]any {
		m := root
		for _, name := range path {
			m = m[name].(map[string]any)
		}
		return m
	}
	request := at("components", "schemas", "SearchRequest", "properties")
	for _, vector := range []map[string]any{request["vector"].(map[string]any), request["vectors"].(map[string]any)["items"].(map[string]any)} {
		vector["minItems"], vector["maxItems"] = dim, dim
	}
	search := at("paths", "/v1/search", "post")
	delete(search, "parameters") // of Arrow requests
	delete(search["requestBody"].(map[string]any)["content"].(map[string]any), arrowType)
	delete(search["responses"].(map[string]any)["200"].(map[string]any)["content"].(map[string]any), arrowType)
	row := at("paths", "/v1/vectors/{id}", "get")["parameters"].([]any)[0].(map[string]any)
	row["examples"] = map[string]any{"row": map[string]any{"value": id}}
	return root
}

// docs/search.py does what it says.
func TestPythonExample(t *testing.T) {
	dir := python(t)
	n, data := clusteredNode(t, 2000, 32, 16, 32)
	server := httptest.NewServer(n.API())
	defer server.Close()
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "python"), "../../docs/search.py", server.URL, data.IDs[17]).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"32 numbers", "generation 7", "query 0: ", "query 2: "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it prints\n%s\nwithout %q", out, want)
		}
	}
}

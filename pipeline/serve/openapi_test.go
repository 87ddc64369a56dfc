package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/adastream/adastream/schemas/openapitest"
)

// What the handlers answer is what schemas/openapi.yaml says, problems too.
func TestAnswersAreAsDescribed(t *testing.T) {
	const name = "../../schemas/openapi.yaml"
	compiler := openapitest.Compiler(t, name)

	p := newPublisher(t)
	n := p.node(Options{Admin: true})
	api := n.API()
	check := func(schema, method, path, request string, status int) {
		t.Helper()
		s, err := compiler.Compile(name + "#/components/schemas/" + schema)
		if err != nil {
			t.Fatal(err)
		}
		w := call(api, method, path, request)
		if w.Code != status {
			t.Errorf("%s %s: %d, want %d: %s", method, path, w.Code, status, w.Body)
		}
		answer, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(answer); err != nil {
			t.Errorf("%s %s: %v\n%s", method, path, err, w.Body)
		}
	}
	asked := func(request string) {
		t.Helper()
		s, err := compiler.Compile(name + "#/components/schemas/SearchRequest")
		if err != nil {
			t.Fatal(err)
		}
		body, err := jsonschema.UnmarshalJSON(strings.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(body); err != nil {
			t.Errorf("%s: %v", request, err)
		}
	}
	check("SnapshotsAnswer", http.MethodGet, "/v1/snapshots", "", http.StatusOK)
	check("StatsAnswer", http.MethodGet, "/v1/stats", "", http.StatusOK)
	check("IndexAnswer", http.MethodGet, "/v1/index", "", http.StatusOK)
	check("Problem", http.MethodPost, "/v1/search", `{"like":"id-1"}`, http.StatusServiceUnavailable)
	p.add(0, 30)
	p.await(n, 1)
	check("SnapshotsAnswer", http.MethodGet, "/v1/snapshots", "", http.StatusOK)
	check("SearchAnswer", http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"include_vector":true}`, vectorJSON(unit(1))), http.StatusOK)
	for _, request := range []string{
		fmt.Sprintf(`{"vectors":[%s,%s],"k":3,"include_vector":true}`, vectorJSON(unit(1)), vectorJSON(unit(2))),
		fmt.Sprintf(`{"vectors_f32":"%s","fields":[]}`, base64Rows(unit(1))),
		`{"like":"id-1","k":3,"group_by":"color","group_size":2}`,
		fmt.Sprintf(`{"vectors_f32":"%s","group_by":"color","k":3,"group_values":[["red",null],[]]}`, base64Rows(slices.Concat(unit(1), unit(2)))),
		fmt.Sprintf(`{"vectors_f32":"%s","group_by":"color","k":3,"group_values":["red",null]}`, base64Rows(unit(1))),
		`{"like":"id-1","filter":{"$or":[{"color":null},{"color":{"$prefix":"b"}}]}}`,
	} {
		asked(request)
		check("SearchAnswer", http.MethodPost, "/v1/search", request, http.StatusOK)
	}
	check("VectorAnswer", http.MethodGet, "/v1/vectors/id-1", "", http.StatusOK)
	check("VectorsAnswer", http.MethodPost, "/v1/vectors:batchGet", `{"ids":["id-1","nobody","id-1"],"include_vector":true}`, http.StatusOK)
	check("SampleAnswer", http.MethodPost, "/v1/vectors:sample", `{"count":3}`, http.StatusOK)
	check("Problem", http.MethodPost, "/v1/vectors:sample", `{"count":0}`, http.StatusBadRequest)
	check("Generation", http.MethodGet, "/v1/snapshots/1", "", http.StatusOK)
	check("Problem", http.MethodGet, "/v1/snapshots/2", "", http.StatusNotFound)
	check("IndexAnswer", http.MethodGet, "/v1/index", "", http.StatusOK)
	check("StatsAnswer", http.MethodGet, "/v1/stats", "", http.StatusOK)
	check("RecallAnswer", http.MethodPost, "/v1/recall", `{"queries":5,"k":3}`, http.StatusOK)
	check("Problem", http.MethodGet, "/v1/vectors/nobody", "", http.StatusNotFound)
	check("Problem", http.MethodPost, "/v1/search", `{"vector":[1]}`, http.StatusBadRequest)
	check("Problem", http.MethodPost, "/v1/search", `{"like":"id-1","encoder":"f"}`, http.StatusConflict)
	notYet := fmt.Sprintf(`{"vector":%s,"min_offsets":{"0":1000},"max_staleness_seconds":60,"wait_seconds":0,"min_score":0.5}`, vectorJSON(unit(1)))
	asked(notYet)
	check("Problem", http.MethodPost, "/v1/search", notYet, http.StatusConflict)
	check("Problem", http.MethodPost, "/v1/search", `{"vectors":[[1],[2]]}`, http.StatusBadRequest)
	check("Problem", http.MethodPost, "/v1/search", `{`, http.StatusBadRequest)
	check("Problem", http.MethodGet, "/nowhere", "", http.StatusNotFound)
	api = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		n.API().ServeHTTP(w, r)
	})
	check("MoveAnswer", http.MethodPost, "/v1/admin/channel", `{"verb":"pin","reason":"r"}`, http.StatusOK)
	check("Problem", http.MethodPost, "/v1/admin/channel", `{"verb":"drop","reason":"r"}`, http.StatusBadRequest)
	api = n.API()
	check("Problem", http.MethodPost, "/v1/admin/channel", `{"verb":"pin","reason":"r"}`, http.StatusUnsupportedMediaType)
}

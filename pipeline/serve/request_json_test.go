package serve

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What is no document of JSON is told in the words of who sent it.
func TestBodiesThatAreNone(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 30)
	n := p.node(Options{})
	p.await(n, 1)
	for body, want := range map[string][]string{
		"":            {`"malformed"`, "the body is empty"},
		" \n":         {`"malformed"`, "the body is empty"},
		`{"k":1,`:     {`"malformed"`, "the document ends early"},
		`[1,2]`:       {`"malformed"`, "the document: a JSON array", "one JSON object"},
		`"id-1"`:      {`"malformed"`, "the document: a JSON string"},
		`{}{}`:        {`"malformed"`, "bytes after the document"},
		`{"vectr":1}`: {`"malformed"`, `unknown field`, "vectr"},
		string(vectorsStream(t, singleItems, testDim, unit(1))): {`"malformed"`, "an Arrow stream", "Content-Type: " + arrowType},
	} {
		for _, path := range []string{"/v1/search", "/v1/vectors:batchGet", "/v1/recall"} {
			if path != "/v1/search" && strings.Contains(body, "vector") {
				continue // what the document is there
			}
			checkProblem(t, post(n.API(), path, []byte(body), "Content-Type", jsonType), http.StatusBadRequest, want)
		}
	}
}

// readingNumbers: arrays read by hand are those that encoding/json reads.
func readingNumbers(testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
	for _, seed := range []string{`[]`, `[1]`, ` [ -0.5e-3 , 1E2,3 ] `, `[1e39]`, `[null]`, `["1"]`, `[[1]]`, `[true]`, `{}`, `[1,,2]`, `[0x1p4]`, `[1_0]`, `[Infinity]`} {
		seeds = append(seeds, []byte(seed))
	}
	return seeds, func(t testing.TB, raw []byte) {
		var got numbers
		var pointers []*float32 // tell nulls, which are no numbers
		err, plain := json.Unmarshal(raw, &got), json.Unmarshal(raw, &pointers)
		null := string(bytes.TrimSpace(raw)) == "null" // no array, and taken for none by encoding/json
		if json.Valid(raw) && !null && (err == nil) != (plain == nil && !slices.Contains(pointers, nil)) {
			t.Fatalf("%s: %v, encoding/json says %v", raw, err, plain)
		}
		if err != nil {
			return
		}
		for i, x := range got {
			if math.Float32bits(x) != math.Float32bits(*pointers[i]) {
				t.Fatalf("%s: %v at %d, encoding/json reads %v", raw, x, i, *pointers[i])
			}
		}
		var many rows
		if err := json.Unmarshal(slices.Concat([]byte("["), raw, []byte(","), raw, []byte("]")), &many); err != nil && !null {
			t.Fatalf("%s twice: %v", raw, err)
		} else if err == nil && !slices.Equal(many.values, slices.Concat(got, got)) {
			t.Fatalf("%s twice: %v", raw, many)
		}
	}
}

// What is written by hand is what encoding/json reads back.
func FuzzAppendText(f *testing.F) {
	for _, seed := range []string{"", "a", `"\`, "\x00\x1f", "é\u2028", "\xff", "<&>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendText(nil, s)
		var got, want string
		plain, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(b, &got) != nil || json.Unmarshal(plain, &want) != nil || got != want {
			t.Fatalf("%q is written %s", s, b)
		}
	})
}

package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Requests are read one after the other by one reader: nothing of one is left for the next, and memory is not taken again.
func TestDocuments(t *testing.T) {
	vector := strings.Repeat("0.0625,", 255) + "1"
	d := newDocuments()
	for i, tail := range []string{"", " \n\t", strings.Repeat(" ", 10_000), "\n"} {
		var body searchBody
		if err := d.decode(fmt.Appendf(nil, `{"k":%d,"vector":[%s]}%s`, i+1, vector, tail), &body); err != nil {
			t.Fatalf("document %d: %v", i, err)
		}
		if body.K == nil || *body.K != i+1 || body.Vector == nil || len(*body.Vector) != 256 || body.Like != nil {
			t.Errorf("document %d: %+v", i, body)
		}
		var other searchBody
		if err := d.decode([]byte(`{"like":"x"}`), &other); err != nil || other.Vector != nil || other.K != nil || *other.Like != "x" {
			t.Errorf("after document %d: %+v, error %v", i, other, err)
		}
	}
	for document, want := range map[string]string{
		`{"like":"x"} {"like":"y"}`: "bytes after the document",
		`{"like":"x"`:               "the document ends early",
		``:                          "the body is empty",
		`{"likes":"x"}`:             "unknown field",
	} {
		d := newDocuments()
		var body searchBody
		if err := d.decode([]byte(`{"like":"before"}`), &body); err != nil {
			t.Fatal(err)
		}
		if err := d.decode([]byte(document), &body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", document, err, want)
		}
	}

	document := fmt.Appendf(nil, `{"vector":[%s]}`, vector)
	reused := testing.AllocsPerRun(100, func() {
		if err := d.decode(document, &searchBody{}); err != nil {
			t.Fatal(err)
		}
	})
	anew := testing.AllocsPerRun(100, func() {
		if err := newDocuments().decode(document, &searchBody{}); err != nil {
			t.Fatal(err)
		}
	})
	if reused > anew-4 {
		t.Errorf("%v allocations a document, %v with a reader of its own", reused, anew)
	}
}

// What was read of a body does not change with it: its memory is that of the next.
func TestDocumentsLeaveTheBody(t *testing.T) {
	const document = `{"vector":[1,2,3],"encoder":"an encoder","filter":{"colour":"red"},"fields":["colour"],"group_by":"colour","group_values":["red"],"min_offsets":{"0":7}}`
	read := func(raw []byte) string {
		var body searchBody
		if err := newDocuments().decode(raw, &body); err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			raw[i] = 'x'
		}
		again, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return string(again)
	}
	got := read([]byte(document))
	for _, text := range []string{"[1,2,3]", "an encoder", `{"colour":"red"}`, `["colour"]`, `["red"]`, `"0":7`} {
		if !strings.Contains(got, text) {
			t.Errorf("%s is gone from %s", text, got)
		}
	}
}

// Requests at once do not meet in the memory that they share one after the other.
func TestRequestsAtOnce(t *testing.T) {
	const dim = 32
	n, data := clusteredNode(t, 2000, 8, dim)
	server := httptest.NewServer(n.API())
	defer server.Close()
	ask := func(row, k int) (string, error) {
		vector, err := json.Marshal(data.Vector(row))
		if err != nil {
			return "", err
		}
		response, err := http.Post(server.URL+"/v1/search", jsonType, bytes.NewReader(fmt.Appendf(nil, `{"vector":%s,"k":%d,"exact":true}`, vector, k)))
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		var hits struct{ Hits json.RawMessage }
		err = json.NewDecoder(response.Body).Decode(&hits)
		return string(hits.Hits), err
	}
	var all errgroup.Group
	for client := range 8 {
		all.Go(func() error {
			for i := range 50 {
				row, k := client*50+i, 1+(client*i)%100
				got, err := ask(row, k)
				if err != nil {
					return err
				}
				var hits []struct{ ID string }
				if err := json.Unmarshal([]byte(got), &hits); err != nil || len(hits) != k || hits[0].ID != data.IDs[row] {
					return fmt.Errorf("row %s, k %d: %s, error %v", data.IDs[row], k, got, err)
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

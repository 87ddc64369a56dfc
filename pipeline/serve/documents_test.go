package serve

import (
	"fmt"
	"strings"
	"testing"
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

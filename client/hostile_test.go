package client

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

// answerSchema is that of an answer to a batch, with metadata as nodes have.
var answerSchema = arrowguardtest.Schema(arrow.Field{Name: "query", Type: arrow.PrimitiveTypes.Uint32}, arrow.Field{Name: "score", Type: arrow.PrimitiveTypes.Float32}, arrow.Field{Name: "id", Type: arrow.BinaryTypes.String})

// TestAnswersThatLie: an answer that claims to be of gigabytes, as who is no node may send, is an error and costs none. So is one whose texts
// are of more than there is.
func TestAnswersThatLie(t *testing.T) {
	good := arrowguardtest.Message(t, answerSchema, `[{"query":0,"score":0.5,"id":"first"},{"query":0,"score":0.25,"id":"second"}]`)
	lies := arrowguardtest.Streams(t, good)
	lies["offsets"] = bytes.Replace(good, []byte{0, 0, 0, 0, 5, 0, 0, 0, 11, 0, 0, 0}, []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 11, 0, 0, 0}, 1)
	if bytes.Equal(lies["offsets"], good) {
		t.Fatal("the library writes offsets otherwise now")
	}
	var answer []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) }))
	defer server.Close()
	c, err := New(server.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() (int64, error) {
		b, err := c.SearchBatch(t.Context(), []float32{1, 0}, 2, How{})
		if err != nil {
			return 0, err
		}
		return b.Hits.NumRows(), nil
	}
	answer = good
	if n, err := ask(); n != 2 {
		t.Fatalf("%d rows, %v", n, err)
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			answer = lie
			arrowguardtest.Budget(t, func() {
				if n, err := ask(); err == nil {
					t.Errorf("%d rows", n)
				} else {
					t.Log(err)
				}
			})
		})
	}
}

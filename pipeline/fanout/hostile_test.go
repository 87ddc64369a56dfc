package fanout_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

func FuzzMergeArrow(f *testing.F) { mutate.Fuzz(f, merging) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{"FuzzMergeArrow": merging})
}

// merging: whatever an answer in Arrow is, its metadata or the offsets of ids and attributes, it is merged or is an error, and costs no more
// than its budget.
func merging(t testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
	rows := someRows(100)
	spec, nodes := build(t, 2, rows)
	queries := queriesOf(t, rows[0].vector)
	good := send(nodes[1], "/v1/search?k=20", arrowType, "", queries).Body.Bytes()
	var answer []byte
	lying := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })
	all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0], 1: lying}})
	return [][]byte{good}, func(t testing.TB, input []byte) {
		answer = input
		before := mutate.Allocated()
		if w := send(all, "/v1/search?k=20", arrowType, "", queries); w.Code != 200 && w.Code != 500 {
			t.Errorf("%d: %.200s", w.Code, w.Body)
		}
		if got := mutate.Allocated() - before; got > 16<<20 {
			t.Errorf("%d bytes allocated for an answer of %d", got, len(input))
		}
	}
}

// TestArrowOfNodesThatLie: an answer with attributes of types that no attribute has is an error, also if all shards say the same.
func TestArrowOfNodesThatLie(t *testing.T) {
	rows := someRows(100)
	spec, _ := build(t, 2, rows)
	schema := arrow.NewSchema([]arrow.Field{{Name: "query", Type: arrow.PrimitiveTypes.Uint32}, {Name: "id", Type: arrow.BinaryTypes.String}, {Name: "score", Type: arrow.PrimitiveTypes.Float32},
		{Name: "year", Type: arrow.PrimitiveTypes.Int32}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	b.Field(0).(*array.Uint32Builder).Append(0)
	b.Field(1).(*array.StringBuilder).Append("id-1")
	b.Field(2).(*array.Float32Builder).Append(0.5)
	b.Field(3).(*array.Int32Builder).Append(1999)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lying := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(out.Bytes()) })
	all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: lying, 1: lying}})
	if w := send(all, "/v1/search", arrowType, "", queriesOf(t, rows[0].vector)); w.Code != 500 {
		t.Errorf("%d: %.200s", w.Code, w.Body)
	}
}

// TestSizesOfNodesThatLie: an answer that claims to be of gigabytes is an error, and costs none.
func TestSizesOfNodesThatLie(t *testing.T) {
	rows := someRows(100)
	spec, nodes := build(t, 2, rows)
	queries := queriesOf(t, rows[0].vector)
	good := send(nodes[1], "/v1/search?k=20", arrowType, "", queries).Body.Bytes()
	for name, answer := range arrowguardtest.Streams(t, good) {
		t.Run(name, func(t *testing.T) {
			lying := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })
			all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0], 1: lying}})
			arrowguardtest.Budget(t, func() {
				if w := send(all, "/v1/search?k=20", arrowType, "", queries); w.Code != 500 {
					t.Errorf("%d: %.200s", w.Code, w.Body)
				}
			})
		})
	}
}

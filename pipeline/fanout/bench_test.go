package fanout_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/schemas"
)

// BenchmarkMerge measures what merging costs: nodes answer at once, with k hits of two attributes each. All of it is one process, so CPU
// is of both sides of each connection.
//
//	go test -run xxx -bench Merge ./pipeline/fanout
func BenchmarkMerge(b *testing.B) {
	for _, form := range []string{"json", "arrow"} {
		for _, k := range []int{10, 100, 1000} {
			for _, shards := range []int{1, 2, 4, 8} {
				for _, over := range []string{"process", "http"} {
					b.Run(fmt.Sprintf("%s/k=%d/shards=%d/%s", form, k, shards, over), func(b *testing.B) { benchmarkMerge(b, form == "arrow", k, shards, over == "http") })
				}
			}
		}
	}
}

func benchmarkMerge(b *testing.B, arrow bool, k, shards int, far bool) {
	spec := (&schemas.Spec{Name: "words", Ladder: []int{dim}, Encoder: "e", Topic: schemas.Topic{Partitions: shards}, Shards: shards}).WithDefaults()
	o := fanout.Options{Spec: &spec, Own: map[int]http.Handler{}, Peers: map[int][]*url.URL{}}
	for s := range shards {
		node := answering(b, s, k, arrow)
		if !far {
			o.Own[s] = node
			continue
		}
		r, err := fanout.New(fanout.Options{Spec: &spec, Own: map[int]http.Handler{s: node}})
		if err != nil {
			b.Fatal(err)
		}
		server := httptest.NewServer(r.API())
		b.Cleanup(server.Close)
		u, err := url.Parse(server.URL)
		if err != nil {
			b.Fatal(err)
		}
		o.Peers[s] = []*url.URL{u}
	}
	r, err := fanout.New(o)
	if err != nil {
		b.Fatal(err)
	}
	api, body := r.API(), fmt.Sprintf(`{"k":%d,"vector":%s}`, k, text(make([]float32, 256)))
	took := make([]time.Duration, 0, b.N)
	before := cpu()
	b.ReportAllocs()
	for b.Loop() {
		q := httptest.NewRequest(http.MethodPost, "/v1/search", strings.NewReader(body))
		q.Header.Set("Content-Type", "application/json")
		if arrow {
			q.Header.Set("Accept", arrowType)
		}
		w := httptest.NewRecorder()
		began := time.Now()
		api.ServeHTTP(w, q)
		took = append(took, time.Since(began))
		if w.Code != http.StatusOK {
			b.Fatalf("%d: %s", w.Code, w.Body)
		}
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/op")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-us")
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// answering is a node of a shard that always has the same answer.
func answering(b *testing.B, shard, k int, arrows bool) http.Handler {
	about := map[string]string{
		"snapshot":          fmt.Sprintf(`{"generation":42,"encoder":"mini 2","as_of":"2026-05-04T03:02:01.250Z","age_seconds":3.2,"live_rows":1048576,"offsets":{"%d":81000}}`, shard),
		"usage":             `{"plan":{"nprobe":8,"scan_dims":128,"refine":100},"exact":false,"lists_probed":8,"codes_scanned":8211,"refined":100,"bytes":288352,"dims":256,"microseconds":290}`,
		"expected_recall":   "0.962",
		"expected_interval": "[0.951,0.973]",
	}
	if arrows {
		return constant(b, arrowType, arrowAnswer(b, shard, k, about))
	}
	var out bytes.Buffer
	out.WriteString(`{"hits":[`)
	for i := range k {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, `{"id":"document-%d-%d","score":%v,"attributes":{"class":"musical instrument","year":%d}}`, shard, i, score(shard, i), 1900+i%100)
	}
	out.WriteByte(']')
	for name, value := range about {
		fmt.Fprintf(&out, `,%q:%s`, name, value)
	}
	out.WriteString("}\n")
	return constant(b, "application/json", out.Bytes())
}

func score(shard, i int) float32 { return 1 - float32(8*i+shard)/16000 }

func arrowAnswer(b *testing.B, shard, k int, about map[string]string) []byte {
	b.Helper()
	var keys, values []string
	for name, value := range about {
		keys, values = append(keys, "adastream."+name), append(values, value)
	}
	metadata := arrow.NewMetadata(keys, values)
	schema := arrow.NewSchema([]arrow.Field{{Name: "query", Type: arrow.PrimitiveTypes.Uint32}, {Name: "id", Type: arrow.BinaryTypes.String}, {Name: "score", Type: arrow.PrimitiveTypes.Float32},
		{Name: "attr.class", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "attr.year", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, &metadata)
	rows := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range k {
		rows.Field(0).(*array.Uint32Builder).Append(0)
		rows.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("document-%d-%d", shard, i))
		rows.Field(2).(*array.Float32Builder).Append(score(shard, i))
		rows.Field(3).(*array.StringBuilder).Append("musical instrument")
		rows.Field(4).(*array.Int64Builder).Append(int64(1900 + i%100))
	}
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(rows.NewRecordBatch()); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

func constant(b *testing.B, kind string, answer []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var body bytes.Buffer
		if _, err := body.ReadFrom(q.Body); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(answer)
	})
}

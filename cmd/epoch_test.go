package cmd

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/source"
)

const (
	epochEncoder = "test-2"
	epochDim     = 32
)

// epoch makes an epoch of the index, of another encoder and width, with a topic of its own.
func (f *fleetTest) epoch(name string) *fleetTest {
	f.Helper()
	e := *f
	place, query, _ := strings.Cut(f.storage, "?")
	e.storage, e.topic = strings.TrimSuffix(place+"/epochs/"+name+"?"+query, "?"), f.topic+"-"+name
	f.run("init", "--store", e.storage, "--brokers", f.brokers, "--name", "e2e-"+name, "--topic", e.topic, "--ladder", "16,32", "--encoder", epochEncoder)
	var err error
	if e.client, err = source.New(source.Options{Brokers: []string{f.brokers}, Topic: e.topic}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.client.Close() })
	return &e
}

// produceFile sends rows to the topic as an operator does, and returns what that says.
func (f *fleetTest) produceFile(b arrow.RecordBatch) string {
	f.Helper()
	file := filepath.Join(f.TempDir(), "rows.arrow")
	writeFile(f.T, file, b)
	return f.run("produce", "--brokers", f.brokers, "--topic", f.topic, file)
}

// epochBatch is rows of the epoch's encoder.
func epochBatch(rng *rand.Rand, from, n int) arrow.RecordBatch {
	md := arrow.MetadataFrom(map[string]string{"adastream.encoder": epochEncoder})
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "vector", Type: arrow.FixedSizeListOf(epochDim, arrow.PrimitiveTypes.Float32)},
	}, &md))
	defer b.Release()
	list := b.Field(1).(*array.FixedSizeListBuilder)
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(from + i))
		list.Append(true)
		list.ValueBuilder().(*array.Float32Builder).AppendValues(vector(rng)[:epochDim], nil)
	}
	return b.NewRecordBatch()
}

// awaitEncoder waits until the node's answers need an encoder.
func (f *fleetTest) awaitEncoder(api, encoder string) {
	f.Helper()
	var s struct {
		Serving *struct{ Encoder string }
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r, err := http.Get(api + "/v1/snapshots")
		if err != nil {
			f.Fatal(err)
		}
		err = json.NewDecoder(r.Body).Decode(&s)
		r.Body.Close()
		if err != nil {
			f.Fatal(err)
		}
		if s.Serving != nil && s.Serving.Encoder == encoder {
			return
		}
	}
	f.Fatalf("the node serves %+v after a minute, want encoder %s", s.Serving, encoder)
}

// An index of another encoder is made and built in a folder of the one that is served, by the same programs, promoted with one
// command and left with another, while clients of both encoders search. Each side goes on taking in its topic meanwhile.
func TestChangingTheEncoder(t *testing.T) {
	f := newFleetTest(t)
	f.start("ingestor", "--brokers", f.brokers, "--flush-age", "50ms")
	f.start("builder")
	api, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	_, ops := f.start("query", "--listen", api, "--poll-every", "50ms")
	api = "http://" + api
	rng := rand.New(rand.NewPCG(6, 6))
	f.produceFile(batch(rng, 0, 300))
	f.awaitServed(api)
	if err := fleet.AwaitOK(t.Context(), "http://"+ops+"/readyz"); err != nil {
		t.Fatal(err)
	}

	e := f.epoch("next")
	e.start("ingestor", "--brokers", f.brokers, "--flush-age", "50ms")
	e.start("builder")
	e.produceFile(epochBatch(rng, 0, 200))
	for out := ""; !strings.Contains(out, "stable"); time.Sleep(50 * time.Millisecond) {
		out = f.run("snapshot", "ls", "--store", e.storage)
	}

	ended := make(chan struct{})
	var clients sync.WaitGroup
	for encoder, width := range map[string]int{"test-1": dim, epochEncoder: epochDim} {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(7, 7))
			for answered, refused := 0, 0; ; time.Sleep(2 * time.Millisecond) {
				select {
				case <-ended:
					if answered == 0 || refused == 0 {
						t.Errorf("asked by %s: %d answers, %d refusals", encoder, answered, refused)
					}
					return
				default:
				}
				_, err := post(t.Context(), api, map[string]any{"vector": vector(rng)[:width], "encoder": encoder})
				switch {
				case err == nil:
					answered++
				case strings.HasPrefix(err.Error(), "409 ") && strings.Contains(err.Error(), `"code":"encoder"`):
					refused++
				default:
					t.Errorf("asked by %s: %v", encoder, err)
					return
				}
			}
		})
	}
	out := f.run("snapshot", "promote", "--store", f.storage, "--epoch", "next", "--reason", "a test")
	if !strings.Contains(out, "of epoch next: encoder test-2, 32 dimensions") || !strings.Contains(out, "serving epoch next") {
		t.Errorf("promote says %q", out)
	}
	f.awaitEncoder(api, epochEncoder)
	e.produceFile(epochBatch(rng, 100, 300))
	e.awaitServed(api)
	f.produceFile(batch(rng, 300, 300))
	f.run("snapshot", "rollback", "--store", f.storage, "--reason", "a test")
	f.awaitEncoder(api, "test-1")
	f.awaitServed(api) // what came meanwhile too
	f.run("snapshot", "promote", "--store", f.storage, "--epoch", "next", "--reason", "a test again")
	f.awaitEncoder(api, epochEncoder)
	close(ended)
	clients.Wait()
	out = f.run("doctor", "--store", f.storage, "--brokers", f.brokers, "--produce", "--search", "--url", api)
	if strings.Contains(out, "BAD") || !strings.Contains(out, "served epoch") || !strings.Contains(out, "found first") || !strings.Contains(out, "e2e-next, 32 dimensions") {
		t.Errorf("doctor, whose row goes to the epoch:\n%s", out)
	}
}

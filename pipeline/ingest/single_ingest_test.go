package ingest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/registry"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// changes are n records as Debezium writes them of a table of 40 rows, with tombstones after deletes, and with records between them that
// cannot be rows. It keeps its own account of what is live, and of how many are to be refused.
func changes(n int, seed uint64) (records []source.Message, live map[string]string, refused map[string]int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	live, refused = map[string]string{}, map[string]int{}
	add := func(sku int, value string) {
		records = append(records, source.Message{Key: fmt.Appendf(nil, `{"sku":%d}`, sku), Value: []byte(value)})
	}
	for i := range n {
		sku := rng.IntN(40)
		row := fmt.Sprintf(`{"sku":%d,"title":"t%d","embedding":[%d,1,0,-0.5]}`, sku, i, i)
		switch kind := rng.IntN(10); {
		case kind < 6:
			add(sku, fmt.Sprintf(`{"before":null,"after":%s,"op":%q,"source":{"lsn":%d}}`, row, []string{"c", "u", "r"}[kind%3], i))
			live[fmt.Sprint(sku)] = fmt.Sprintf("[%d 1 0 -0.5] t%d", i, i)
		case kind < 7:
			add(sku, fmt.Sprintf(`{"before":{"sku":%d,"embedding":null},"after":null,"op":"d","source":{"lsn":%d}}`, sku, i))
			records = append(records, source.Message{Key: fmt.Appendf(nil, `{"schema":{},"payload":{"sku":%d}}`, sku)})
			delete(live, fmt.Sprint(sku))
		case kind < 8:
			add(sku, fmt.Sprintf(`{"after":%s,"op":"u"}`, strings.Replace(row, ",-0.5", "", 1)))
			refused[schemas.ReasonDims]++
		case kind < 9:
			add(sku, `{"op":"t","source":{}}`)
			refused[schemas.ReasonOp]++
		default:
			add(sku, []string{"", "rubbish", `{"op":"c","after":{"sku":1,"sku":2}}`, row[:20]}[rng.IntN(4)])
			refused[schemas.ReasonMalformed]++
		}
	}
	return records, live, refused
}

// TestSingles_liveIDs: of records of one row, with bad ones among them, exactly what should be is live, whatever the cuts.
func TestSingles_liveIDs(t *testing.T) {
	spec := messagesSpec(t, `{"format":"json","envelope":"debezium","id":"sku","vector":"embedding"}`)
	r := newRig(t, 1, store.NewMemory(), func(s *schemas.Spec) { s.Messages = spec.Messages })
	records, live, refused := changes(600, 11)
	r.produce(50, records[:300]...)
	r.produce(1, records[300:330]...)
	r.produce(200, records[330:]...)
	want := r.foldLog(0)
	for name, change := range map[string]func(*Options){
		"one cut":   func(o *Options) { o.FlushAge = time.Second },
		"few rows":  func(o *Options) { o.FlushRows = 7 },
		"few bytes": func(o *Options) { o.FlushBytes = 3000 },
	} {
		t.Run(name, func(t *testing.T) {
			r := &rig{t: t, client: r.client, edge: newEdge(store.NewMemory()), spec: r.spec}
			r.create()
			run := r.start(change)
			r.await(0, int64(len(records)))
			run.stop(t)
			got := r.foldChain(0)
			got.check(t, want)
			is := map[string]string{}
			for id, last := range got.last {
				if what := last[strings.Index(last, "}")+2:]; what != "deleted" {
					is[id] = what
				}
			}
			if !maps.Equal(is, live) || len(live) < 10 {
				t.Errorf("live are\n%v, want\n%v", is, live)
			}
			count := map[string]int{}
			for _, q := range got.refused {
				count[strings.Fields(q)[1]]++
			}
			if !maps.Equal(count, refused) || len(refused) != 3 {
				t.Errorf("refused %v, want %v", count, refused)
			}
		})
	}
	if !slices.ContainsFunc(records, func(m source.Message) bool { return m.Value != nil && len(m.Value) == 0 }) {
		t.Error("no record has an empty value, which is no tombstone")
	}
}

// TestAvro_registryAway: while a schema cannot be had, its partition waits and says so, and what came before is committed; nothing is passed over.
func TestAvro_registryAway(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	for id, text := range avroSchemas {
		fake.SeedSchema(fmt.Sprint("subject-", id), 1, int(id), sr.Schema{Schema: text})
	}
	var away atomic.Bool
	fake.Intercept(func(w http.ResponseWriter, q *http.Request) bool {
		if away.Load() && strings.HasSuffix(q.URL.Path, "/9") {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	known, err := registry.New(registry.Options{URL: fake.URL()})
	if err != nil {
		t.Fatal(err)
	}
	spec := messagesSpec(t, `{"format":"avro","key":"$"}`)
	r := newRig(t, 1, store.NewMemory(), func(s *schemas.Spec) { s.Messages = spec.Messages })
	if _, err := New(Options{Shards: []*commit.Log{r.log}, Source: r.client, Group: "g"}); err == nil || !strings.Contains(err.Error(), "--schema-registry") {
		t.Errorf("without a registry: %v", err)
	}
	away.Store(true)
	odd := obj{"id": "odd", "vector": []any{1.0, 2.0, 3.0, 4.0}, "seen": time.Unix(0, 0).UTC(), "price": nil}
	r.produce(4,
		source.Message{Time: time.Unix(1, 0), Value: avroMessage(t, 2, odd)},
		source.Message{Time: time.Unix(2, 0), Value: []byte{0, 0, 0, 0, 88, 1}},
		source.Message{Time: time.Unix(3, 0), Value: avroMessage(t, 9, obj{"id": "chain", "vector": []float32{1, 2, 3, 4}, "next": nil})},
		source.Message{Key: avroMessage(t, 6, "odd")},
		source.Message{Value: []byte("rubbish")})
	run := r.start(func(o *Options) { o.Schemas, o.FlushAge, o.FlushRows = known, time.Minute, 3 }) // so that waiting is what commits the first two
	r.await(0, 2)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if err := run.Ready(); err != nil && strings.Contains(err.Error(), "retrying: schema 9: ") {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("ready says %v", err)
		}
	}
	head, err := r.log.Head(r.context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if head.Next != 2 || head.Watermark != 2000 || head.Last.Produced != 2000 {
		t.Errorf("the chain ends at %d with watermark %d, produced %d, want 2 and the time of the second, 2000: the third is not in it", head.Next, head.Watermark, head.Last.Produced)
	}
	away.Store(false)
	r.await(0, 5)
	run.stop(t)
	got := r.foldChain(0)
	if len(got.last) != 2 || !strings.HasSuffix(got.last["odd"], "deleted") || !strings.Contains(got.last["chain"], "[1 2 3 4]") {
		t.Errorf("became %v", got.last)
	}
	if len(got.refused) != 2 || !strings.HasPrefix(got.refused[0], "1:-1 schema ") || !strings.HasPrefix(got.refused[1], "4:-1 malformed ") {
		t.Errorf("refused %v", got.refused)
	}
}

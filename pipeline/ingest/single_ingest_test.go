package ingest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

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

package ingest

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

func TestZZ(t *testing.T) {
	var seeds [][]byte
	for _, m := range hostileMessages(t) {
		seeds = append(seeds, m)
	}
	schema := messageSchema(field("id", int64Type), field("op", dictType), field("version", int64Type), field("vector", arrow.ListOf(float16Type)),
		field("title", dictType), field("year", arrow.PrimitiveTypes.Uint64), field("price", float32Type), field("new", arrow.FixedWidthTypes.Boolean),
		field("seen", &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}), field("extra", arrow.ListOf(utf8Type)))
	const rows = `[{"id":1,"op":"upsert","version":3,"vector":[1,2,3,4],"title":"x","year":5,"price":1.5,"new":true,"seen":0,"extra":["y"]},{"id":2,"op":"delete"}]`
	for range 20 {
		seeds = append(seeds, messageOf(t, schema, rows), messageOf(t, schema, rows, ipc.WithZstd()), messageOf(t, schema, rows, ipc.WithLZ4()), plainMessage(t))
	}
	spec := testSpec()
	d, _ := NewDecoder(spec, avx.Generic, Limits{MaxUncompressed: 1 << 20, MaxRows: 1 << 12}, nil)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	n, ok, panicked := 0, 0, map[string]int{}
	interesting := []byte{0, 1, 2, 4, 8, 16, 0x7f, 0x80, 0xff, 0xfe}
	for start := time.Now(); time.Since(start) < 100*time.Second; n++ {
		m := bytes.Clone(seeds[rng.IntN(len(seeds))])
		if len(m) == 0 {
			continue
		}
		for range 1 + rng.IntN(4) {
			at := rng.IntN(len(m))
			switch rng.IntN(3) {
			case 0:
				m[at] ^= 1 << rng.IntN(8)
			case 1:
				m[at] = interesting[rng.IntN(len(interesting))]
			case 2:
				m[at] = byte(int(m[at]) + 8*(rng.IntN(5)-2))
			}
		}
		out := &decoded{rows: segment.NewRows(spec)}
		if err := d.Decode(Message{Topic: "topic", Value: m}, out.rows, &out.deletes, func(q Quarantined) { out.bad = append(out.bad, q) }); err != nil {
			t.Fatal(err)
		}
		for _, q := range out.bad {
			if strings.Contains(q.Detail, "panicked") {
				panicked[q.Detail]++
			}
		}
		if out.rows.Len() > 0 {
			ok++
		}
		out.bad = nil
		out.check(t, spec)
	}
	t.Log(n, ok, panicked)
}

package schemas

import (
	"encoding/json"
	"fmt"
	"testing"
)

// BenchmarkManifest reads manifests of many chunks, with keys as long as those of the store.
func BenchmarkManifest(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("chunks=%d", n), func(b *testing.B) {
			m := smallManifest()
			for i := range n {
				object := func(kind string) Object {
					id := fmt.Sprintf("%064x", i)
					return Object{Key: "chunks/" + id + "-00000000-0000-4000-8000-000000000000." + kind + ".arrow", Size: 10_000_000, SHA256: id}
				}
				rows := object("rows")
				m.Chunks = append(m.Chunks, Chunk{ID: rows.SHA256, FirstList: i, EndList: i + 1, NumRows: 40_000, Rows: rows, Codes: object("codes"), Vectors: object("vectors")})
			}
			body, err := json.Marshal(m)
			if err != nil {
				b.Fatal(err)
			}
			b.Run("read", func(b *testing.B) {
				for b.Loop() {
					if _, err := ParseManifest(body); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(body)), "B")
			})
			b.Run("write", func(b *testing.B) {
				for b.Loop() {
					if _, err := json.Marshal(m); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

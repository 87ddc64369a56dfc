package build

import (
	"fmt"
	"testing"
	"time"

	"github.com/adastream/adastream/schemas"
)

// BenchmarkPublish folds a commit of 250 upserts and deletes of rows that exist, and publishes it, on indexes of
// different sizes. It should take as long on all of them.
func BenchmarkPublish(b *testing.B) {
	for _, rows := range []int{20_000, 80_000, 320_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			w := newWorld(b, 1)
			for p := range testPartitions {
				w.ingest(p, rows/testPartitions, rows, nil)
			}
			grown := func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 && len(m.Segments) == 0 }
			_, stop := w.start(Options{PublishEvery: time.Millisecond, RewriteRows: 150})
			w.settledWith(grown)
			stop()
			builder, err := New(w.with(Options{}))
			if err != nil {
				b.Fatal(err)
			}
			if err := builder.load(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer builder.drop()
			mdl := builder.model
			b.ResetTimer()
			for b.Loop() {
				b.StopTimer()
				w.ingest(0, 250, rows, mdl)
				b.StartTimer()
				if _, err := builder.fold(b.Context()); err != nil {
					b.Fatal(err)
				}
				if err := builder.publish(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

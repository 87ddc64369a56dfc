package build

import (
	"testing"

	"github.com/adastream/adastream/schemas"
)

// TestWatermark_isNotStalledAndNeverFalls: generations of three partitions, each by what they fold.
func TestWatermark_isNotStalledAndNeverFalls(t *testing.T) {
	b := &Builder{heads: map[int]chainHead{}, loading: map[int]bool{}, metrics: newMetrics(nil, &health{})}
	watermark, ends := int64(0), map[int]int64{}
	for i, step := range []struct {
		what   string
		folded []schemas.Commit
		want   int64
	}{
		{"nothing yet", nil, 0},
		{"data of one", []schemas.Commit{{Partition: 0, Watermark: 100, AtEnd: true}}, 100},
		{"data of two, the smaller counts", []schemas.Commit{{Partition: 0, Watermark: 120, AtEnd: true}, {Partition: 1, Watermark: 110, AtEnd: true}}, 110},
		{"the second is idle", []schemas.Commit{{Partition: 0, Watermark: 200, AtEnd: true}}, 200},
		{"first data of the third is older", []schemas.Commit{{Partition: 2, Watermark: 50, AtEnd: true}}, 200},
		{"nobody folds", nil, 200},
		{"the second is back and behind", []schemas.Commit{{Partition: 1, Watermark: 210}, {Partition: 0, Watermark: 300, AtEnd: true}}, 210},
		{"it holds the others back", []schemas.Commit{{Partition: 0, Watermark: 400, AtEnd: true}}, 210},
		{"it has caught up", []schemas.Commit{{Partition: 1, Watermark: 390, AtEnd: true}}, 390},
		{"a load is none of the topic", []schemas.Commit{{Partition: 3, Watermark: 900, Load: &schemas.Load{}}}, 390},
		{"and is idle", []schemas.Commit{{Partition: 0, Watermark: 500, AtEnd: true}}, 500},
	} {
		for _, c := range step.folded {
			c.Start, c.End = ends[c.Partition], ends[c.Partition]+1
			ends[c.Partition] = c.End
			b.take(&c, commitData{})
		}
		watermark = reached(b.heads, watermark)
		rest(b.heads)
		if watermark != step.want {
			t.Fatalf("step %d, %s: watermark %d, want %d", i, step.what, watermark, step.want)
		}
	}
}

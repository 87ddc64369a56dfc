package commit

import (
	"testing"

	"github.com/adastream/adastream/schemas"
)

func TestChanged(t *testing.T) {
	object := func(key string, size int64) schemas.Object { return schemas.Object{Key: key, Size: size, SHA256: key} }
	chunk := func(id, codes string) schemas.Chunk {
		return schemas.Chunk{ID: id, Rows: object(id, 10), Codes: object(codes, 2), Vectors: object(id+"v", 30)}
	}
	segment := func(id string) schemas.Segment { return schemas.Segment{ID: id, Object: object(id, 5)} }
	model := func(id, repair string) *schemas.ModelRef {
		return &schemas.ModelRef{ID: id, Object: object(id, 7), Repair: repair}
	}
	first := &schemas.Manifest{LiveRows: 3, Segments: []schemas.Segment{segment("a")}, Checkpoint: map[string]int64{"0": 3}}
	delta := &schemas.Manifest{LiveRows: 5, DeadRows: 1, Segments: []schemas.Segment{segment("a"), segment("b")}, Checkpoint: map[string]int64{"0": 4, "1": 2}}
	joined := &schemas.Manifest{LiveRows: 5, DeadRows: 1, Segments: []schemas.Segment{segment("ab")}, Checkpoint: delta.Checkpoint}
	trained := &schemas.Manifest{LiveRows: 5, Model: model("m", "full"), Chunks: []schemas.Chunk{chunk("k", "kc"), chunk("l", "lc")}}
	merged := &schemas.Manifest{LiveRows: 6, Model: model("m", "full"), Chunks: []schemas.Chunk{chunk("k", "kc"), chunk("n", "nc")}}
	recoded := &schemas.Manifest{LiveRows: 5, Model: model("m", "full"), Chunks: []schemas.Chunk{chunk("k", "kd"), chunk("l", "lc")}}
	retrained := &schemas.Manifest{LiveRows: 5, Model: model("n", "codes"), Chunks: recoded.Chunks}
	for name, test := range map[string]struct {
		from, to *schemas.Manifest
		kind     string
		want     Change
	}{
		"the first": {nil, first, KindDelta, Change{Segment: Parts{New: 1}, Live: 3, Folded: 3, New: Size{1, 5}}},
		"a delta":   {first, delta, KindDelta, Change{Segment: Parts{Shared: 1, New: 1}, Live: 2, Dead: 1, Folded: 3, Shared: Size{1, 5}, New: Size{1, 5}}},
		"nothing":   {delta, delta, KindDelta, Change{Segment: Parts{Shared: 2}, Shared: Size{2, 10}}},
		"joined":    {delta, joined, KindCompaction, Change{Segment: Parts{New: 1, Gone: 2}, New: Size{1, 5}, Gone: Size{2, 10}}},
		"trained": {joined, trained, KindRetrain, Change{Model: "first", Chunks: Parts{New: 2}, Segment: Parts{Gone: 1}, Dead: -1,
			New: Size{7, 91}, Gone: Size{1, 5}}},
		"merged":    {trained, merged, KindRewrite, Change{Chunks: Parts{Shared: 1, New: 1, Gone: 1}, Live: 1, Shared: Size{4, 49}, New: Size{3, 42}, Gone: Size{3, 42}}},
		"recoded":   {trained, recoded, KindRewrite, Change{Chunks: Parts{Shared: 2}, Codes: 1, Shared: Size{6, 89}, New: Size{1, 2}, Gone: Size{1, 2}}},
		"retrained": {trained, retrained, KindRetrain, Change{Model: "codes", Chunks: Parts{Shared: 2}, Codes: 1, Shared: Size{5, 82}, New: Size{2, 9}, Gone: Size{2, 9}}},
	} {
		if got := Changed(test.from, test.to); *got != test.want || got.Kind() != test.kind {
			t.Errorf("%s: %s %+v, want %s %+v", name, got.Kind(), *got, test.kind, test.want)
		}
	}
}

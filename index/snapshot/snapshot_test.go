package snapshot_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

const level = avx.Generic

var groups = []snapshottest.Group{
	{Kind: snapshottest.Chunks, Start: 0, End: 300},
	{Kind: snapshottest.Segment, Start: 300, End: 360},
	{Kind: snapshottest.Unlisted, Start: 360, End: 380},
	{Kind: snapshottest.Chunks, Start: 380, End: 500},
}

func generation(t *testing.T) (*snapshottest.Data, *model.Model, *snapshottest.Generation) {
	t.Helper()
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 8, 16), 500, 1)
	mdl := d.Train(t, level, 16)
	return d, mdl, snapshottest.Write(t, d, mdl, level, groups, func(i int) bool { return i%7 == 0 })
}

func TestOpen_contents(t *testing.T) {
	d, mdl, g := generation(t)
	s, err := snapshot.Open(d.Spec, g.Manifest, mdl, g.Parts, g.Dead, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Spec() != d.Spec || s.Manifest() != g.Manifest || s.Model() != mdl || len(s.Parts()) != len(g.Parts) {
		t.Fatal("a snapshot does not hold what it was opened from")
	}
	if want := int64(500 - 72); s.Live() != want {
		t.Errorf("live rows: %d, want %d", s.Live(), want)
	}
	for i, id := range d.IDs {
		part, row, ok := s.Find(id)
		switch {
		case ok == (i%7 == 0):
			t.Errorf("row %d: found is %v", i, ok)
		case ok && s.Parts()[part].IDAt(row) != id:
			t.Errorf("row %d: found %q, want %q", i, s.Parts()[part].IDAt(row), id)
		}
	}
	if _, _, ok := s.Find("none"); ok {
		t.Error("an id that no row has was found")
	}
}

// Each row of a listed part is in two runs, those of its first and of its second list.
func TestRuns_coverRowsOnce(t *testing.T) {
	d, mdl, g := generation(t)
	s, err := snapshot.Open(d.Spec, g.Manifest, mdl, g.Parts, g.Dead, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := make([][]int, len(g.Parts))
	for i, p := range g.Parts {
		seen[i] = make([]int, p.N)
	}
	for list := range int32(mdl.NList()) {
		last := int32(-1)
		for _, r := range s.Runs(list) {
			p := s.Parts()[r.Part]
			if r.Part < last || r.Start >= r.End || (r.Kind == snapshot.Codes) != (p.Blocks != nil) {
				t.Fatalf("list %d: run %+v after part %d", list, r, last)
			}
			last = r.Part
			for at := r.Start; at < r.End; at++ {
				part, row, want := int(r.Part), int(at), p.ListAt
				switch r.Kind {
				case snapshot.Codes:
					part, row = s.Locate(int(p.CodeRows[at]))
					if want = s.Parts()[part].ListAt; want(row) != list {
						want = s.Parts()[part].SpillAt
					}
				case snapshot.Spilled:
					row, want = int(p.Spilled[at]), p.SpillAt
				}
				seen[part][row]++
				if want(row) != list {
					t.Fatalf("list %d: run %+v has row %d of list %d", list, r, row, want(row))
				}
			}
		}
	}
	for _, i := range s.Unlisted() {
		for row := range seen[i] {
			seen[i][row] += 2
		}
	}
	for i, rows := range seen {
		for row, n := range rows {
			if n != 2 {
				t.Errorf("part %d: row %d is reached %d times", i, row, n)
			}
		}
	}
}

func TestOpen_refusesWhatDoesNotAgree(t *testing.T) {
	d, mdl, _ := generation(t)
	other := snapshottest.Clustered(d.Spec, 500, 2).Train(t, level, 16)
	wide := *d.Spec
	wide.Ladder = []int{8, 32}
	tests := []struct {
		name string
		in   func(g *snapshottest.Generation) (*schemas.Spec, *model.Model)
		want string
	}{
		{"partMissing", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Parts = g.Parts[1:]
			return d.Spec, mdl
		}, "parts, the manifest has"},
		{"chunksSwapped", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Parts[0], g.Parts[1] = g.Parts[1], g.Parts[0]
			return d.Spec, mdl
		}, "stands where the manifest has chunk"},
		{"segmentsSwapped", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			n := len(g.Parts)
			g.Parts[n-1], g.Parts[n-2] = g.Parts[n-2], g.Parts[n-1]
			return d.Spec, mdl
		}, "stands where the manifest has segment"},
		{"partTwice", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Parts[1], g.Manifest.Chunks[1] = g.Parts[0], g.Manifest.Chunks[0]
			return d.Spec, mdl
		}, "is there twice"},
		{"chunkRows", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.Chunks[0].NumRows++
			return d.Spec, mdl
		}, "rows, the manifest says"},
		{"chunkLists", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.Chunks[0].EndList++
			return d.Spec, mdl
		}, "covers lists"},
		{"segmentRows", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.Segments[0].NumRows++
			return d.Spec, mdl
		}, "rows, the manifest says"},
		{"segmentModel", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.Segments[0].Model = ""
			return d.Spec, mdl
		}, "is of model"},
		{"modelMissing", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			return d.Spec, nil
		}, "is not there"},
		{"modelNotWanted", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.Model = nil
			return d.Spec, mdl
		}, "the manifest has none"},
		{"modelOther", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			return d.Spec, other
		}, "is there, the manifest has"},
		{"chunksOfOtherModel", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.Model = &schemas.ModelRef{ID: other.ID(), NList: other.NList()}
			return d.Spec, other
		}, "is of model"},
		{"chunksWithoutModel", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.Model = nil
			return d.Spec, nil
		}, "chunks without a model"},
		{"lists", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.Model.NList++
			return d.Spec, mdl
		}, "lists, the manifest says"},
		{"dimensions", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			return &wide, mdl
		}, "dimensions"},
		{"nativeModelOfAnIndexThatRotates", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			rotating := *d.Spec
			rotating.Prefix = schemas.PrefixRotate
			return &rotating, mdl
		}, `has axes "", the prefixes of the index are "rotate"`},
		{"axes", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Parts[len(g.Parts)-1].Axes = "a5"
			return d.Spec, mdl
		}, `has int8 rows by axes "a5"`},
		{"deadRowBeyondPart", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Dead[g.Parts[0].ID] = roaring.BitmapOf(uint32(g.Parts[0].N))
			return d.Spec, mdl
		}, "dead rows: part"},
		{"deadRowsMissing", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.LiveRows--
			g.Manifest.DeadRows++
			return d.Spec, mdl
		}, "live rows"},
		{"liveRows", func(g *snapshottest.Generation) (*schemas.Spec, *model.Model) {
			g.Manifest.LiveRows++
			return d.Spec, mdl
		}, "live rows"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := snapshottest.Write(t, d, mdl, level, groups, nil)
			spec, m := tt.in(g)
			_, err := snapshot.Open(spec, g.Manifest, m, g.Parts, g.Dead, func() { t.Error("closed what was not opened") })
			if !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "generation 7: ") {
				t.Errorf("got %v, want a corruption with %q", err, tt.want)
			}
		})
	}
}

func TestOpen_ignoresDeadRowsOfOtherParts(t *testing.T) {
	d, mdl, g := generation(t)
	g.Dead["merged away"] = roaring.BitmapOf(1 << 30)
	if _, err := snapshot.Open(d.Spec, g.Manifest, mdl, g.Parts, g.Dead, nil); err != nil {
		t.Error(err)
	}
}

func TestOpen_nothing(t *testing.T) {
	spec := snapshottest.Spec(schemas.Cosine, 8)
	s, err := snapshot.Open(spec, &schemas.Manifest{Generation: 1}, nil, []*segment.Part{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := s.Find("a"); ok || s.Live() != 0 || len(s.Unlisted()) != 0 {
		t.Error("an empty generation has rows")
	}
}

func empty(t *testing.T, onClose func()) *snapshot.Snapshot {
	t.Helper()
	s, err := snapshot.Open(snapshottest.Spec(schemas.Cosine, 8), &schemas.Manifest{Generation: 1}, nil, nil, nil, onClose)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestClose_waitsForReaders(t *testing.T) {
	ended := 0
	s := empty(t, func() { ended++ })
	for range 2 {
		if !s.Acquire() {
			t.Fatal("an open snapshot cannot be acquired")
		}
	}
	s.Release()
	s.Close()
	s.Close()
	if s.Acquire() {
		t.Error("a closed snapshot was acquired")
	}
	if ended != 0 {
		t.Error("ended with a reader")
	}
	s.Release()
	s.Close()
	if ended != 1 {
		t.Errorf("ended %d times, want once", ended)
	}
}

func TestClose_withoutReaders(t *testing.T) {
	ended := 0
	s := empty(t, func() { ended++ })
	s.Close()
	s.Close()
	if ended != 1 || s.Acquire() {
		t.Errorf("ended %d times, want once and for all", ended)
	}
}

func TestRelease_unbalancedPanics(t *testing.T) {
	s := empty(t, nil)
	s.Close()
	defer func() {
		if recover() == nil {
			t.Error("released what was not acquired")
		}
	}()
	s.Release()
}

// Readers hammer a pointer to the current snapshot while it is swapped. None may read a snapshot that ended.
func TestSwap_underLoad(t *testing.T) {
	type state struct {
		ended atomic.Int32
		snap  *snapshot.Snapshot
	}
	var all []*state
	next := func() *state {
		st := &state{}
		st.snap = empty(t, func() { st.ended.Add(1) })
		all = append(all, st)
		return st
	}
	var current atomic.Pointer[state]
	current.Store(next())
	var stop atomic.Bool
	var reads, early atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				st := current.Load()
				if !st.snap.Acquire() {
					continue
				}
				reads.Add(1)
				if st.ended.Load() != 0 {
					early.Add(1)
				}
				st.snap.Release()
			}
		})
	}
	for len(all) < 1000 || reads.Load() == 0 {
		old := current.Swap(next())
		old.snap.Close()
	}
	stop.Store(true)
	wg.Wait()
	current.Load().snap.Close()
	if early.Load() != 0 {
		t.Errorf("%d reads of %d were of a snapshot that had ended", early.Load(), reads.Load())
	}
	for i, st := range all {
		if n := st.ended.Load(); n != 1 || st.snap.Acquire() {
			t.Errorf("snapshot %d ended %d times, want once", i, n)
		}
	}
}

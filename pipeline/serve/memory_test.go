package serve

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/schemas"
)

// A generation that has no room beside the one that is served is not taken, nor fetched; the node says what is missing and
// takes the next one that has.
func TestGenerationWithoutRoomLeavesTheOldOne(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 100)
	limit := footprintOf(p.log.Spec(), &p.m, false).sum() + 20_000
	n := p.node(Options{MemoryBytes: limit})
	p.await(n, 1)
	fetched := n.o.Cache.Stats().BytesDownloaded

	p.add(100, 2000)
	for err := n.Stale(); n.generation() == 1 && (err == nil || !strings.Contains(err.Error(), "--memory-bytes")); err = n.Stale() {
		time.Sleep(time.Millisecond)
	}
	if n.generation() != 1 {
		t.Fatalf("serves generation %d of %d bytes, allowed: %d with the first", n.generation(), footprintOf(p.log.Spec(), &p.m, false).sum(), limit)
	}
	served := fmt.Sprint(limit - 20_000)
	if v := n.View(); !errors.Is(v.Stale, ErrMemory) || v.Ready != nil {
		t.Errorf("the view says %v, %v", v.Ready, v.Stale)
	}
	for _, want := range []string{"generation 2", served, fmt.Sprint(limit), "--memory-bytes"} {
		if !strings.Contains(n.Stale().Error(), want) {
			t.Errorf("stale: %v, does not have %s", n.Stale(), want)
		}
	}
	if n.o.Cache.Stats().BytesDownloaded != fetched {
		t.Errorf("fetched %d bytes, want %d", n.o.Cache.Stats().BytesDownloaded, fetched)
	}
	for path, want := range map[string]string{
		"/readyz":  "stale",
		"/metrics": "adastream_query_memory_bytes " + served,
	} {
		if w := call(n.Ops(), http.MethodGet, path, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d, does not have %s:\n%s", path, w.Code, want, w.Body)
		}
	}
	if w := call(n.Ops(), http.MethodGet, "/metrics", ""); strings.Contains(w.Body.String(), "adastream_query_memory_refusals_total 0") {
		t.Errorf("no refusal is counted")
	}

	p.m.Segments, p.m.LiveRows = p.m.Segments[:1], 100
	p.add(2000, 2010)
	p.await(n, 3)
}

// What is remembered of filters counts beside generations, and makes room for one that would not fit: it is read again from what is served.
func TestFiltersMakeRoomForAGeneration(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 100)
	const spare = 40_000
	n := p.node(Options{MemoryBytes: footprintOf(p.log.Spec(), &p.m, false).sum() + spare})
	p.await(n, 1)
	ask := func(to int) {
		for i := range to {
			w := call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"like":"id-1","filter":{"color":{"$ne":"%d%s"}}}`, i, strings.Repeat("x", 1000)))
			if w.Code != http.StatusOK {
				t.Fatal(w.Body)
			}
		}
	}
	ask(3)
	few := n.filters.Bytes()
	if few < 3*2000 || few > spare/2 {
		t.Fatalf("%d bytes are remembered of three filters", few)
	}
	p.add(100, 110)
	p.await(n, 2)
	if got := n.filters.Bytes(); got != few {
		t.Errorf("%d bytes of filters are left of %d, although there was room", got, few)
	}
	ask(20)
	if got := n.filters.Bytes(); got < spare {
		t.Fatalf("%d bytes are remembered of twenty filters", got)
	}
	p.add(110, 120)
	p.await(n, 3)
	if got := n.filters.Bytes(); got != 0 {
		t.Errorf("%d bytes of filters are kept where there is no room", got)
	}
	ask(2)
}

// With nothing to protect, a generation of any size is taken.
func TestFirstGenerationIsTakenWhateverItWants(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 100)
	p.await(p.node(Options{MemoryBytes: 1}), 1)
}

// What generations share counts once, what they do not counts twice; originals count where they decide.
func TestFootprint(t *testing.T) {
	spec := schemas.Spec{Ladder: []int{8, 16}, Vectors: schemas.Float16}
	m := schemas.Manifest{Generation: 1, Model: &schemas.ModelRef{ID: "m", NList: 50, Object: schemas.Object{SHA256: "model", Size: 1000}},
		Chunks: []schemas.Chunk{{ID: "c", EndList: 50, NumRows: 800, Rows: schemas.Object{SHA256: "rows", Size: 50_000},
			Codes: schemas.Object{SHA256: "codes", Size: 7000}, Vectors: schemas.Object{SHA256: "vectors", Size: 1 << 30}}},
		Segments: []schemas.Segment{{ID: "s", NumRows: 10, Model: "m", Object: schemas.Object{SHA256: "s", Size: 900}}}}
	files, ids, model, lists := int64(57_000+900-10*32), int64(800*12+10*16), int64(2000), int64((50+2*10)*16)
	old := footprintOf(&spec, &m, false)
	if want := files + ids + model + lists; old.sum() != want {
		t.Errorf("%v: %d bytes, want %d", old, old.sum(), want)
	}
	if got, want := footprintOf(&spec, &m, true).sum(), old.sum()+1<<30+10*32; got != want {
		t.Errorf("with originals: %d bytes, want %d", got, want)
	}
	spec.Defaults.TargetRecall = 0.9
	m.Plans = []schemas.PlanPoint{{NProbe: 1, Recall: 0.8, Low: 0.79}, {NProbe: 1, Originals: true, Recall: 0.99, Low: 0.98}}
	if !byOriginals(&spec, &m) {
		t.Error("originals decide, which is not seen")
	}
	spec.Defaults.TargetRecall = 0.5
	if byOriginals(&spec, &m) {
		t.Error("int8 rows decide, which is not seen")
	}
	m.Generation, m.Dead = 2, &schemas.Object{SHA256: "dead"}
	if got, want := footprintOf(&spec, &m, false).beside(old), lists+810/8; got != want {
		t.Errorf("the same parts and dead rows: %d bytes more, want %d", got, want)
	}
	m.Chunks[0].Codes = schemas.Object{SHA256: "other codes", Size: 8000}
	if got, want := footprintOf(&spec, &m, false).beside(old), lists+810/8+8000; got != want {
		t.Errorf("other codes: %d bytes more, want %d", got, want)
	}
	m.Model, spec.Prefix = &schemas.ModelRef{ID: "n", Object: schemas.Object{SHA256: "other model", Size: 10}}, schemas.PrefixRotate
	if _, turned := footprintOf(&spec, &m, false)["turned s n"]; !turned {
		t.Errorf("a segment of another model is turned, which is not in %v", footprintOf(&spec, &m, false))
	}
}

package schemas

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/internal/mutate"
)

var (
	day    = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	sum    = strings.Repeat("0123456789abcdef", 4)
	object = Object{Key: "k", Size: 1, SHA256: sum}
)

func smallCommit() *Commit {
	return &Commit{Format: CommitFormat, Start: 10, End: 20, Watermark: 7, Produced: -1, Writer: "w", Created: day}
}

var fit = Fit{Rows: 80, Coarse: []float64{0.5, 0.625}, Codes: []float64{0.125, 0.25}, Chance: 0.875}

func fullCommit() *Commit {
	c := smallCommit()
	c.Segment, c.Rows, c.Model = &object, 3, sum
	c.Tombstones, c.Deletes = &object, 2
	c.Quarantine, c.Quarantined = &object, map[string]int{ReasonDims: 1, ReasonZero: 2}
	return c
}

func gapCommit() *Commit {
	c := smallCommit()
	c.Gap = true
	return c
}

func loadCommit() *Commit {
	c := smallCommit()
	c.Load = &Load{Name: "words-1", Base: 9, Parts: 3, Input: sum, Timestamp: 7, Done: true}
	return c
}

func smallManifest() *Manifest {
	return &Manifest{Format: ManifestFormat, Generation: 1, Builder: "b", Created: day, Checkpoint: map[string]int64{}}
}

func fullManifest() *Manifest {
	return &Manifest{
		Format: ManifestFormat, Generation: 2, Parent: 1, Builder: "b", Created: day,
		Model: &ModelRef{ID: sum, Object: object, TrainedRows: 5000, NList: 64, Repair: "lists", Balance: 1.5, Fit: &fit,
			Prefixes: []PrefixRecall{{Dims: 64, Recall: 0.75, Chance: 0.5}, {Dims: 128, Recall: 1}}},
		Chunks:     []Chunk{{ID: sum, FirstList: 0, EndList: 64, NumRows: 5000, Rows: object, Codes: object, Vectors: object}},
		Segments:   []Segment{{ID: sum, Object: object, NumRows: 90, Model: sum}, {ID: sum, Object: object, NumRows: 1}},
		Tombstones: []Object{object}, Dead: &object, Checkpoint: map[string]int64{"0": 7, "99999": 1 << 62},
		Watermark: 5, Produced: 6, LiveRows: 5080, DeadRows: 10, Moved: 1,
		Lists: &ListStats{NList: 64, Longest: 200, Mean: 78.125, Balance: 1.25, NonEmpty: 64},
		Plans: []PlanPoint{{NProbe: 4, ScanDims: 128, Refine: 100, Recall: 0.97, Low: 0.96, High: 0.98, Lists: 4, Scanned: 312.5, Refined: 100, Bytes: 35600, Micros: 80}},
		Quality: &Quality{Recall: 0.9, Low: 0.8, High: 1, Queries: 256, Objective: 0.95, Measured: 2, Reason: "below",
			Recent: &Estimate{Recall: 0.85, Low: 0.8, High: 0.9, Queries: 100},
			Slices: []Slice{{Estimate: Estimate{Recall: 0.7, Low: 0.6, High: 0.8, Queries: 31}, Lists: 9, Around: "id"}}},
		Drift:   &Drift{Measured: 1, Fit: fit, Strange: 0.03, Repair: "none", Reason: "fits"},
		Newest:  &Newest{Rows: 700, Strange: 0.02},
		Trained: &Trained{Model: ModelRef{ID: sum, Object: object, TrainedRows: 6000, NList: 70, Repair: "full"}, From: sum, Rows: 6000},
	}
}

func chunk(first, end int) Chunk {
	return Chunk{ID: sum, FirstList: first, EndList: end, NumRows: 10, Rows: object, Codes: object, Vectors: object}
}

func segmentOf(id string) Segment { return Segment{ID: id, Object: object, NumRows: 1} }

func chunkPage() *Page { return &Page{Format: PageFormat, Chunks: []Chunk{chunk(0, 3), chunk(3, 4)}} }

func segmentPage() *Page {
	return &Page{Format: PageFormat, Segments: []Segment{segmentOf(sum), segmentOf(strings.Repeat("0", 64))}}
}

func pagedManifest() *Manifest {
	m := smallManifest()
	m.Format = PagedManifest
	m.Pages = []PageRef{chunkPage().Ref(Object{Key: "c", Size: 7, SHA256: sum}), segmentPage().Ref(Object{Key: "s", Size: 8, SHA256: sum})}
	m.Segments = []Segment{segmentOf(sum)}
	return m
}

func promotion() *Channel {
	return &Channel{Format: ChannelFormat, Sequence: 3, Generation: 2, Pinned: true, Reason: "rollback", By: "mara@ops", Created: day}
}

func epochPromotion() *Channel {
	return &Channel{Format: ChannelFormat, Sequence: 4, Epoch: "mini-3", Reason: "new encoder", By: "mara@ops", Created: day}
}

// parsers read a record and return it as it was given to be written.
var parsers = map[string]func([]byte) (any, error){
	"spec":       func(b []byte) (any, error) { return ParseSpec(b) },
	"commit":     func(b []byte) (any, error) { return ParseCommit(b) },
	"manifest":   func(b []byte) (any, error) { return ParseManifest(b) },
	"page":       func(b []byte) (any, error) { return ParsePage(b) },
	"channel":    func(b []byte) (any, error) { return ParseChannel(b) },
	"collection": func(b []byte) (any, error) { return ParseCollection(b) },
	"resolution": func(b []byte) (any, error) { return ParseResolution(b) },
}

// records are one or more of each kind, together with every optional field.
func records() map[string][]any {
	spec := validSpec()
	return map[string][]any{
		"spec":       {&spec},
		"commit":     {smallCommit(), gapCommit(), loadCommit(), fullCommit()},
		"manifest":   {smallManifest(), pagedManifest(), fullManifest()},
		"page":       {segmentPage(), chunkPage()},
		"channel":    {epochPromotion(), promotion()},
		"collection": {collection()},
		"resolution": {resolution(Dropped), resolution(Replaying)},
	}
}

func resolution(state string) *Resolution {
	r := &Resolution{Format: ResolutionFormat, Partition: 2, Offset: 12, Row: -1, Number: 1, State: state, By: "mara@ops", Reason: "zero", Created: day}
	if state == Replaying {
		r.To, r.From, r.ID = 1, 30, "a"
	}
	return r
}

func collection() *Collection {
	return &Collection{Format: 1, Number: 3, Generation: 40, Kept: []int64{7, 38, 40}, Served: 31, Before: map[string]int64{"0": 0, "7": 900}, Telling: map[string][]int64{"7": {3, 640}}, By: "b", Created: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
}

func TestRecordsReadBack(t *testing.T) {
	for kind, examples := range records() {
		for _, want := range examples {
			got, err := parsers[kind](mustEncode(t, want))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: read %+v, %v, want %+v", kind, got, err, want)
			}
		}
	}
}

func TestParsersAreStrict(t *testing.T) {
	for kind, examples := range records() {
		good := string(mustEncode(t, examples[len(examples)-1]))
		for name, body := range map[string]string{
			"empty":             "",
			"null":              "null",
			"list":              "[" + good + "]",
			"cut short":         good[:len(good)-1],
			"bytes after it":    good + "x",
			"two documents":     good + good,
			"unknown field":     strings.Replace(good, `"format"`, `"extra":1,"format"`, 1),
			"no format":         strings.Replace(good, `"format":1,`, "", 1),
			"later format":      strings.Replace(good, `"format":1,`, `"format":2,`, 1),
			"format as text":    strings.Replace(good, `"format":1,`, `"format":"1",`, 1),
			"unknown sub-field": strings.Replace(good, `{"key"`, `{"etag":1,"key"`, 1),
		} {
			if body == good {
				continue // the record has no such part
			}
			if got, err := parsers[kind]([]byte(body)); err == nil {
				t.Errorf("%s: %s was read as %+v", kind, name, got)
			}
		}
	}
}

// A later format has members that are not known here; what it is refused for is the format.
func TestLaterFormats(t *testing.T) {
	for kind, examples := range records() {
		later, want := `"format":2,"news":[{}],`, "format: 2 is not known here, allowed: 1; a later version of Adastream wrote it"
		if kind == "manifest" {
			later, want = `"format":3,"news":[{}],`, "format: 3 is not known here, allowed: 1, 2; a later version of Adastream wrote it"
		}
		later = strings.Replace(string(mustEncode(t, examples[0])), `"format":1,`, later, 1)
		if _, err := parsers[kind]([]byte(later)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", kind, err, want)
		}
	}
}

func TestParsersCheck(t *testing.T) {
	for name, test := range map[string]struct {
		kind   string
		record any
		want   string
	}{
		"negative start":         {"commit", &Commit{Format: 1, Start: -1, End: 1, Writer: "w"}, "range [-1, 1)"},
		"empty range":            {"commit", &Commit{Format: 1, Start: 5, End: 5, Writer: "w"}, "range [5, 5)"},
		"no writer":              {"commit", &Commit{Format: 1, Start: 5, End: 6}, `writer ""`},
		"load":                   {"commit", &Commit{Format: 1, Start: 5, End: 6, Writer: "w", Load: &Load{Name: "a/b", Base: -1, Input: "x", Timestamp: -1}}, `load.name: "a/b"`},
		"parts of a load":        {"commit", &Commit{Format: 1, Start: 5, End: 6, Writer: "w", Load: &Load{Name: "a", Input: sum}}, "load.parts: 0, allowed: 1 to 100000"},
		"commit format":          {"commit", &Commit{Format: 3, Start: 5, End: 6, Writer: "w"}, "format: 3 is not known here, allowed: 1"},
		"generation 0":           {"manifest", &Manifest{Format: 1, Builder: "b"}, "generation 0"},
		"no builder":             {"manifest", &Manifest{Format: 1, Generation: 4}, `builder ""`},
		"promotion of 0":         {"channel", &Channel{Format: 1, Sequence: 1}, "generation 0"},
		"resolution of no row":   {"resolution", &Resolution{Format: 1, Row: -2, Number: 1, State: Dropped, By: "b"}, "row -2 of offset 0"},
		"resolution unknown":     {"resolution", &Resolution{Format: 1, Number: 1, State: "lost", By: "b"}, `state "lost"`},
		"replay without id":      {"resolution", &Resolution{Format: 1, Number: 1, State: Replaying, By: "b"}, `state "replaying" with id ""`},
		"collection of none":     {"collection", &Collection{Format: 1, Number: 1, Generation: 4, By: "b"}, "kept [], allowed: generations in ascending order, 4 the last one"},
		"collection in disorder": {"collection", &Collection{Format: 1, Number: 1, Generation: 4, Kept: []int64{3, 2, 4}, By: "b"}, "kept [3 2 4]"},
		"collection of a place":  {"collection", &Collection{Format: 1, Number: 1, Generation: 4, Kept: []int64{4}, Before: map[string]int64{"07": 1}, By: "b"}, `partition "07"`},
		"collection that tells":  {"collection", &Collection{Format: 1, Number: 1, Generation: 4, Kept: []int64{4}, Before: map[string]int64{"7": 1}, Telling: map[string][]int64{"7": {1}}, By: "b"}, `telling: [1] for partition "7"`},
		"channel format":         {"channel", &Channel{Format: 2, Sequence: 1, Generation: 1}, "format: 2"},
		"two to follow":          {"channel", &Channel{Format: 1, Sequence: 1, Generation: 1, Epoch: "e"}, `generation 1 and epoch "e", allowed: one of them`},
		"epoch outside":          {"channel", &Channel{Format: 1, Sequence: 1, Epoch: "../e"}, `epoch: "../e", allowed: 1 to 128 letters`},
		"pinned epoch":           {"channel", &Channel{Format: 1, Sequence: 1, Epoch: "e", Pinned: true}, "allowed: in the epoch's own channel"},
	} {
		if _, err := parsers[test.kind](mustEncode(t, test.record)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
	}
}

func FuzzParseSpec(f *testing.F)       { mutate.Fuzz(f, parsing("spec")) }
func FuzzParseCommit(f *testing.F)     { mutate.Fuzz(f, parsing("commit")) }
func FuzzParseManifest(f *testing.F)   { mutate.Fuzz(f, parsing("manifest")) }
func FuzzParsePage(f *testing.F)       { mutate.Fuzz(f, parsing("page")) }
func FuzzParseChannel(f *testing.F)    { mutate.Fuzz(f, parsing("channel")) }
func FuzzParseCollection(f *testing.F) { mutate.Fuzz(f, parsing("collection")) }
func FuzzParseResolution(f *testing.F) { mutate.Fuzz(f, parsing("resolution")) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{
		"FuzzParseSpec":       parsing("spec"),
		"FuzzParseCommit":     parsing("commit"),
		"FuzzParseManifest":   parsing("manifest"),
		"FuzzParsePage":       parsing("page"),
		"FuzzParseChannel":    parsing("channel"),
		"FuzzParseCollection": parsing("collection"),
		"FuzzParseResolution": parsing("resolution"),
	})
}

// parsing: whatever is read is written and read again as the same record, and reading costs what its bytes pay for.
func parsing(kind string) mutate.Target {
	return func(t testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
		for _, record := range records()[kind] {
			seeds = append(seeds, mustEncode(t, record))
		}
		parse := parsers[kind]
		return seeds, func(t testing.TB, body []byte) {
			before := mutate.Allocated()
			record, err := parse(body)
			if got, most := mutate.Allocated()-before, uint64(1<<20+256*len(body)); got > most {
				t.Fatalf("%d bytes allocated for %d, allowed: %d", got, len(body), most)
			}
			if err != nil {
				return
			}
			again := mustEncode(t, record)
			second, err := parse(again)
			if err != nil {
				t.Fatalf("%s was read and cannot be read again: %v", again, err)
			}
			if third := mustEncode(t, second); string(third) != string(again) {
				t.Fatalf("%s\nwas read again as\n%s", again, third)
			}
		}
	}
}

func TestStrange(t *testing.T) {
	for _, tt := range []struct{ fit, chance, coarse, want float64 }{
		{0, 1, 0.25, 0.25}, {0.25, 1, 0.25, 0}, {0, 0.5, 1, 2}, {0.5, 1, 0.25, 0}, {0.9, 1, 2, 0}, {1, 0.5, 2, 0},
	} {
		f := Fit{Coarse: []float64{tt.fit, 0}, Chance: tt.chance}
		if got := f.Strange(tt.coarse); got != tt.want {
			t.Errorf("%v between %v and %v is %v, want %v", tt.coarse, tt.fit, tt.chance, got, tt.want)
		}
	}
	if got := (&Fit{}).Strange(1); got != 0 {
		t.Errorf("of no fit it is %v", got)
	}
}

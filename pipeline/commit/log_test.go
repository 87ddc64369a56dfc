package commit

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"regexp"
	"strings"
	"testing"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestCreateAndOpen(t *testing.T) {
	b := store.NewMemory()
	if _, err := Open(t.Context(), b); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Open of nothing = %v, want ErrNotFound", err)
	}
	faulty := testSpec()
	faulty.Ladder = nil
	if err := Create(t.Context(), b, faulty); err == nil || !strings.Contains(err.Error(), "ladder") {
		t.Errorf("Create of a faulty spec = %v", err)
	}
	for range 2 {
		if err := Create(t.Context(), b, testSpec()); err != nil {
			t.Fatal(err)
		}
	}
	other := testSpec()
	other.Encoder = "mini 3"
	if err := Create(t.Context(), b, other); !errors.Is(err, store.ErrExists) || !strings.Contains(err.Error(), "mini 3") || !strings.Contains(err.Error(), "mini <2>") {
		t.Errorf("Create of another spec = %v, want ErrExists and both specs", err)
	}
	l, err := Open(t.Context(), b)
	if err != nil || l.Spec().Encoder != "mini <2>" || l.Bucket() != store.Bucket(b) {
		t.Errorf("Open = %+v, %v", l, err)
	}
}

func TestOpenOfABrokenSpec(t *testing.T) {
	b := store.NewMemory()
	mustPutRaw(t, b, specKey, []byte(`{"format":1}`))
	if _, err := Open(t.Context(), b); !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), specKey) {
		t.Errorf("Open = %v, want ErrCorrupt that names %s", err, specKey)
	}
}

func TestCreateOverAnotherFormatting(t *testing.T) {
	b := store.NewMemory()
	body, err := encode(testSpec())
	if err != nil {
		t.Fatal(err)
	}
	mustPutRaw(t, b, specKey, bytes.ReplaceAll(body, []byte(`,"`), []byte(", \n\""))) // written by hand, say
	if err := Create(t.Context(), b, testSpec()); err != nil {
		t.Errorf("Create = %v, though the spec is the same", err)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		numbered(commitsPrefix(7), 42):           "commits/000007/00000000000000000042",
		numbered(commitsPrefix(99999), 1<<63-1):  "commits/099999/09223372036854775807",
		dataPrefix(segments, 3, 5) + "u.arrow":   "segments/000003/00000000000000000005-u.arrow",
		numbered(manifestsPrefix, 12):            "manifests/0000/00000000000000000012",
		numbered(channelPrefix, 0):               "channels/stable/0000/00000000000000000000",
		dataPrefix(quarantine, 0, 0) + "u.arrow": "quarantine/000000/00000000000000000000-u.arrow",
	} {
		if got != want {
			t.Errorf("name %s, want %s", got, want)
		}
	}
	for _, n := range []int64{0, 1, 12345, 1<<63 - 1} {
		if got, ok := numberOf("p/", numbered("p/", n)); !ok || got != n {
			t.Errorf("numberOf(%d) = %d, %v", n, got, ok)
		}
	}
	for _, key := range []string{"", "p/", "p/1", "q/00000000000000000001", "p/0000000000000000001x", "p/-0000000000000000001",
		"p/+0000000000000000001", "p/000000000000000000001", "p/09223372036854775808", "p/0x000000000000000001", "p/0_000000000000000001"} {
		if n, ok := numberOf("p/", key); ok {
			t.Errorf("numberOf(%q) = %d", key, n)
		}
	}
}

func TestDataObjects(t *testing.T) {
	l := openLog(t, store.NewMemory())
	body := []byte("rows")
	sum := checksum(body)
	const uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
	for name, test := range map[string]struct {
		put func() (schemas.Object, error)
		key string
	}{
		"segment":    {func() (schemas.Object, error) { return l.PutSegment(t.Context(), 3, 17, body) }, "segments/000003/00000000000000000017-" + uuid + "\\.arrow"},
		"tombstones": {func() (schemas.Object, error) { return l.PutTombstones(t.Context(), 3, 17, body) }, "tombstones/000003/00000000000000000017-" + uuid + "\\.arrow"},
		"quarantine": {func() (schemas.Object, error) { return l.PutQuarantine(t.Context(), 3, 17, body) }, "quarantine/000003/00000000000000000017-" + uuid + "\\.arrow"},
		"compacted":  {func() (schemas.Object, error) { return l.PutCompacted(t.Context(), body) }, "segments/merged/" + sum + "-" + uuid + "\\.arrow"},
		"merged":     {func() (schemas.Object, error) { return l.PutMergedTombstones(t.Context(), body) }, "tombstones/merged/" + sum + "-" + uuid + "\\.arrow"},
		"dead":       {func() (schemas.Object, error) { return l.PutDead(t.Context(), body) }, "dead/" + sum + "-" + uuid + "\\.arrow"},
	} {
		t.Run(name, func(t *testing.T) {
			first, err := test.put()
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile("^"+test.key+"$").MatchString(first.Key) || first.Size != 4 || first.SHA256 != sum {
				t.Errorf("%+v, want key %s, 4 bytes, sha256 %s", first, test.key, sum)
			}
			if got, err := l.Bucket().Get(t.Context(), first.Key); err != nil || !bytes.Equal(got, body) {
				t.Errorf("it holds %q, %v", got, err)
			}
			second, err := test.put()
			if err != nil || second.Key == first.Key {
				t.Errorf("again: %s, %v, after %s", second.Key, err, first.Key)
			}
		})
	}
	for _, partition := range []int{-1, 4} {
		if o, err := l.PutSegment(t.Context(), partition, 0, body); err == nil {
			t.Errorf("partition %d has %s", partition, o.Key)
		}
	}
}

func TestPutChunk(t *testing.T) {
	l := openLog(t, store.NewMemory())
	bodies := segment.ChunkBodies{FirstList: 3, EndList: 9, NumRows: 5, Rows: []byte("rows"), Codes: []byte("codes"), Vectors: []byte("vectors")}
	c, err := l.PutChunk(t.Context(), bodies)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != checksum(bodies.Rows) || c.FirstList != 3 || c.EndList != 9 || c.NumRows != 5 {
		t.Errorf("PutChunk = %+v", c)
	}
	check := func(kind string, o schemas.Object, body []byte) {
		if sum := checksum(body); !strings.HasPrefix(o.Key, "chunks/"+sum+"-") || !strings.HasSuffix(o.Key, "."+kind+".arrow") || o.Size != int64(len(body)) || o.SHA256 != sum {
			t.Errorf("%s: %+v, want sum %s of %d bytes", kind, o, sum, len(body))
		}
	}
	check("rows", c.Rows, bodies.Rows)
	check("codes", c.Codes, bodies.Codes)
	check("vectors", c.Vectors, bodies.Vectors)
	other, err := l.PutCodes(t.Context(), c, []byte("other codes")) // the same rows under another model
	if err != nil || other.ID != c.ID || other.Rows != c.Rows || other.Vectors != c.Vectors {
		t.Errorf("PutCodes = %+v, %v", other, err)
	}
	check("codes", other.Codes, []byte("other codes"))
}

func TestCancelledContextIsNotTransient(t *testing.T) {
	l := openLog(t, store.NewMemory())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ctx, plain(0, 1, 0)); !errors.Is(err, context.Canceled) || errors.Is(err, schemas.ErrTransient) {
		t.Errorf("Append = %v", err)
	}
}

// TestGolden pins the bytes of the records. An index that exists holds them.
func TestGolden(t *testing.T) {
	b := store.NewMemory()
	l := openLog(t, b)
	sum := func(s string) schemas.Object {
		return schemas.Object{Key: s, Size: int64(len(s)), SHA256: checksum([]byte(s))}
	}
	gap := plain(0, 1000, 0)
	gap.Gap, gap.Partition = true, 2
	full := plain(1000, 1100, 1777863721000)
	full.Partition, full.Produced, full.Model = 2, 1777863720500, checksum([]byte("model"))
	seg, stones, refused := sum("segments/000002/00000000000000001000-a.arrow"), sum("tombstones/000002/00000000000000001000-b.arrow"), sum("quarantine/000002/00000000000000001000-c.arrow")
	full.Segment, full.Rows = &seg, 90
	full.Tombstones, full.Deletes = &stones, 4
	full.Quarantine, full.Quarantined = &refused, map[string]int{schemas.ReasonDims: 2, schemas.ReasonZero: 1}
	mustAppend(t, l, gap, full)
	small := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "builder-1", Created: day, Checkpoint: map[string]int64{}}
	dead := sum("dead/x.arrow")
	large := &schemas.Manifest{
		Format: schemas.ManifestFormat, Generation: 2, Parent: 1, Builder: "builder-1", Created: day,
		Model: &schemas.ModelRef{ID: checksum([]byte("model")), Object: sum("models/m.arrow"), TrainedRows: 5000, NList: 64, Repair: "codes", Balance: 1.5,
			Fit: &schemas.Fit{Rows: 80, Coarse: []float64{0.5, 0.5625, 0.625}, Codes: []float64{0.125, 0.1875, 0.25}, Chance: 0.875}},
		Chunks:     []schemas.Chunk{{ID: checksum([]byte("chunks/r.rows.arrow")), FirstList: 0, EndList: 64, NumRows: 5000, Rows: sum("chunks/r.rows.arrow"), Codes: sum("chunks/c.codes.arrow"), Vectors: sum("chunks/v.vectors.arrow")}},
		Segments:   []schemas.Segment{{ID: seg.SHA256, Object: seg, NumRows: 90, Model: checksum([]byte("model"))}},
		Tombstones: []schemas.Object{stones}, Dead: &dead, Checkpoint: map[string]int64{"3": 7, "2": 1100},
		Watermark: 1777863721000, Produced: 1777863720500, LiveRows: 5080, DeadRows: 10, Moved: 1,
		Lists:   &schemas.ListStats{NList: 64, Longest: 200, Mean: 78.125, Balance: 1.25, NonEmpty: 64},
		Plans:   []schemas.PlanPoint{{NProbe: 4, ScanDims: 128, Refine: 100, Recall: 0.97, Low: 0.96, High: 0.98, Lists: 4, Scanned: 312.5, Refined: 100, Bytes: 35600, Micros: 80}},
		Drift:   &schemas.Drift{Measured: 1, Fit: schemas.Fit{Rows: 300, Coarse: []float64{0.5, 0.5625, 0.625}, Codes: []float64{0.125, 0.25, 0.375}, Chance: 0.875}, Strange: 0.03125, Repair: "codes", Reason: "codes leave more"},
		Newest:  &schemas.Newest{Rows: 700, Strange: 0.0625},
		Quality: &schemas.Quality{Recall: 0.97, Low: 0.96, High: 0.98, Queries: 256, Objective: 0.95, Measured: 2, Promoted: false, Reason: "worse than <1>"},
	}
	for _, m := range []*schemas.Manifest{small, large} {
		if err := l.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	promotion := &schemas.Channel{Format: schemas.ChannelFormat, Sequence: 1, Generation: 2, Reason: "rollback & pin", By: "mara", Created: day}
	if err := put(t.Context(), b, numbered(channelPrefix, 1), promotion); err != nil {
		t.Fatal(err)
	}
	epoch := &schemas.Channel{Format: schemas.ChannelFormat, Sequence: 2, Epoch: "mini-3", Reason: "new encoder", By: "mara@ops", Created: day}
	if err := put(t.Context(), b, numbered(channelPrefix, 2), epoch); err != nil {
		t.Fatal(err)
	}
	collection := &schemas.Collection{Format: schemas.CollectionFormat, Number: 1, Generation: 2, Kept: []int64{2}, Served: 2, Before: map[string]int64{"2": 1100},
		Telling: map[string][]int64{"2": {0, 1000}}, By: "builder-1", Created: day}
	if err := put(t.Context(), b, numbered(collectionsPrefix, 1), collection); err != nil {
		t.Fatal(err)
	}
	place := Place{Partition: 2, Offset: 1050, Row: 3}
	resolution := &schemas.Resolution{Format: schemas.ResolutionFormat, Partition: 2, Offset: 1050, Row: 3, Number: 1, State: schemas.Dropped, Reason: "a test", By: "mara@ops", Created: day}
	if err := put(t.Context(), b, numbered(place.prefix(), 1), resolution); err != nil {
		t.Fatal(err)
	}
	for _, golden := range []struct{ file, key, schema string }{
		{"index.json", specKey, "spec"},
		{"commit_gap.json", numbered(commitsPrefix(2), 0), "commit"},
		{"commit.json", numbered(commitsPrefix(2), 1000), "commit"},
		{"manifest_first.json", numbered(manifestsPrefix, 1), "manifest"},
		{"manifest.json", numbered(manifestsPrefix, 2), "manifest"},
		{"channel.json", numbered(channelPrefix, 1), "channel"},
		{"collection.json", numbered(collectionsPrefix, 1), "collection"},
		{"resolution.json", numbered(place.prefix(), 1), "resolution"},
		{"channel_epoch.json", numbered(channelPrefix, 2), "channel"},
	} {
		got, err := b.Get(t.Context(), golden.key)
		if err != nil {
			t.Fatal(err)
		}
		compareGolden(t, golden.file, golden.schema, got)
	}
}

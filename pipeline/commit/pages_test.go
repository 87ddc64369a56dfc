package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// objectOf is one that nobody stores.
func objectOf(kind string, i int) schemas.Object {
	sum := checksum(fmt.Append(nil, kind, i))
	return schemas.Object{Key: fmt.Sprintf("chunks/%s-00000000-0000-4000-8000-%012d.%s.arrow", sum, i, kind), Size: 10_000_000, SHA256: sum}
}

// chunkOf is the chunk of one list.
func chunkOf(list, version int) schemas.Chunk {
	rows := objectOf("rows", version)
	return schemas.Chunk{ID: rows.SHA256, FirstList: list, EndList: list + 1, NumRows: 40_000, Rows: rows, Codes: objectOf("codes", version), Vectors: objectOf("vectors", version)}
}

func segmentOf(i int) schemas.Segment {
	sum := checksum(fmt.Append(nil, i))
	o := schemas.Object{Key: fmt.Sprintf("segments/merged/%s-00000000-0000-4000-8000-%012d.arrow", sum, i), Size: 1_000_000, SHA256: sum}
	return schemas.Segment{ID: sum, Object: o, NumRows: 1 + i%7, Model: checksum([]byte("model"))}
}

// partsOf makes so many chunks and segments.
func partsOf(chunks, segments int) (c []schemas.Chunk, s []schemas.Segment) {
	for i := range chunks {
		c = append(c, chunkOf(i, i))
	}
	for i := range segments {
		s = append(s, segmentOf(i))
	}
	return c, s
}

func mustPublishParts(t testing.TB, l *Log, generation int64, chunks []schemas.Chunk, segments []schemas.Segment) *schemas.Manifest {
	t.Helper()
	m := manifest(generation, generation)
	m.Chunks, m.Segments = chunks, segments
	if err := l.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// reads counts what is asked of pages.
type reads struct {
	store.Bucket
	pages atomic.Int64
}

func (r *reads) Get(ctx context.Context, key string) ([]byte, error) {
	if strings.HasPrefix(key, pages) {
		r.pages.Add(1)
	}
	return r.Bucket.Get(ctx, key)
}

// brokenStreams is a bucket whose streams end before their time, which is who reads them's to mend; what Get does about it, it has done.
type brokenStreams struct{ store.Bucket }

func (b brokenStreams) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	r, size, err := b.Bucket.Open(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, size/2), iotest.ErrReader(store.ErrTransient)), r}, size, nil
}

// A line that breaks while a page is read fails no builder and no node: pages are read as records are, again if need be.
func TestPages_brokenStream(t *testing.T) {
	b := store.NewMemory()
	chunks, segments := partsOf(20, 20)
	mustPublishParts(t, openLog(t, b).WithPages(8), 1, chunks, segments)
	m, err := openLog(t, brokenStreams{b}).Latest(t.Context(), 0)
	if err != nil || len(m.Pages) == 0 || !slices.Equal(m.Chunks, chunks) || !slices.Equal(m.Segments, segments) {
		t.Fatalf("%v, %v", m, err)
	}
}

// A collection looks at the pages of all generations that are kept. The builder that it is a part of goes on with its own as before.
func TestPages_collectionBesideBuilder(t *testing.T) {
	counted := &reads{Bucket: store.NewMemory()}
	l := openLog(t, counted).WithPages(8)
	chunks, segments := partsOf(20, 20)
	const kept = 2 * rememberFor
	publish := func(generation int64) {
		t.Helper()
		m := manifest(generation, 0)
		m.Chunks, m.Segments = slices.Clone(chunks), segments
		if err := l.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for g := range int64(kept) {
		chunks[g] = chunkOf(int(g), 1000+int(g))
		publish(g + 1)
	}
	found, err := l.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publish(kept + 1)
	report, err := l.Collect(t.Context(), CollectOptions{Found: found, KeepFor: time.Hour, By: "test"})
	if err != nil || report.KeptGenerations != kept+1 || report.Objects != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	counted.pages.Store(0)
	publish(kept + 2)
	if n := counted.pages.Load(); n != 0 {
		t.Errorf("to publish the same parts again %d pages were read", n)
	}
}

// Whatever changes from one generation to the next, its parts are the same with pages as in line, to who reads it anew, to who
// follows and to who publishes on; and who follows reads only the pages that are new.
func TestPagesOfRandomChanges(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			b, inLine := store.NewMemory(), openLog(t, store.NewMemory())
			l := openLog(t, b).WithPages(1 + rng.IntN(12))
			counted := &reads{Bucket: b}
			follower, known := openLog(t, counted), map[string]bool{}
			var chunks []schemas.Chunk
			var segments []schemas.Segment
			version := 0
			for g := int64(1); g <= 40; g++ {
				chunks, segments = slices.Clone(chunks), slices.Clone(segments)
				for range rng.IntN(3) {
					if version++; rng.IntN(2) == 0 || len(segments) == 0 {
						segments = append(segments, segmentOf(version))
					} else {
						at := rng.IntN(len(segments))
						segments = slices.Delete(segments, at, min(len(segments), at+rng.IntN(20)))
					}
				}
				switch version++; rng.IntN(6) {
				case 0: // a base
					chunks = nil
					for list := range rng.IntN(60) {
						version++
						chunks = append(chunks, chunkOf(list, version))
					}
				case 1: // one other chunk
					if len(chunks) > 0 {
						at := rng.IntN(len(chunks))
						chunks[at] = chunkOf(at, version)
					}
				}
				want := mustPublishParts(t, inLine.WithPages(1<<20), g, chunks, segments)
				if len(want.Pages) > 0 {
					t.Fatalf("%d pages in line", len(want.Pages))
				}
				if rng.IntN(5) == 0 {
					l = l.Over(b) // another builder
				}
				if rng.IntN(5) == 0 {
					l = l.WithPages(1 + rng.IntN(12)) // another version of it
				}
				m := mustPublishParts(t, l, g, chunks, segments)
				news := int64(0)
				for _, p := range m.Pages {
					if !known[p.Key] {
						news++
					}
					known[p.Key] = true
				}
				before := counted.pages.Load()
				for who, log := range map[string]*Log{"publisher": l, "follower": follower, "new": openLog(t, b)} {
					got, err := log.Manifest(t.Context(), g)
					if err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got.Chunks, want.Chunks) || !slices.Equal(got.Segments, want.Segments) || !slices.Equal(got.Pages, m.Pages) || got.Format != m.Format {
						t.Fatalf("%s: generation %d with %d chunks and %d segments is read as one with %d and %d", who, g, len(want.Chunks), len(want.Segments), len(got.Chunks), len(got.Segments))
					}
				}
				if n := counted.pages.Load() - before; n != news {
					t.Errorf("%d pages read, %d are new", n, news)
				}
			}
		})
	}
}

// What is written for a generation follows what is new in it.
func TestPagesThatChange(t *testing.T) {
	b := store.NewMemory()
	l := openLog(t, b)
	chunks, segments := partsOf(2000, 127)
	sizes := func(m *schemas.Manifest) (n []int) {
		for _, p := range m.Pages {
			n = append(n, p.Chunks+p.Segments)
		}
		return n
	}
	stored := 0 // pages so far
	check := func(m *schemas.Manifest, want ...int) {
		t.Helper()
		if got := sizes(m); !slices.Equal(got, want) {
			t.Errorf("pages of %v parts, want %v", got, want)
		}
		if keys := len(listKeys(t, b, pages+"/")); keys != stored {
			t.Errorf("%d pages were stored in all, want %d", keys, stored)
		}
	}
	stored = 4
	check(mustPublishParts(t, l, 1, chunks, segments), 500, 500, 500, 500)
	check(mustPublishParts(t, l, 2, chunks, segments), 500, 500, 500, 500) // the same
	segments = append(slices.Clone(segments), segmentOf(1000))
	stored++
	check(mustPublishParts(t, l, 3, chunks, segments), 500, 500, 500, 500, 128)
	chunks = slices.Clone(chunks)
	chunks[700] = chunkOf(700, 7000)
	stored++
	last := mustPublishParts(t, l, 4, chunks, segments)
	check(last, 500, 500, 500, 500, 128)
	if record, err := l.Record(t.Context(), 4); err != nil || len(record.Chunks)+len(record.Segments) > 0 || !slices.Equal(record.Pages, last.Pages) {
		t.Errorf("the record has %d chunks and %d segments in line, %v", len(record.Chunks), len(record.Segments), err)
	}
	if err := l.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m, err := l.LatestRecord(t.Context(), 4); err != nil || !slices.Equal(m.Pages, last.Pages) {
		t.Errorf("the fence has other pages: %v, %v", m, err)
	}
	check(mustPublishParts(t, l, 6, chunks[:127], nil)) // in line again
	if m, err := l.Manifest(t.Context(), 6); err != nil || m.Format != schemas.ManifestFormat || len(m.Chunks) != 127 {
		t.Errorf("%+v, %v", m, err)
	}
}

// A record is for who does not ask for parts: it costs no page.
func TestRecordReadsNoPage(t *testing.T) {
	b := store.NewMemory()
	chunks, segments := partsOf(20, 20)
	want := mustPublishParts(t, openLog(t, b).WithPages(4), 1, chunks, segments)
	counted := &reads{Bucket: b}
	l := openLog(t, counted)
	for range 2 {
		m, err := l.LatestRecord(t.Context(), 0)
		if err != nil || m.Checkpoint["0"] != 1 || !slices.Equal(m.Pages, want.Pages) || len(m.Chunks)+len(m.Segments) > 0 {
			t.Errorf("%+v, %v", m, err)
		}
	}
	if n := counted.pages.Load(); n > 0 {
		t.Errorf("%d pages were read", n)
	}
}

// Pages that nobody asks for are forgotten, those of the newest generation are not.
func TestPagesAreForgotten(t *testing.T) {
	l := openLog(t, store.NewMemory()).WithPages(4)
	for g := int64(1); g <= 50; g++ {
		chunks, _ := partsOf(40, 0)
		for i := range 5 {
			chunks[i] = chunkOf(i, int(100*g)+i)
		}
		mustPublishParts(t, l, g, chunks, nil)
	}
	if n := len(l.pages.pages); n < 10 || n > 10+2*rememberFor {
		t.Errorf("%d pages are remembered, a generation has 10 of which 2 are new", n)
	}
}

// A builder that does not learn what became of its call repeats it: it is the same record, and no page is lost.
func TestRepeatWithPages(t *testing.T) {
	b := store.NewMemory()
	openLog(t, b)
	net := newFaulty(b, 5)
	net.stale = 0
	l := openLog(t, b).WithPages(4)
	l.bucket = net
	chunks, _ := partsOf(30, 0)
	for g := int64(1); g <= 40; g++ {
		chunks = slices.Clone(chunks)
		chunks[g%30] = chunkOf(int(g%30), int(1000+g))
		m := manifest(g, g)
		m.Chunks = chunks
		if err := again(func() error { return l.Publish(t.Context(), m) }); err != nil {
			t.Fatal(err)
		}
		got, err := openLog(t, b).Manifest(t.Context(), g)
		if err != nil || !slices.Equal(got.Chunks, chunks) || !reflect.DeepEqual(got.Pages, m.Pages) {
			t.Fatalf("generation %d: %v", g, err)
		}
	}
	if net.seen["lost"] == 0 || net.seen["refused"] == 0 {
		t.Fatalf("faults: %v", net.seen)
	}
}

// Pages that were stored for a generation that somebody else published are garbage, as are those of generations that are given up;
// those that a kept one names are not.
func TestCollectPages(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b).paged(2)
	l.grow(9)
	loser := newLibrary(t, b).paged(2)
	late := manifest(l.last.Generation, l.last.Checkpoint["0"])
	late.Parent, late.Segments = l.last.Generation-1, []schemas.Segment{segmentOf(1), segmentOf(2), segmentOf(3)}
	if err := loser.log.Publish(t.Context(), late); !errors.Is(err, schemas.ErrFenced) || len(late.Pages) == 0 {
		t.Fatalf("%v, %d pages", err, len(late.Pages))
	}
	before := len(listKeys(t, b, pages+"/"))
	l.mustCollect()
	l.whole(b)
	kept := map[string]bool{}
	for g, err := range l.log.Manifests(t.Context()) {
		m, manifestErr := l.log.Manifest(t.Context(), g)
		if err != nil || manifestErr != nil {
			t.Fatal(err, manifestErr)
		}
		for _, p := range m.Pages {
			kept[p.Key] = true
		}
	}
	if after := listKeys(t, b, pages+"/"); len(after) >= before || len(after) != len(kept) {
		t.Errorf("%d pages are left of %d, %d are named", len(after), before, len(kept))
	}
	l.grow(3)
	l.whole(b)
}

// Who has read the record of a generation that is collected meanwhile is told so. If it is kept, somebody else deleted the page.
func TestPageIsGone(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b).paged(2)
	l.grow(3)
	old := l.last.Generation
	l.grow(3)
	reader := openLog(t, b)
	record, err := reader.Record(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	l.mustCollect()
	if err := reader.whole(t.Context(), record); !errors.Is(err, store.ErrNotFound) || errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("%v, want that it was collected", err)
	}
	gone := l.last.Pages[0].Key
	if err := b.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(t, b).Latest(t.Context(), 0); !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), gone) {
		t.Errorf("%v, want ErrCorrupt that names %s", err, gone)
	}
}

// TestHostilePages: each of these pages is not what the manifest says, or what it says fits nothing.
func TestHostilePages(t *testing.T) {
	chunks, segments := partsOf(12, 12)
	page := func(chunks []schemas.Chunk, segments []schemas.Segment) []byte {
		body, err := encode(schemas.Page{Format: schemas.PageFormat, Chunks: chunks, Segments: segments})
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	for name, test := range map[string]struct {
		number int    // of the page that is replaced: 0 to 2 have chunks, 3 to 5 segments, 4 each
		body   []byte // nil: damage alone
		damage func([]byte) []byte
		refs   func([]schemas.PageRef)
		line   []schemas.Chunk
		want   string
	}{
		"a bit":             {number: 1, damage: func(b []byte) []byte { b[100] ^= 1; return b }, want: "sha256 is"},
		"cut":               {number: 1, damage: func(b []byte) []byte { return b[:len(b)-1] }, want: "its manifest says"},
		"longer":            {number: 1, damage: func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) }, want: "its manifest says"},
		"no page":           {number: 1, body: []byte("{}\n"), want: "format: 0 is not known here"},
		"of a later format": {number: 1, body: []byte(`{"format":2,"a":1}` + "\n"), want: "format: 2 is not known here, allowed: 1; a later version of Adastream wrote it"},
		"a chunk twice":     {number: 1, body: page(append(slices.Clone(chunks[4:7]), chunks[6]), nil), want: "chunks: number 3"},
		"wrong order":       {number: 1, body: page([]schemas.Chunk{chunks[5], chunks[4], chunks[6], chunks[7]}, nil), want: "chunks: number 1"},
		"a chunk of the page before": {number: 1, body: page(append(slices.Clone(chunks[3:4]), chunks[5:8]...), nil),
			want: "begins with list 3, allowed: 4 and more"},
		"a segment twice": {number: 4, body: page(nil, append(slices.Clone(segments[4:7]), segments[4])), want: "segments: number 3"},
		"fewer parts":     {number: 1, body: page(chunks[4:7], nil), refs: func(p []schemas.PageRef) { p[1].Chunks, p[1].Rows = 4, 160_000 }, want: "120000 rows of 3 chunks and 0 segments, its manifest says 160000 of 4 and 0"},
		"other rows":      {number: 1, body: page(chunks[4:8], nil), refs: func(p []schemas.PageRef) { p[1].Rows = 7 }, want: "its manifest says 7 of 4 and 0"},
		"segments":        {number: 1, body: page(nil, segments[:4]), refs: func(p []schemas.PageRef) { p[1].Segments, p[1].Chunks, p[1].Rows = 0, 4, 10 }, want: "0 chunks and 4 segments"},
		"pages changed places": {number: 1, body: page(chunks[4:8], nil), refs: func(p []schemas.PageRef) { p[0], p[1] = p[1], p[0] },
			want: "begins with list 0, allowed: 8 and more"},
		"chunks in line before those of pages": {number: 2, body: page(chunks[8:12], nil), line: []schemas.Chunk{chunkOf(3, 99)}, want: "chunks in line after it: chunk"},
	} {
		t.Run(name, func(t *testing.T) {
			b := store.NewMemory()
			l := openLog(t, b).WithPages(4)
			m := mustPublishParts(t, l, 1, chunks, segments)
			record, err := l.Record(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			was := m.Pages[test.number]
			key := was.Key
			if test.body == nil {
				body, err := b.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				mustPutRaw(t, b, key, test.damage(bytes.Clone(body)))
			} else {
				sum := checksum(test.body)
				key = pageKey(sum, "00000000-0000-4000-8000-000000000000")
				mustPutRaw(t, b, key, test.body)
				ref := &record.Pages[test.number]
				ref.Object = schemas.Object{Key: key, Size: int64(len(test.body)), SHA256: sum}
				if p, err := schemas.ParsePage(test.body); err == nil {
					*ref = p.Ref(ref.Object)
				}
				if test.refs != nil {
					test.refs(record.Pages)
				}
				record.Chunks = test.line
				if err := b.Delete(t.Context(), numbered(manifestsPrefix, 1)); err != nil {
					t.Fatal(err)
				}
				if err := put(t.Context(), b, numbered(manifestsPrefix, 1), record); err != nil {
					t.Fatal(err)
				}
			}
			if name == "pages changed places" {
				key = record.Pages[1].Key
			}
			if m, err := openLog(t, b).Latest(t.Context(), 0); !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v, %v, want ErrCorrupt that names %s, with %q", m, err, key, test.want)
			}
		})
	}
}

// A page is named by its sum, and lies where pages are.
func TestHostilePageNames(t *testing.T) {
	chunks, _ := partsOf(4, 0)
	b := store.NewMemory()
	mustPublishParts(t, openLog(t, b).WithPages(4), 1, chunks, nil)
	for name, change := range map[string]func(*schemas.PageRef){
		"elsewhere":   func(p *schemas.PageRef) { p.Key = strings.Replace(p.Key, "pages/", "chunks/", 1) },
		"outside":     func(p *schemas.PageRef) { p.Key = "../" + p.Key },
		"another sum": func(p *schemas.PageRef) { p.SHA256 = checksum([]byte("another")) },
	} {
		l := openLog(t, b)
		m, err := l.Record(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		m.Generation, m.Parent = 2, 1
		change(&m.Pages[0])
		key := numbered(manifestsPrefix, 2)
		if err := errors.Join(b.Delete(t.Context(), key), put(t.Context(), b, key, m)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Latest(t.Context(), 0); !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Chunks that are in no order are refused before anything is stored.
func TestPublishOfDisorder(t *testing.T) {
	b := store.NewMemory()
	l := openLog(t, b).WithPages(4)
	m := manifest(1, 1)
	m.Chunks = []schemas.Chunk{chunkOf(1, 1), chunkOf(0, 0), chunkOf(2, 2)}
	if err := l.Publish(t.Context(), m); err == nil || !strings.Contains(err.Error(), "chunks: number 1, "+m.Chunks[1].Rows.Key+": lists [0, 1), allowed: of one list and more, from 2 on") {
		t.Errorf("%v", err)
	}
	if keys := listKeys(t, b, ""); len(keys) != 1 {
		t.Errorf("it left %v", keys)
	}
}

// TestGoldenPages pins the bytes of a manifest with pages, and of these.
func TestGoldenPages(t *testing.T) {
	uuid.SetRand(rand.NewChaCha8([32]byte{}))
	defer uuid.SetRand(nil)
	b := store.NewMemory()
	chunks, segments := partsOf(2, 9)
	l := openLog(t, b).WithPages(8)
	m := manifest(1, 30)
	m.Chunks, m.Segments, m.LiveRows = chunks, segments, 80_031
	if err := l.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if len(m.Pages) != 3 {
		t.Fatalf("%d pages", len(m.Pages))
	}
	for _, golden := range []struct{ file, key, schema string }{
		{"manifest_pages.json", numbered(manifestsPrefix, 1), "manifest"},
		{"page_chunks.json", m.Pages[0].Key, "page"},
		{"page_segments.json", m.Pages[1].Key, "page"},
	} {
		got, err := b.Get(t.Context(), golden.key)
		if err != nil {
			t.Fatal(err)
		}
		compareGolden(t, golden.file, golden.schema, got)
	}
}

// compareGolden compares a record with the bytes that it had, and with its schema.
func compareGolden(t *testing.T, file, kind string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%swant\n%s", file, got, want)
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "schemas", kind+".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Errorf("%s: %v", file, err)
	}
}

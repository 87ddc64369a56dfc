package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

func testSpec(shards, loads int) *schemas.Spec {
	s := schemas.Spec{Name: "n", Ladder: []int{4}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 5}, Shards: shards, Loads: loads}.WithDefaults()
	return &s
}

func open(t *testing.T, b store.Bucket, spec *schemas.Spec) []*commit.Log {
	t.Helper()
	if err := commit.Create(t.Context(), b, spec); err != nil {
		t.Fatal(err)
	}
	shards, err := commit.OpenShards(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return shards
}

// write makes files of JSON lines, of which some have versions of the same ids, some deletes, and some a row that is bad.
func write(t *testing.T, lines ...[]string) (names []string) {
	t.Helper()
	dir := t.TempDir()
	for i, of := range lines {
		name := filepath.Join(dir, fmt.Sprintf("part-%d.jsonl", i))
		if err := os.WriteFile(name, []byte(strings.Join(of, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func line(id string, x int) string { return fmt.Sprintf(`{"id":%q,"vector":[%d,1,2,3]}`, id, x) }

func options(t *testing.T, shards []*commit.Log, names []string, part, parts int) Options {
	t.Helper()
	var known []Known
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, Known{info.Name(), info.Size()})
	}
	return Options{Shards: shards, Level: avx.Generic, Name: "first", Part: part, Parts: parts, Files: names, Input: Input(known, ""),
		Open: func(name string, first, skip int64) (*files.Reader, error) {
			return files.Open(name, files.Options{Encoder: "e", FirstID: first, Skip: skip})
		}}
}

// version is the newest one of an id that the commits of an index have.
type version struct {
	order  segment.Order
	vector string // "" if it is deleted
}

// state is what all commits of an index say, shard by shard, and fails if an id is in two.
func state(t *testing.T, shards []*commit.Log) (live map[string]version, refused []ingest.Quarantined, commits int) {
	t.Helper()
	live = map[string]version{}
	in := map[string]int{}
	see := func(log *commit.Log, id string, v version) {
		if was, ok := in[id]; ok && was != log.Shard() {
			t.Fatalf("%s is in shards %d and %d", id, was, log.Shard())
		}
		in[id] = log.Shard()
		if want := log.Spec().ShardOf(source.PartitionOf(id, log.Spec().Topic.Partitions)); log.Shard() != want {
			t.Fatalf("%s is in shard %d, want %d", id, log.Shard(), want)
		}
		known, ok := live[id]
		if c := v.order.Compare(known.order); ok && c == 0 {
			t.Fatalf("%s is there twice at %+v", id, v.order)
		} else if !ok || c > 0 {
			live[id] = v
		}
	}
	for _, log := range shards {
		for _, p := range log.Partitions() {
			records, err := log.Since(t.Context(), p, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			commits += len(records)
			for _, c := range records {
				get := func(o *schemas.Object) []byte {
					body, err := log.Bucket().Get(t.Context(), o.Key)
					if err != nil {
						t.Fatal(err)
					}
					return body
				}
				if c.Segment != nil {
					part, err := segment.OpenSegment(log.Spec(), c.Segment.Key, get(c.Segment))
					if err != nil {
						t.Fatal(err)
					}
					for row := range part.N {
						order := part.OrderAt(row)
						if order.Offset < c.Start || order.Offset >= c.End || int(order.Partition) != p {
							t.Fatalf("row %+v is in [%d, %d) of partition %d", order, c.Start, c.End, p)
						}
						vector := make([]float32, 4)
						part.Vector(avx.Generic, row, vector)
						see(log, part.IDAt(row), version{order, fmt.Sprint(vector)})
					}
				}
				if c.Tombstones != nil {
					stones, err := segment.ReadTombstones(c.Tombstones.Key, get(c.Tombstones))
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range stones {
						see(log, s.ID, version{s.Order, ""})
					}
				}
				if c.Quarantine != nil {
					rows, err := ingest.ReadQuarantine(c.Quarantine.Key, get(c.Quarantine))
					if err != nil {
						t.Fatal(err)
					}
					refused = append(refused, rows...)
				}
			}
		}
	}
	return live, refused, commits
}

// killer is a bucket that stops for good before, or after, a number of writes.
type killer struct {
	store.Bucket
	left  atomic.Int64
	after bool
}

var errKilled = errors.New("killed")

func (k *killer) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	n := k.left.Add(-1)
	if n < 0 && !(n == -1 && k.after) {
		return errKilled
	}
	err := k.Bucket.PutIfAbsent(ctx, key, body)
	if n < 0 {
		return errKilled
	}
	return err
}

// data is files with rows of all kinds, in so many files.
func data(t *testing.T, rng *rand.Rand, n, rows int) ([]string, map[string]string) {
	t.Helper()
	lines, want, total := make([][]string, n), map[string]string{}, 0
	for i := range rows {
		id := fmt.Sprint("id-", i)
		of := &lines[i*n/rows]
		total++
		switch kind := rng.IntN(20); kind {
		case 0:
			*of = append(*of, fmt.Sprintf(`{"id":%q,"vector":[0,0,0,0]}`, "zero-"+id)) // is refused: it has no direction
		case 1:
			*of = append(*of, fmt.Sprintf(`{"id":%q,"op":"delete"}`, id))
			want[id] = ""
		case 2:
			if total++; total%blockRows == 1 { // of versions in two parts the later part's counts
				*of = append(*of, line(fmt.Sprint("between-", i), i))
				want[fmt.Sprint("between-", i)] = fmt.Sprint([]float32{float32(i), 1, 2, 3})
				total++
			}
			*of = append(*of, line(id, i+7), line(id, i))
			want[id] = fmt.Sprint([]float32{float32(i), 1, 2, 3})
		default:
			*of = append(*of, line(id, i))
			want[id] = fmt.Sprint([]float32{float32(i), 1, 2, 3})
		}
	}
	return write(t, lines...), want
}

func check(t *testing.T, shards []*commit.Log, want map[string]string, refused int) {
	t.Helper()
	live, bad, _ := state(t, shards)
	got := map[string]string{}
	for id, v := range live {
		got[id] = v.vector
	}
	if !maps.Equal(got, want) {
		t.Fatalf("%d ids are there, want %d, or they differ", len(got), len(want))
	}
	if len(bad) != refused {
		t.Fatalf("%d rows are in quarantine, want %d", len(bad), refused)
	}
}

// Whatever the number of parts, files and shards, wherever it is killed and however it cuts, a load gives each version once.
func TestLoadIsTheSame_whereverItIsKilled(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		nfiles, parts, nshards := 1+rng.IntN(4), 1+rng.IntN(4), 1+rng.IntN(3)
		rows := 50 + rng.IntN(300)
		if round%4 == 0 {
			rows += 3*blockRows - 150 // several blocks
		}
		names, want := data(t, rng, nfiles, rows)
		refused := 0
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			refused += bytes.Count(text, []byte("zero-"))
		}
		b := store.NewMemory()
		shards := open(t, b, testSpec(nshards, 4))
		if nfiles < parts && rows < blockRows {
			parts = 1 + parts%nfiles // blocks of one file: only the first part has any
		}
		for part := range parts {
			for step := int64(0); ; step++ {
				k := &killer{Bucket: b, after: rng.IntN(2) == 0}
				k.left.Store(step + rng.Int64N(4))
				over, err := commit.OpenShards(t.Context(), k)
				if err != nil {
					t.Fatal(err)
				}
				o := options(t, over, names, part, parts)
				o.FlushRows, o.Threads = 1+rng.IntN(rows), 1+rng.IntN(3)
				report, err := Run(t.Context(), o)
				if err == nil {
					if again, err := Run(t.Context(), options(t, shards, names, part, parts)); err != nil || !again.Already {
						t.Fatalf("again: %+v, %v", again, err)
					}
					if report.Read != report.Passed+report.Rows+report.Deletes+report.Quarantined {
						t.Fatalf("report %+v", report)
					}
					break
				}
				if !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
			}
		}
		check(t, shards, want, refused)
	}
}

// Two processes with the same part do only harmless work.
func TestLoad_samePartTwice(t *testing.T) {
	names, want := data(t, rand.New(rand.NewPCG(3, 4)), 1, 500)
	shards := open(t, store.NewMemory(), testSpec(2, 1))
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range 3 {
		go func() {
			for {
				o := options(t, shards, names, 0, 1)
				o.FlushRows = 20
				if _, err := Run(t.Context(), o); !errors.Is(err, schemas.ErrFenced) {
					done <- err
					return
				}
			}
		}()
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	check(t, shards, want, bytes.Count(text, []byte("zero-")))
}

func TestLoad_oneAfterAnother(t *testing.T) {
	names := write(t, []string{line("a", 1), line("b", 1)}, []string{line("c", 1)})
	b := store.NewMemory()
	shards := open(t, b, testSpec(1, 2))
	run := func(change func(*Options)) (*Report, error) {
		o := options(t, shards, names, 0, 2)
		if change != nil {
			change(&o)
		}
		return Run(t.Context(), o)
	}
	report, err := run(nil)
	if err != nil || report.Rows != 2 || report.Already {
		t.Fatalf("%+v, %v", report, err)
	}
	first := report.Timestamp
	// The other part has the timestamp of the load, however late it is.
	if report, err = run(func(o *Options) { o.Part = 1 }); err != nil || !report.Timestamp.Equal(first) || report.Rows != 1 {
		t.Fatalf("%+v, %v, want the timestamp %v", report, err, first)
	}
	// A second load of the same name is the first one, and of another it is another.
	if report, err = run(nil); err != nil || !report.Already {
		t.Fatalf("%+v, %v", report, err)
	}
	earlier := first.Add(-time.Hour)
	if report, err = run(func(o *Options) { o.Name, o.Timestamp = "second", earlier }); err != nil || report.Rows != 2 || !report.Timestamp.Equal(earlier) {
		t.Fatalf("%+v, %v", report, err)
	}
	live, _, _ := state(t, shards)
	if got := live["a"].order; got.Timestamp != first.UnixMilli() || got.Partition != 5 || got.Offset != 1 {
		t.Errorf("the newest version of a is %+v, want that of the first load, which has a later timestamp", got)
	}
	if got := live["c"].order; got.Partition != 6 {
		t.Errorf("c is of %+v, want partition 6", got)
	}
}

// What is done, or begun by another part, is of its files: others under the same name are told, not taken for loaded; and of parts that
// disagree about the files some would be of none.
func TestLoad_otherFilesOfTheSameName(t *testing.T) {
	names := write(t, []string{line("a", 1)}, []string{line("b", 1)})
	reversed, more := []string{names[1], names[0]}, write(t, []string{line("c", 1)}, []string{line("d", 1), line("e", 1)})
	shards := open(t, store.NewMemory(), testSpec(1, 3))
	if report, err := Run(t.Context(), options(t, shards, names, 0, 2)); err != nil || report.Rows != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	for what, o := range map[string]Options{
		"other files":                     options(t, shards, more, 0, 2),
		"other parts":                     options(t, shards, names, 0, 1),
		"another order, of another part":  options(t, shards, reversed, 1, 2),
		"other parts, of another part":    options(t, shards, names, 1, 3),
		"another time, of another part":   func() Options { o := options(t, shards, names, 1, 2); o.Timestamp = time.UnixMilli(5); return o }(),
		"another time of what was loaded": func() Options { o := options(t, shards, names, 0, 2); o.Timestamp = time.UnixMilli(5); return o }(),
	} {
		if report, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "it was begun with 2 parts, timestamp ") || !strings.Contains(err.Error(), "another load has another name") {
			t.Errorf("%s: %+v, %v", what, report, err)
		}
	}
	if report, err := Run(t.Context(), options(t, shards, names, 1, 2)); err != nil || report.Rows != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	check(t, shards, map[string]string{"a": fmt.Sprint([]float32{1, 1, 2, 3}), "b": fmt.Sprint([]float32{1, 1, 2, 3})}, 0)
}

func TestLoad_refusals(t *testing.T) {
	names := write(t, []string{line("a", 1), line("b", 1)})
	b := store.NewMemory()
	shards := open(t, b, testSpec(1, 3))
	k := &killer{Bucket: b}
	k.left.Store(1)
	over, err := commit.OpenShards(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), options(t, over, names, 0, 1)); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	bad := make([]string, 1200)
	for i := range bad {
		bad[i] = fmt.Sprintf(`{"id":"x%d","vector":[0,0,0,0]}`, i)
	}
	for want, change := range map[string]func(*Options){
		`load second, part 0 of 1: load "first" of this part is not done: run it again until it is, or end it where it is with --abandon`: func(o *Options) { o.Name = "second" },
		"a load goes on with the same files, parts and timestamp":                                                                         func(o *Options) { o.Parts = 2 },
		"it was begun with 1 parts, timestamp ":                                                                                           func(o *Options) { o.Timestamp = time.UnixMilli(5) },
		"now there are 1 parts":                                                                                                           func(o *Options) { o.Input = strings.Repeat("0", 64) },
		"parts of a load: 4, allowed: 1 to 3, the loads of the index spec":                                                                func(o *Options) { o.Parts = 4 },
		"part of a load: 2, allowed: 0 to 1":                                                                                              func(o *Options) { o.Part, o.Parts = 2, 2 },
		`load.name: "a b"`:                                                                                                                func(o *Options) { o.Name = "a b" },
		"files of a load: 0":                                                                                                              func(o *Options) { o.Files = nil },
		`its vectors are of the encoder "f", the index is for "e"`: func(o *Options) {
			o.Open = func(name string, _, _ int64) (*files.Reader, error) {
				return files.Open(name, files.Options{Encoder: "f"})
			}
		},
		"the file does not name the encoder": func(o *Options) {
			o.Open = func(name string, _, _ int64) (*files.Reader, error) { return files.Open(name, files.Options{}) }
		},
		"1200 of the 1200 rows from 0 of the part on are refused, allowed: 90 %; the first one: zero_vector": func(o *Options) {
			o.Part, o.Parts, o.Name, o.Files = 0, 1, "first", write(t, bad)
		},
	} {
		o := options(t, shards, names, 0, 1)
		change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	o := options(t, shards, names, 0, 1)
	o.Name, o.Abandon = "second", true
	if report, err := Run(t.Context(), o); err != nil || report.Rows != 2 {
		t.Errorf("abandoned: %+v, %v", report, err)
	}
	none := open(t, store.NewMemory(), testSpec(1, 0))
	if _, err := Run(t.Context(), options(t, none, names, 0, 1)); err == nil || !strings.Contains(err.Error(), "made with --loads=N") {
		t.Errorf("%v, want to be told of --loads", err)
	}
}

// Rows that are numbered have the same numbers whichever part reads them.
func TestLoad_numberedRows(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 3 {
		var body []byte
		for row := range i + 2 {
			body = append(body, 4, 0, 0, 0)
			body = append(body, bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, 3)...)
			body = append(body, 0, 0, byte(0x80+row), 0x40)
		}
		names = append(names, filepath.Join(dir, fmt.Sprint(i, ".fvecs")))
		if err := os.WriteFile(names[i], body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shards := open(t, store.NewMemory(), testSpec(1, 2))
	for part := range 2 {
		o, opened := options(t, shards, names, part, 2), 0
		inner := o.Open
		o.Open = func(name string, first, skip int64) (*files.Reader, error) {
			opened++ // which is a download, of an object
			return inner(name, first, skip)
		}
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if want := []int{4, 3}[part]; opened != want { // each of its own twice, but for the first of all, and those between once
			t.Errorf("part %d opens files %d times, want %d", part, opened, want)
		}
	}
	live, _, _ := state(t, shards)
	if got := slices.Sorted(maps.Keys(live)); !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8"}) {
		t.Errorf("ids %v", got)
	}
}

// A float has no point in JSON where it happens to be whole: rows are loaded also where all of a batch are, as the last few of a file may be.
func TestLoad_wholeFloats(t *testing.T) {
	spec := testSpec(1, 1)
	spec.Attributes = []schemas.Attribute{{Name: "price", Type: schemas.AttributeFloat}}
	shards := open(t, store.NewMemory(), spec)
	names := write(t, []string{`{"id":"a","vector":[1,2,3,4],"price":0.5}`}, []string{`{"id":"b","vector":[1,2,3,4],"price":3}`, `{"id":"c","vector":[1,2,3,4],"price":null}`})
	if report, err := Run(t.Context(), options(t, shards, names, 0, 1)); err != nil || report.Rows != 3 || report.Quarantined != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// A value of another kind in lines of JSON costs its own row, a column of another type in all of a file the load.
func TestLoad_otherKinds(t *testing.T) {
	spec := testSpec(1, 1)
	spec.Attributes = []schemas.Attribute{{Name: "n", Type: schemas.AttributeInt}}
	var lines, texts []string
	for i, n := range []string{"1", "2.5", "3", `"four"`, "5", "true", "7"} {
		lines = append(lines, fmt.Sprintf(`{"id":"%d","vector":[1,2,3,4],"n":%s}`, i, n))
		texts = append(texts, fmt.Sprintf(`{"id":"%d","vector":[1,2,3,4],"n":%q}`, i, n))
	}
	shards := open(t, store.NewMemory(), spec)
	report, err := Run(t.Context(), options(t, shards, write(t, lines), 0, 1))
	if err != nil || report.Rows != 4 || report.Refused[schemas.ReasonSchema] != 2 || report.Refused[schemas.ReasonAttribute] != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	_, bad, _ := state(t, shards)
	var offsets []int64
	for _, q := range bad {
		if q.Row != 0 {
			t.Errorf("row %d at offset %d", q.Row, q.Offset)
		}
		offsets = append(offsets, q.Offset)
	}
	if !slices.Equal(offsets, []int64{2, 4, 6}) {
		t.Errorf("quarantine at %v", offsets)
	}
	shards = open(t, store.NewMemory(), spec)
	if _, err := Run(t.Context(), options(t, shards, write(t, texts), 0, 1)); err == nil || !strings.Contains(err.Error(), "row 0 of the part and those after it: schema: ") {
		t.Errorf("texts: %v", err)
	}
}

// What is refused is in quarantine under the place of its row, and says where that came from; its payload is the row.
func TestLoad_quarantine(t *testing.T) {
	names := write(t, []string{line("a", 1), `{"id":"z","vector":[0,0,0,0]}`, line("b", 1)})
	shards := open(t, store.NewMemory(), testSpec(1, 1))
	report, err := Run(t.Context(), options(t, shards, names, 0, 1))
	if err != nil || report.Rows != 2 || report.Refused["zero_vector"] != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	_, bad, _ := state(t, shards)
	if len(bad) != 1 || bad[0].Partition != 5 || bad[0].Offset != 2 || bad[0].Row != 0 || !strings.Contains(bad[0].Detail, "(row 1 of part 0 of load first, in "+names[0]+")") {
		t.Fatalf("quarantine %+v", bad)
	}
	r, err := ipc.NewReader(bytes.NewReader(bad[0].Payload))
	if err != nil || !r.Next() || r.RecordBatch().NumRows() != 1 {
		t.Errorf("payload: %v", err)
	}
}

// slow is a bucket in which a segment is there only after the next one.
type slow struct {
	store.Bucket
	segments atomic.Int64
	next     chan struct{}
}

func (s *slow) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if strings.Contains(key, "segments/") {
		if s.segments.Add(1) == 2 {
			close(s.next)
		}
		select {
		case <-s.next:
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.segments.Load() == 2 && strings.Contains(key, "/00000000000000000001-") {
			time.Sleep(20 * time.Millisecond) // the second one has all the time that it wants
		}
	}
	return s.Bucket.PutIfAbsent(ctx, key, body)
}

// Segments are written side by side, and committed in the order of their rows.
func TestLoad_commitsInOrder(t *testing.T) {
	names := write(t, []string{line("a", 1)}, []string{line("b", 1)})
	shards := open(t, &slow{Bucket: store.NewMemory(), next: make(chan struct{})}, testSpec(1, 1))
	o := options(t, shards, names, 0, 1)
	o.FlushRows, o.Threads = 1, 2
	if report, err := Run(t.Context(), o); err != nil || report.Rows != 2 {
		t.Errorf("%+v, %v", report, err)
	}
}

// meanwhile is a store on which something else happens before the first record of a chain is put.
type meanwhile struct {
	store.Bucket
	do func()
}

func (m *meanwhile) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if do := m.do; do != nil && strings.Contains(key, "commits/") {
		m.do = nil
		do()
	}
	return m.Bucket.PutIfAbsent(ctx, key, body)
}

// Parts that begin in the same moment, before either is there to be seen, are told of each other's files before they load any.
func TestPartsThatBeginTogether(t *testing.T) {
	b := store.NewMemory()
	shards := open(t, b, testSpec(2, 2))
	names := write(t, []string{line("a", 1), line("b", 2)}, []string{line("c", 3)}, []string{line("d", 4), line("e", 5)})
	m := &meanwhile{Bucket: b}
	late, err := commit.OpenShards(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		files []string // of the part that is there first
		want  string
	}{{"others", names[1:], "it was begun with"}, {"same", names, ""}} {
		m.do = func() {
			o := options(t, shards, c.files, 0, 2)
			o.Name, o.Abandon = c.name, true
			if _, err := Run(t.Context(), o); err != nil {
				t.Error(err)
			}
		}
		o := options(t, late, names, 1, 2)
		o.Name, o.Abandon = c.name, true
		r, err := Run(t.Context(), o)
		if c.want == "" {
			if err != nil || r.Rows != 1 {
				t.Errorf("%s: %+v, %v", c.name, r, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

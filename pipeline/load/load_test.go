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
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

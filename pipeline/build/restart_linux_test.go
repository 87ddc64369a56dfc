package build

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// at is a builder in a cache directory, as a new process would have it.
func (w *world) at(dir string, o Options) *Builder {
	w.t.Helper()
	cache, err := store.NewCache(dir, w.bucket, store.CacheOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	o.PublishEvery, o.MinTrainRows, o.RewriteRows, o.ChunkBytes = time.Millisecond, 300, 150, 64<<10
	o.Log, o.Cache, o.Level = w.open(), cache, w.level
	b, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// loaded is one that has loaded the newest generation.
func (w *world) loaded(dir string, o Options) *Builder {
	w.t.Helper()
	b := w.at(dir, o)
	if err := b.load(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// knows is all that a builder knows of rows and deletes, which the next generation follows from.
func knows(t *testing.T, b *Builder) string {
	t.Helper()
	var s strings.Builder
	for _, p := range b.parts {
		dead, err := p.dead.ToBytes()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&s, "part %s %d %x\n", p.ID, p.N, dead)
		for row := range p.N {
			id := p.IDAt(row)
			f, ok := b.ledger.find(id, b.ledger.hash.of(id))
			if ok == p.dead.ContainsInt(row) && !(ok && f.part.OrderAt(int(f.row)).Compare(p.OrderAt(row)) >= 0) {
				t.Errorf("row %d of part %s: dead is %v, its id is found: %v", row, p.ID, !ok, ok)
			}
			if ok {
				fmt.Fprintf(&s, "%s %s %d\n", id, f.part.ID, f.row)
			}
		}
	}
	fmt.Fprintf(&s, "%d %d %v %v %v %v", b.ledger.live, b.ledger.moved, b.lengths, b.heads, b.buried, b.ledger.gone)
	return s.String()
}

// A start from what an earlier process has left on the disk knows what one that reads everything knows, and goes on to the same
// generations, whatever has happened meanwhile: a stop or a kill, other builders, rewrites of theirs.
func TestRestart_knowsWhatALoadKnows(t *testing.T) {
	quick, seeds := 0, uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		w := newWorld(t, 100+seed)
		rng := rand.New(rand.NewPCG(seed, 5))
		mine, theirs := t.TempDir(), t.TempDir()
		w.ingest(0, 900, 1500, nil)
		for round := range 6 {
			for range 1 + rng.IntN(3) { // of processes, mostly with this directory
				dir := mine
				if rng.IntN(4) == 0 {
					dir = theirs
				}
				b := w.at(dir, Options{})
				stop := w.running(b)
				for range 1 + rng.IntN(6) {
					w.ingest(rng.IntN(testPartitions), 1+rng.IntN(300), 1500, w.current())
				}
				if rng.IntN(2) == 0 || round == 0 {
					w.settledWith(func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
				}
				stop()
				if rng.IntN(3) == 0 { // as if it had been killed
					_ = os.Remove(filepath.Join(dir, "opened.json"))
				}
			}
			b, full := w.loaded(mine, Options{}), w.loaded(t.TempDir(), Options{})
			if b.recalled > 0 && b.ledger.base.name != "" && len(b.chunks()) > 0 {
				quick++
			}
			for step := range 2 {
				if is, want := knows(t, b), knows(t, full); is != want {
					t.Fatalf("seed %d, round %d, step %d: with %d files recalled it knows\n%.2000s\nwant\n%.2000s", seed, round, step, b.recalled, is, want)
				}
				w.ingest(rng.IntN(testPartitions), 200, 1500, b.model)
				for _, of := range []*Builder{b, full} {
					if _, err := of.fold(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			full.drop()
			if err := b.publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.check(b.manifest)
			b.remember()
			b.drop()
		}
	}
	if quick < 2*int(seeds) {
		t.Errorf("only %d of %d starts were from what an earlier process had left", quick, 6*seeds)
	}
}

// restarted is a builder that has recalled its files, in a directory where another had made a base before.
func (w *world) restarted() (b *Builder, dir string) {
	w.t.Helper()
	dir = w.t.TempDir()
	first := w.at(dir, Options{})
	stop := w.running(first)
	w.ingest(0, 900, 30000, nil)
	w.settledWith(func(m *schemas.Manifest) bool { return len(m.Chunks) > 1 && len(m.Segments) == 0 })
	stop()
	b = w.loaded(dir, Options{})
	w.t.Cleanup(b.drop)
	if b.recalled < 6 {
		w.t.Fatalf("%d files are recalled", b.recalled)
	}
	return b, dir
}

// A builder that dies soon after a quick start has the next one read everything; one that lives does not.
func TestRestart_afterADeath(t *testing.T) {
	w := newWorld(t, 1)
	_, dir := w.restarted()
	died := w.loaded(dir, Options{}) // after one that has not lived for long
	if died.recalled != 0 {
		t.Errorf("%d files are recalled after a process that had died", died.recalled)
	}
	died.drop() // killed, but all was read through
	lives := w.at(dir, Options{})
	stop := w.running(lives)
	w.ingest(0, 1, 30000, nil)
	w.settled()
	if lives.recalled < 6 {
		t.Errorf("%d files are recalled", lives.recalled)
	}
	if _, err := os.Stat(filepath.Join(dir, "opened.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was remembered is not used up: %v", err)
	}
	stop()
	if b := w.loaded(dir, Options{}); b.recalled < 6 {
		t.Errorf("%d files are recalled after a stop", b.recalled)
	} else {
		b.drop()
	}
}

// What has changed on the disk behind the file system's back gets into nothing that is published: a rewrite finds it, and the
// builder begins again with the store's.
func TestRestart_damagedBehind(t *testing.T) {
	for _, object := range []string{"rows", "codes", "vectors"} {
		t.Run(object, func(t *testing.T) {
			w := newWorld(t, 2)
			b, dir := w.restarted()
			c := b.manifest.Chunks[1]
			of := map[string]schemas.Object{"rows": c.Rows, "codes": c.Codes, "vectors": c.Vectors}[object]
			f, err := os.OpenFile(filepath.Join(dir, of.SHA256), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{0x55}, of.Size/2); err != nil { // in the mapping too
				t.Fatal(err)
			}
			f.Close()
			b.start(t.Context(), &job{kind: rewrite, repair: model.Nothing}, b.parts)
			err = b.land(t.Context(), <-b.done)
			if !errors.Is(err, schemas.ErrTransient) || !strings.Contains(err.Error(), of.Key) {
				t.Fatalf("landed: %v, want that the copy of %s is bad", err, of.Key)
			}
			b.drop()
			if err := b.load(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.start(t.Context(), &job{kind: rewrite, repair: model.Nothing}, b.parts)
			if err := b.land(t.Context(), <-b.done); err != nil {
				t.Fatal(err)
			}
			if err := b.publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.check(b.manifest)
		})
	}
}

// A table that is not what was kept, in whatever way, is made anew.
func TestKeptBaseIDs_damaged(t *testing.T) {
	w := newWorld(t, 3)
	b, dir := w.restarted()
	want, name := knows(t, b), b.ledger.base.name
	b.drop()
	good, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{"empty": {}, "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "header alone": good[:keptHeader], "zeros": make([]byte, len(good))}
	for at := range keptHeader {
		cases[fmt.Sprint("header ", at)] = flip(good, at)
	}
	for _, at := range []int{keptHeader, keptHeader + 5, len(good) / 2, len(good) - 1} {
		cases[fmt.Sprint("slots ", at)] = flip(good, at)
	}
	more := bytes.Clone(good)
	binary.LittleEndian.PutUint64(more[24:], binary.LittleEndian.Uint64(more[24:])+1)
	binary.LittleEndian.PutUint32(more[keptSum:], keptCRC(more))
	cases["of other rows"] = more
	for what, damaged := range cases {
		if err := os.WriteFile(filepath.Join(dir, name), damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		var log lines
		b := w.loaded(dir, Options{Logger: log.logger()})
		if log.with("rebuilding the table of IDs") != 1 {
			t.Errorf("%s: the log does not say so", what)
		}
		if knows(t, b) != want {
			t.Errorf("%s: it knows something else", what)
		}
		b.drop()
		if again := w.loaded(dir, Options{Logger: log.logger()}); again.ledger.base.name != name || log.with("rebuilding") > 1 {
			t.Errorf("%s: what was made anew is not kept", what)
		} else {
			again.drop()
		}
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1 << (at % 8)
	return b
}

// Without room for the table the builder works as before, and says what that costs.
func TestKeptBaseIDs_noRoom(t *testing.T) {
	w := newWorld(t, 4)
	b, _ := w.restarted()
	chunks := b.chunks()
	table := int64(len(b.ledger.base.table))
	cache, err := store.NewCache(t.TempDir(), w.bucket, store.CacheOptions{MaxBytes: table + table/2})
	if err != nil {
		t.Fatal(err)
	}
	base, err := newBaseIDs(cache, b.ledger.hash, chunks)
	if err != nil {
		t.Fatal(err)
	}
	defer base.release()
	if err := base.keep(cache); !errors.Is(err, store.ErrCacheFull) {
		t.Errorf("keep = %v, want that the cache is full", err)
	}
	found := map[string]bool{}
	for _, p := range chunks {
		for row := range p.N {
			id := p.IDAt(row)
			if at, ok := base.find(id, base.hash.of(id)); ok && at == (place{p, uint32(row)}) {
				found[id] = true
			}
		}
	}
	if len(found) != b.ledger.live {
		t.Errorf("it finds %d ids, want %d", len(found), b.ledger.live)
	}
}

// Other chunks, fewer of them and others in their order have tables of other names.
func TestKeptName(t *testing.T) {
	part := func(rows string) *heldPart {
		return &heldPart{chunk: &schemas.Chunk{Rows: schemas.Object{SHA256: rows}}}
	}
	a, b, c := part("a"), part("b"), part("c")
	names := map[string]bool{}
	for _, parts := range [][]*heldPart{{}, {a}, {a, b}, {b, a}, {a, c}, {a, b, c}} {
		names[keptName(parts)] = true
	}
	if len(names) != 6 || keptName([]*heldPart{a, b}) != keptName([]*heldPart{part("a"), part("b")}) {
		t.Errorf("names are %v", names)
	}
}

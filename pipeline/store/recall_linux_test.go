package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
)

func anyFile(string) bool { return true }

// remembered is a directory with the files of refs, which a process has read through and remembered.
func remembered(t *testing.T, b store.Bucket, rules int, refs ...store.Ref) string {
	t.Helper()
	dir := t.TempDir()
	c := newCache(t, dir, b, 0)
	for _, ref := range refs {
		m, err := c.Fetch(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		m.Release()
	}
	if err := c.Remember(rules, anyFile); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What an earlier process has read through is not read again, but by who asks for it, and by who did not recall it.
func TestCache_Recall(t *testing.T) {
	b := store.NewMemory()
	ref, body := putRef(t, b, "k", 10000)
	other, otherBody := putRef(t, b, "other", 5000)
	dir := remembered(t, b, 1, ref)
	c := newCache(t, dir, b, 0)
	r, files := c.Recall(1)
	if files != 1 {
		t.Fatalf("%d files are recalled, want 1", files)
	}
	m := fetch(t, r, ref, body)
	if !m.Recalled() {
		t.Error("it was read through")
	}
	if m := fetch(t, r, other, otherBody); m.Recalled() {
		t.Error("what was not there is recalled")
	}
	mine := fetch(t, c, ref, body)
	if mine.Recalled() {
		t.Error("it is recalled for who did not ask for that")
	}
	if err := m.Verify(t.Context(), 1); err != nil || m.Recalled() {
		t.Errorf("Verify = %v, recalled afterwards: %v", err, m.Recalled())
	}
	m.Release()
	mine.Release()
	wantStats(t, c, store.CacheStats{Hits: 2, Downloads: 1, BytesDownloaded: 5000, Bytes: 15000, Mapped: 5000})
}

// Only files that nobody has touched since are recalled.
func TestCache_Recall_changed(t *testing.T) {
	b := store.NewMemory()
	ref, body := putRef(t, b, "k", 10000)
	for name, change := range map[string]func(path string) error{
		"a byte": func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			damaged := bytes.Clone(body)
			damaged[77] ^= 1
			if err := os.WriteFile(path, damaged, 0o644); err != nil {
				return err
			}
			return os.Chtimes(path, time.Time{}, info.ModTime()) // as if it had not been written
		},
		"another file in its place": func(path string) error {
			if err := os.WriteFile(path+".new", body[:9999], 0o644); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := remembered(t, b, 1, ref)
			if err := change(filepath.Join(dir, ref.SHA256)); err != nil {
				t.Fatal(err)
			}
			c, files := newCache(t, dir, b, 0).Recall(1)
			if files != 0 {
				t.Errorf("%d files are recalled", files)
			}
			m := fetch(t, c, ref, body)
			defer m.Release()
			if m.Recalled() {
				t.Error("it is recalled")
			}
		})
	}
}

// A process that dies of what it has recalled does not have the next one die too, and neither does what other rules allowed,
// or what is no record.
func TestCache_Recall_once(t *testing.T) {
	b := store.NewMemory()
	ref, body := putRef(t, b, "k", 10000)
	dir := remembered(t, b, 1, ref)
	if _, files := newCache(t, dir, b, 0).Recall(1); files != 1 {
		t.Fatalf("%d files are recalled", files)
	}
	if _, files := newCache(t, dir, b, 0).Recall(1); files != 0 {
		t.Errorf("%d files are recalled by the next process", files)
	}
	if _, files := newCache(t, remembered(t, b, 1, ref), b, 0).Recall(2); files != 0 {
		t.Errorf("%d files are recalled by other rules", files)
	}
	dir = remembered(t, b, 1, ref)
	record, err := os.ReadFile(filepath.Join(dir, "opened.json"))
	if err != nil {
		t.Fatal(err)
	}
	for at := range record {
		for _, damaged := range [][]byte{record[:at], bitFlipped(record, at)} {
			if err := os.WriteFile(filepath.Join(dir, "opened.json"), damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			c := newCache(t, dir, b, 0)
			r, files := c.Recall(1)
			if files != 0 && !bytes.EqualFold(damaged, record) { // names of fields may be of either case
				t.Fatalf("%d files are recalled by %s", files, damaged)
			}
			fetch(t, r, ref, body).Release()
		}
	}
}

func bitFlipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1 << (at % 8)
	return b
}

// What changed behind the file system's back is found by who reads it through, and then comes from the bucket.
func TestMapped_Verify_damaged(t *testing.T) {
	b := store.NewMemory()
	ref, body := putRef(t, b, "k", 10000)
	dir := remembered(t, b, 1, ref)
	path := filepath.Join(dir, ref.SHA256)
	c := newCache(t, dir, b, 0)
	r, _ := c.Recall(1)
	if err := os.WriteFile(path, bitFlipped(body, 7), 0o644); err != nil { // after it was looked at, as if it were not written
		t.Fatal(err)
	}
	m, err := r.Fetch(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(t.Context(), 1); !errors.Is(err, store.ErrTransient) || !strings.Contains(err.Error(), "changed on the disk") {
		t.Fatalf("Verify = %v, want that it has changed", err)
	}
	again := fetch(t, r, ref, body) // while the damaged one is still mapped
	if again.Recalled() {
		t.Error("it is recalled once more")
	}
	if err := m.Verify(t.Context(), 1); err == nil {
		t.Error("the mapping that was damaged is fine now")
	}
	fetch(t, r, ref, body).Release()
	m.Release()
	again.Release()
	wantStats(t, c, store.CacheStats{Hits: 2, Downloads: 1, BytesDownloaded: 10000, Corrupt: 2, Bytes: 10000})
}

// What a disk changes after it was read through is found by who reads it once more. Who has it mapped keeps that, and who fetches it then
// gets what the bucket has.
func TestMapped_Reread_damaged(t *testing.T) {
	b := store.NewMemory()
	ref, body := putRef(t, b, "k", 10000)
	dir := t.TempDir()
	c := newCache(t, dir, b, 0)
	m, other := fetch(t, c, ref, body), fetch(t, c, ref, body)
	if err := m.Reread(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	damaged := bitFlipped(body, 7)
	if err := os.WriteFile(filepath.Join(dir, ref.SHA256), damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, has := range []*store.Mapped{m, other} {
		if err := has.Verify(t.Context(), 1); err != nil {
			t.Errorf("Verify of what was read through = %v", err)
		}
		if err := has.Reread(t.Context(), 1); !errors.Is(err, store.ErrTransient) {
			t.Errorf("Reread = %v, want that it has changed", err)
		}
		again := fetch(t, c, ref, body)
		if err := again.Reread(t.Context(), 1); err != nil || !bytes.Equal(has.Bytes(), damaged) {
			t.Errorf("Reread of what was fetched anew = %v", err)
		}
		again.Release()
	}
	m.Release()
	fetch(t, c, ref, body).Release()
	other.Release()
	wantStats(t, c, store.CacheStats{Hits: 3, Downloads: 2, BytesDownloaded: 20000, Corrupt: 2, Bytes: 10000})
}

// What was kept is there in the next process too, under its name, until it is swept.
func TestCache_Keep(t *testing.T) {
	dir, name := t.TempDir(), strings.Repeat("5a", 32)
	c := newCache(t, dir, store.NewMemory(), 100)
	if _, err := c.Kept(name); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("before it was kept: %v", err)
	}
	for _, body := range []string{"made", "made anew"} {
		if err := c.Keep(name, []byte(body)); err != nil {
			t.Fatal(err)
		}
		c = newCache(t, dir, store.NewMemory(), 100)
		m, err := c.Kept(name)
		if err != nil || string(m.Bytes()) != body {
			t.Fatalf("kept: %v", err)
		}
		if _, err := c.Sweep(func(string) bool { return false }); err != nil || c.Stats().Bytes != int64(len(body)) {
			t.Errorf("swept while it is in use: %d bytes, %v", c.Stats().Bytes, err)
		}
		m.Release()
	}
	if freed, err := c.Sweep(func(of string) bool { return of == name }); err != nil || freed != 0 {
		t.Errorf("swept: %d bytes, %v", freed, err)
	}
	if freed, err := c.Sweep(func(string) bool { return false }); err != nil || freed != 9 {
		t.Errorf("swept %d bytes, %v, want 9", freed, err)
	}
	if _, err := c.Kept(name); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after it was swept: %v", err)
	}
	if err := c.Keep(name, make([]byte, 101)); !errors.Is(err, store.ErrCacheFull) {
		t.Errorf("more than there is room for: %v", err)
	}
	if err := c.Keep("../name", nil); err == nil {
		t.Error("a name that leads elsewhere is taken")
	}
}

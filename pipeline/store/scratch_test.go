package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
)

// Scratch memory is zero and can be written to; it leaves no file, and counts as bytes of the cache for as long as it is held.
func TestScratch(t *testing.T) {
	const size = 3<<20 + 17
	dir := t.TempDir()
	c := newCache(t, dir, store.NewMemory(), 2*size)
	s, err := c.Scratch(size)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Bytes(); !bytes.Equal(got, make([]byte, size)) {
		t.Errorf("%d bytes that are not all zero, want %d", len(got), size)
	}
	s.Bytes()[size-1] = 1
	if got := c.Stats().Bytes; got != size {
		t.Errorf("cache has %d bytes beside it, want %d", got, size)
	}
	if _, err := c.Scratch(size + 1); !errors.Is(err, store.ErrCacheFull) {
		t.Errorf("more than the cache may have: %v, want that it is full", err)
	}
	other, err := c.Scratch(size)
	if err != nil {
		t.Fatal(err)
	}
	other.Bytes()[0] = 2
	if s.Bytes()[0] != 0 || s.Bytes()[size-1] != 1 {
		t.Error("two of them share memory")
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			t.Errorf("%s is there (%v), want no file that would outlive the process", path, err)
		}
		return nil
	})
	for range 2 {
		s.Release()
		other.Release()
	}
	if got := c.Stats().Bytes; got != 0 {
		t.Errorf("cache has %d bytes after all was released", got)
	}
}

// What is cached and idle makes room for scratch memory.
func TestScratch_makesRoom(t *testing.T) {
	b := store.NewMemory()
	c := newCache(t, t.TempDir(), b, 1000)
	ref, body := putRef(t, b, "a", 600)
	fetch(t, c, ref, body).Release()
	s, err := c.Scratch(700)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if got := c.Stats().Bytes; got != 700 {
		t.Errorf("cache has %d bytes, want those of the scratch memory alone", got)
	}
}

func TestScratch_sizes(t *testing.T) {
	c := newCache(t, t.TempDir(), store.NewMemory(), 0)
	s, err := c.Scratch(0)
	if err != nil || len(s.Bytes()) != 0 {
		t.Errorf("none: %d bytes, %v", len(s.Bytes()), err)
	}
	s.Release()
	if _, err := c.Scratch(-1); err == nil {
		t.Error("a negative size is taken")
	}
}

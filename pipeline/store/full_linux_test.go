package store_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
)

// smallDisk is a directory on a file system of its own that has room for so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no file system of its own here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// A disk without room is told from a store that is away, whatever wants the room, and is worth another try all the same.
func TestAFullDiskIsToldApart(t *testing.T) {
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrDiskFull) || !errors.Is(err, store.ErrTransient) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%s: %v, want ErrDiskFull", what, err)
		}
	}
	dir := smallDisk(t, "64k")
	b := store.NewMemory()
	ref, body := putRef(t, b, "k", 200_000)
	c := newCache(t, dir, b, 0)
	_, err := c.Fetch(t.Context(), ref)
	full("a download", err)
	full("what was written", c.Put(t.Context(), ref, body))
	full("what is kept", c.Keep(ref.SHA256, body))
	_, err = c.Scratch(200_000)
	full("scratch memory", err)

	d, err := store.Open(t.Context(), "file://"+smallDisk(t, "64k"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	full("an object of a directory", d.PutIfAbsent(t.Context(), "k", body))
	if _, err := c.Fetch(t.Context(), store.Ref{Key: "none", Size: 1, SHA256: ref.SHA256}); errors.Is(err, store.ErrDiskFull) {
		t.Errorf("an object that is not there: %v", err)
	}
}

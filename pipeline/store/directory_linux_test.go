package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/adastream/adastream/pipeline/store"
)

// The names of the store's own directory and of those above it are made to last, as those below it are: each directory that has a new one
// in it is opened, which is what flushing begins with.
func TestDirectory_rootLasts(t *testing.T) {
	parent := t.TempDir()
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, parent, unix.IN_OPEN|unix.IN_CREATE|unix.IN_ONLYDIR); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), filepath.Join(parent, "data", "index"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	made, opened := false, false
	buf := make([]byte, 4096)
	n, err := unix.Read(watch, buf)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	for at := 0; at < n; {
		mask, size := binary.NativeEndian.Uint32(buf[at+4:]), int(binary.NativeEndian.Uint32(buf[at+12:]))
		name := string(bytes.TrimRight(buf[at+16:at+16+size], "\x00"))
		made = made || mask&unix.IN_CREATE != 0 && name == "data"
		opened = opened || made && mask&unix.IN_OPEN != 0 && name == ""
		at += 16 + size
	}
	if !made || !opened {
		t.Errorf("data was made in its parent: %v, and the parent opened after that: %v", made, opened)
	}
}

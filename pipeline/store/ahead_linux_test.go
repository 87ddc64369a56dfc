package store

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is asked for ahead comes into memory without anybody reading it, and nothing else does; who reads what is missing waits, and that is
// counted.
func TestAhead(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const size = 4 << 20
	page := os.Getpagesize()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fsync(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	m, err := mapReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Unmap()
	scatter(m, true)
	if err := unix.Fadvise(int(f.Fd()), 0, size, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n := cached(t, m); n != 0 {
		t.Skipf("%d pages stay in memory: a file system without a disk", n)
	}
	const read = 64
	thread, before := MajorFaults()
	for i := range read {
		if m[(100+i)*page] != 0 {
			t.Error("the file is another one")
		}
	}
	if now, faults := MajorFaults(); now != thread || faults < before+read/2 { // a kernel does not count each
		t.Errorf("thread %d has waited %d times after %d pages were missing, and thread %d %d times before", now, faults, read, thread, before)
	}
	pieces := [][]byte{nil, m[7*page+5 : 7*page+9], m[7*page+20 : 7*page+30], m[300*page-1 : 300*page+1], m[size-1:], make([]byte, 10)}
	Ahead(pieces)
	want := read + 1 + 2 + 1
	for deadline := time.Now().Add(time.Minute); cached(t, m) < want && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := cached(t, m); got != want {
		t.Errorf("%d pages are in memory, want %d", got, want)
	}
}

// cached is how many pages of a mapping are in memory, for whomever.
func cached(t *testing.T, mapping []byte) (pages int) {
	t.Helper()
	present := make([]byte, len(mapping)/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapping[0])), uintptr(len(mapping)), uintptr(unsafe.Pointer(&present[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range present {
		pages += int(p & 1)
	}
	return pages
}

// BenchmarkAhead is what advice costs that was not needed: 500 pages that are in memory, and the faults of a thread.
func BenchmarkAhead(b *testing.B) {
	const pages = 500
	page := os.Getpagesize()
	path := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 8*pages*page), 0o600); err != nil {
		b.Fatal(err)
	}
	m, err := mapReadOnly(path)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Unmap()
	var pieces [][]byte
	for i := range pages {
		pieces = append(pieces, m[8*i*page:][:128])
	}
	b.Run("pages=500", func(b *testing.B) {
		for b.Loop() {
			Ahead(pieces)
		}
	})
	b.Run("faults", func(b *testing.B) {
		for b.Loop() {
			MajorFaults()
		}
	})
}

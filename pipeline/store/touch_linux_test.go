package store

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// All pages of what is fetched are present, before anybody reads it.
func TestCache_Fetch_touches(t *testing.T) {
	const size = 3 << 20
	b := NewMemory()
	body := bytes.Repeat([]byte("adastream"), size/9+1)[:size]
	if err := b.PutIfAbsent(t.Context(), "k", body); err != nil {
		t.Fatal(err)
	}
	c, err := NewCache(t.TempDir(), b, CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Fetch(t.Context(), Ref{Key: "k", SHA256: fmt.Sprintf("%x", sha256.Sum256(body)), Size: size})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	if got := resident(t, m.Bytes()); got != size>>10 {
		t.Errorf("%d KiB of %d are present", got, size>>10)
	}
}

// A file that became shorter than its mapping is an error, not a signal.
func TestTouchOfAShortFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := mapReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Unmap()
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if err := touch(m); err == nil {
		t.Error("no error")
	}
}

// resident is how many KiB of a mapping the kernel says are present for this process.
func resident(t *testing.T, mapping []byte) (kib int) {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip("no /proc/self/smaps:", err)
	}
	_, of, found := strings.Cut(string(smaps), fmt.Sprintf("\n%x-", uintptr(unsafe.Pointer(&mapping[0]))))
	_, of, found2 := strings.Cut(of, "\nRss:")
	if !found || !found2 {
		t.Fatal("the mapping is not in /proc/self/smaps")
	}
	if _, err := fmt.Sscanf(of, "%d kB", &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

package cli

import (
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"testing"
)

// Whatever the container allows, it is not more than the machine has, and a container without a limit does not count.
func TestMemoryIsAtMostTheMachines(t *testing.T) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Skip("needs /proc/meminfo:", err)
	}
	kib, err := strconv.ParseInt(string(regexp.MustCompile(`MemTotal:\s+(\d+)`).FindSubmatch(info)[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if got := Memory(); got <= 0 || got > kib<<10 {
		t.Errorf("memory: %d bytes, the machine has %d", got, kib<<10)
	}
}

// The runtime keeps below the container's limit, but to a limit that somebody gave it.
func TestHeapHasALimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	t.Setenv("GOMEMLIMIT", "1GiB")
	limitHeap()
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("limit %d, although GOMEMLIMIT is given", got)
	}
	t.Setenv("GOMEMLIMIT", "")
	limitHeap()
	if got, most := debug.SetMemoryLimit(-1), Memory(); got >= most || got < most/2 {
		t.Errorf("limit %d of %d", got, most)
	}
}

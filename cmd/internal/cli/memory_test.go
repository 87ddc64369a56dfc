package cli

import (
	"os"
	"regexp"
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

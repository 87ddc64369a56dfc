package cli

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Memory is how many bytes this process may use: the limit of its container or the memory of the machine, whichever is less; 0 if
// neither can be told.
func Memory() int64 {
	var least uint64
	for _, tell := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if bytes, err := tell(); err == nil && (least == 0 || bytes < least) {
			least = bytes
		}
	}
	return int64(least)
}

// limitHeap has the runtime keep its memory below nine tenths of what the process may use, unless GOMEMLIMIT says another limit: the
// rest is for what it does not count, stacks of threads and the kernel's. Mapped files are not in it; the kernel drops those.
func limitHeap() {
	if os.Getenv("GOMEMLIMIT") == "" {
		if memory := Memory(); memory > 0 {
			debug.SetMemoryLimit(memory / 10 * 9)
		}
	}
}

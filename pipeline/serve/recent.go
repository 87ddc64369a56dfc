package serve

import (
	"sync"
	"time"
)

// swapInfo is one swap, for the page.
type swapInfo struct {
	Generation int64
	Epoch      string // "" for the root
	At         time.Time
	Took       time.Duration
	LiveRows   int64
	NewParts   int
	Freshness  time.Duration // from the newest record's timestamp to the swap, 0 when it was the first or brought no newer record
}

const recentSwaps = 12

// recent remembers the last swaps. Safe for concurrent use.
type recent struct {
	mu    sync.Mutex
	swaps []swapInfo
}

func (r *recent) add(s swapInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.swaps = append(r.swaps, s)
	if len(r.swaps) > recentSwaps {
		r.swaps = r.swaps[1:]
	}
}

// list returns them, newest first.
func (r *recent) list() []swapInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]swapInfo, 0, len(r.swaps))
	for i := len(r.swaps) - 1; i >= 0; i-- {
		out = append(out, r.swaps[i])
	}
	return out
}

// freshness is that of the last swap that brought newer records, 0 before the first.
func (r *recent) freshness() time.Duration {
	for _, s := range r.list() {
		if s.Freshness > 0 {
			return s.Freshness
		}
	}
	return 0
}

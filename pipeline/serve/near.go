package serve

import (
	"math"
	"sync/atomic"
	"time"
)

// nearSwap is how long after a swap a search still counts as near it: its first touch of what is new costs it page faults, and
// what was given up is being unmapped.
const nearSwap = time.Second

// swapTimes tells searches near a swap from others. Safe for concurrent use.
type swapTimes struct{ until atomic.Int64 } // Unix time in ns up to which searches are near one

// begin says that a swap is under way, until end.
func (s *swapTimes) begin() { s.until.Store(math.MaxInt64) }

func (s *swapTimes) end(at time.Time) { s.until.Store(at.Add(nearSwap).UnixNano()) }

func (s *swapTimes) near(at time.Time) bool { return at.UnixNano() <= s.until.Load() }

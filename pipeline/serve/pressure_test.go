package serve

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Goroutines that are ready and have no processor are counted, those that wait for something else are not.
func TestPressure(t *testing.T) {
	const many = 500
	var p pressure
	var all sync.WaitGroup
	var stop atomic.Bool
	end := make(chan struct{})
	for range many {
		all.Go(func() { <-end })
	}
	// await looks until as many wait as is good.
	await := func(good func(n int64) bool) (n int64) {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * pressureEvery) {
			if n = p.now(); good(n) {
				return n
			}
		}
		return n
	}
	few, lots := func(n int64) bool { return n < many/4 }, func(n int64) bool { return n > many/2 }
	if n := await(few); !few(n) {
		t.Errorf("%d wait for a processor, want about none", n)
	}
	for range many {
		all.Go(func() {
			for !stop.Load() {
				runtime.Gosched()
			}
		})
	}
	seen := await(lots)
	stop.Store(true)
	close(end)
	all.Wait()
	if !lots(seen) {
		t.Errorf("%d wait for a processor, want nearly %d", seen, many)
	}
}

// A clock that is set back does not leave what was known then as it was until the time has come again.
func TestPressure_clockSetBack(t *testing.T) {
	var p pressure
	p.runnable.Store(1 << 20)
	p.read.Store(time.Now().Add(time.Hour).UnixNano())
	if n := p.now(); n == 1<<20 {
		t.Errorf("%d wait for a processor, as of in an hour", n)
	}
}

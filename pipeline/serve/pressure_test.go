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
	time.Sleep(2 * pressureEvery)
	if n := p.now(); n > many/2 {
		t.Errorf("%d wait for a processor, want about none", n)
	}
	for range many {
		all.Go(func() {
			for !stop.Load() {
				runtime.Gosched()
			}
		})
	}
	seen := int64(0)
	for deadline := time.Now().Add(10 * time.Second); seen < many/2 && time.Now().Before(deadline); time.Sleep(2 * pressureEvery) {
		seen = p.now()
	}
	stop.Store(true)
	close(end)
	all.Wait()
	if seen < many/2 {
		t.Errorf("%d wait for a processor, want nearly %d", seen, many)
	}
}

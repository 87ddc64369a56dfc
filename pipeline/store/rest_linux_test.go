package store

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// What a step has a processor for is never more than it takes, on whatever thread it begins and ends.
func TestBusyWhile(t *testing.T) {
	var all sync.WaitGroup
	for range 8 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for range 2000 {
				began := time.Now()
				busy := busyWhile(runtime.Gosched)
				if took := time.Since(began); busy < 0 || busy > took {
					t.Errorf("a step of %v was busy for %v", took, busy)
					return
				}
			}
		})
	}
	all.Wait()

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := time.Now()
	if busy := busyWhile(func() { time.Sleep(100 * time.Millisecond) }); busy > 50*time.Millisecond {
		t.Errorf("waiting for %v was busy for %v", time.Since(began), busy)
	}
	before, after := time.Duration(0), time.Duration(0)
	busy := busyWhile(func() {
		_, before = threadTime()
		for after < before+20*time.Millisecond {
			_, after = threadTime()
		}
	})
	if busy < 20*time.Millisecond {
		t.Errorf("20 ms of a processor were %v", busy)
	}
}

package serve

import (
	runtimemetrics "runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// pressureEvery is how old what is known of the scheduler may be: less than the time of a few queries.
const pressureEvery = time.Millisecond

// leastPressure is how many goroutines may wait for a processor without that saying anything: what else the process does waits
// too.
const leastPressure = 64

// pressure knows how many goroutines are ready and wait for a processor. On a node that is asked more than it can answer that is
// where requests wait: each runs through once it runs, so that slots are free all the while. The zero value is ready.
type pressure struct {
	runnable atomic.Int64
	read     atomic.Int64 // Unix time in ns

	mu     sync.Mutex
	sample [1]runtimemetrics.Sample
}

// now is how many wait, as of a moment ago: a few of them may be others than requests.
func (p *pressure) now() int64 {
	now := time.Now().UnixNano()
	if age := now - p.read.Load(); (age > int64(pressureEvery) || age < 0) && p.mu.TryLock() { // below 0: the clock was set back
		p.sample[0].Name = "/sched/goroutines/runnable:goroutines"
		runtimemetrics.Read(p.sample[:])
		if v := p.sample[0].Value; v.Kind() == runtimemetrics.KindUint64 { // a runtime without it tells nothing
			p.runnable.Store(int64(v.Uint64()))
		}
		p.read.Store(now)
		p.mu.Unlock()
	}
	return p.runnable.Load()
}

package serve

import (
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/pipeline/store"
)

// missingFor is for how long pages are fetched ahead after a search missed one: a search that misses none pays for that, some
// tenths of a millisecond, and one that misses many gains tens.
const missingFor = 5 * time.Second

// missing knows whether memory is too small for what is searched. The zero value is ready.
type missing struct {
	until atomic.Int64 // Unix time in ns, to fetch ahead
}

// ahead fetches pages before a search reads them, nil while none are missing.
func (m *missing) ahead() func([][]byte) {
	if time.Now().UnixNano() < m.until.Load() {
		return store.Ahead
	}
	return nil
}

// note says where a search began, by [store.MajorFaults], that has ended.
func (m *missing) note(thread int, before int64) {
	if now, faults := store.MajorFaults(); now == thread && faults > before { // else it was on several threads, and the next one will tell
		m.until.Store(time.Now().Add(missingFor).UnixNano())
	}
}

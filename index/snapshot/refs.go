package snapshot

import "sync/atomic"

// refs counts readers and remembers whether the owner is gone, in one word, so that "closed and nobody left" is seen
// by exactly one of those who leave. The owner is not counted: the word is twice the number of readers, plus one once
// closed. It reaches 1 at most once, because after closing it only falls.
type refs struct {
	word atomic.Int64
	last func()
}

const (
	closed = 1
	reader = 2
)

func (r *refs) acquire() bool {
	for {
		w := r.word.Load()
		if w&closed != 0 {
			return false
		}
		if r.word.CompareAndSwap(w, w+reader) {
			return true
		}
	}
}

func (r *refs) release() {
	switch w := r.word.Add(-reader); {
	case w < 0:
		panic("snapshot: released more often than acquired")
	case w == closed:
		r.end()
	}
}

func (r *refs) close() {
	if w := r.word.Or(closed); w == 0 {
		r.end()
	}
}

func (r *refs) end() {
	if r.last != nil {
		r.last()
	}
}

package commit

import "sync"

// News tells who waits in this process that something has changed. The zero value is ready, and safe for concurrent use.
type News struct {
	mu   sync.Mutex
	told chan struct{} // nil while nobody waits
}

// Next is closed when the next news are there. Take it before looking at what may change, so that nothing is missed.
func (n *News) Next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told == nil {
		n.told = make(chan struct{})
	}
	return n.told
}

// Tell tells everyone who waits.
func (n *News) Tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told != nil {
		close(n.told)
		n.told = nil
	}
}

// news is of what this process itself has done to an index: roles that share one need not wait for their next look. Others do not
// hear of it, and it is never more than a reason to look sooner.
type news struct{ appended, promoted News }

// Appended is closed when this Log, or another one of the same shard over the same opening, has next appended to a chain.
func (l *Log) Appended() <-chan struct{} { return l.news.appended.Next() }

// Promoted is closed when one of these has next moved the channel.
func (l *Log) Promoted() <-chan struct{} { return l.news.promoted.Next() }

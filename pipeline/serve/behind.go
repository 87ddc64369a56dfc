package serve

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
)

// behind is since when the channel has named another generation than the one that is served. The zero value is not behind.
type behind struct{ since atomic.Int64 } // Unix time in ns, 0 if it is not

func (b *behind) begin(at time.Time) { b.since.CompareAndSwap(0, at.UnixNano()) }
func (b *behind) end()               { b.since.Store(0) }

// duration is how long it has been.
func (b *behind) duration() time.Duration {
	since := b.since.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// tooFarBehind says why queries should rather go to another node, if MaxBehind bounds for how long that may be so.
//
// Readiness moves queries to other nodes, so it may tell only of what others do not suffer too: if all nodes of an index are not
// ready at once, an answer that is late has become none. That decides what counts. A generation that is corrupt or has gone, or that wants
// more memory than nodes have, is so for all of them. A store that is away says nothing about where the channel is now. What is left is this
// node's own: it is still fetching what others may have, its cache is bounded too tightly or has no room on the disk, or its program is too old to read the
// generation. Even these can befall all nodes together, above all a rewrite that each of them fetches; so the bound has to be set,
// above the time that such a fetch takes, and there is none by default.
func (n *Node) tooFarBehind() error {
	late := n.behind.duration()
	if n.o.MaxBehind == 0 || late <= n.o.MaxBehind {
		return nil
	}
	why := n.Stale()
	switch {
	case why == nil:
		why = errors.New("the newest one is being fetched")
	case forAll(why):
		return nil
	}
	return fmt.Errorf("generation %d is served and the channel has named a newer one for %v, allowed: %v: %w",
		n.generation(), late.Round(time.Second), n.o.MaxBehind, why)
}

// forAll reports whether all nodes of an index fail for this reason, or none can know what is newest.
func forAll(err error) bool {
	if errors.Is(err, store.ErrDiskFull) { // though it is transient
		return false
	}
	for _, reason := range []error{commit.ErrReplaced, store.ErrCorrupt, store.ErrNotFound, store.ErrTransient, store.ErrDenied, ErrMemory} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

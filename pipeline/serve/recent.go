package serve

import (
	"slices"
	"sync"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// Swap is a generation that was taken into service, or a run of them that brought rows and nothing else.
type Swap struct {
	First, Generation int64 // of the run; the same one if it is no run
	Swaps             int
	Compactions       int // of them, that joined segments too
	Epoch             string
	Kind              string           // as in package commit, or one of the kinds here
	Model             string           // what of the model was made anew, for commit.KindRetrain
	Record            *schemas.Channel // of the last one: who promoted it and why
	At                time.Time        // of the last one
	Took              time.Duration    // the longest one: to fetch, verify, map and swap in
	LiveRows          int64            // of the last one
	Rows              int64            // that can be found, more or less than before
	NewParts          int              // fetched or opened
	Freshness         time.Duration    // from the newest record's timestamp to the last swap that brought newer records; 0 when none did
}

// Kinds of swaps beside those of package commit.
const (
	KindStart = "start" // the first generation of this process
	KindBack  = "back"  // to an older generation
	KindEpoch = "epoch" // to an index of another encoder
)

func (s *Swap) routine() bool { return s.Kind == commit.KindDelta || s.Kind == commit.KindCompaction }

const recentSwaps = 100

// recent remembers the last swaps. Safe for concurrent use.
type recent struct {
	mu    sync.Mutex
	last  *schemas.Manifest // of the last swap
	swaps []Swap
}

// add takes in a swap to a generation: of s all but what can be told from the manifests is set.
func (r *recent) add(s Swap, m *schemas.Manifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.First, s.Swaps, s.Rows = s.Generation, 1, m.LiveRows
	var before *Swap
	if n := len(r.swaps); n > 0 {
		before = &r.swaps[n-1]
	}
	switch {
	case before == nil:
		s.Kind = KindStart
	case before.Epoch != s.Epoch:
		s.Kind = KindEpoch
	default:
		c := commit.Changed(r.last, m)
		s.Kind, s.Model, s.Rows = c.Kind(), c.Model, c.Live
		if m.Generation < r.last.Generation {
			s.Kind = KindBack
		}
	}
	if s.Kind == commit.KindCompaction {
		s.Compactions = 1
	}
	r.last = m
	if before != nil && s.routine() && before.routine() && before.Record.Pinned == s.Record.Pinned && !s.Record.ByOperator() && !before.Record.ByOperator() {
		before.join(s)
		return
	}
	r.swaps = append(r.swaps, s)
	if len(r.swaps) > recentSwaps {
		r.swaps = r.swaps[1:]
	}
}

// join makes s the end of the run.
func (s *Swap) join(next Swap) {
	next.First, next.Kind = s.First, commit.KindDelta
	next.Swaps += s.Swaps
	next.Compactions += s.Compactions
	next.Rows += s.Rows
	next.NewParts += s.NewParts
	next.Took = max(next.Took, s.Took)
	if next.Freshness == 0 {
		next.Freshness = s.Freshness
	}
	*s = next
}

// list returns them, newest first.
func (r *recent) list() []Swap {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.swaps)
	slices.Reverse(out)
	return out
}

package serve

import (
	"errors"

	"github.com/adastream/adastream/schemas"
)

// ErrMemory says that a generation was not taken because it wants more memory than is allowed.
var ErrMemory = errors.New("no room in memory")

// View is what a node knows of itself at one moment. What it points at is shared and must not be changed.
type View struct {
	Spec     *schemas.Spec     // of what is served
	Manifest *schemas.Manifest // of the generation that is served, nil before the first
	Epoch    string            // that the generation is of, "" for the root
	Ready    error             // why no query should come here, or nil
	Stale    error             // why they may be answered from another generation than the newest, or nil
	Live     *schemas.Estimate // recall of late answers as clients asked, nil when none was measured
	Swaps    []Swap            // the last ones, newest first
	Exact    bool              // originals are here or can be read, so that an exact search is exact
	Admin    bool              // the verbs of an administrator are answered
}

// View looks at the node. Safe for concurrent use.
func (n *Node) View() View {
	v := View{Spec: n.o.Log.Spec(), Ready: n.Ready(), Stale: n.Stale(), Live: n.live.current(), Swaps: n.recent.list(),
		Exact: n.o.Originals != OriginalsNone, Admin: n.o.Admin}
	if snap := n.hold(); snap != nil {
		defer snap.Release()
		v.Spec, v.Manifest, v.Epoch = snap.Spec(), snap.Manifest(), snap.epoch
	}
	return v
}

// ListLengths counts the rows of each list of the generation that is served, by their first lists; none without a model. It
// reads where lists begin, not their rows.
func (n *Node) ListLengths() (of *schemas.Manifest, lengths []int) {
	snap := n.hold()
	if snap == nil {
		return nil, nil
	}
	defer snap.Release()
	mdl := snap.Model()
	if mdl == nil {
		return snap.Manifest(), nil
	}
	lengths = make([]int, mdl.NList())
	for _, p := range snap.Parts() {
		if p.Model != mdl.ID() {
			continue
		}
		for list := p.FirstList; list < p.EndList; list++ {
			start, end := p.ListRange(list)
			lengths[list] += end - start
		}
	}
	return snap.Manifest(), lengths
}

package build

import (
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/schemas"
)

// heldPart is a segment or chunk of the current generation: opened, with its dead rows.
type heldPart struct {
	*replica.Part
	segment *schemas.Segment // exactly one of segment and chunk is set
	chunk   *schemas.Chunk
	dead    *roaring.Bitmap
	busy    bool // input of a running job
}

func (p *heldPart) live() int { return p.N - int(p.dead.GetCardinality()) }

// place is where the live version of an id lies.
type place struct {
	part *heldPart
	row  uint32
}

// ledger knows the live version of each id, and the deletes that could still meet an older version of theirs.
// Every id is in at most one of live and gone. Not for concurrent use.
//
// Keys are the ledger's own copies: a part's ids alias a mapping that ends before the map does. Since assigning to a
// key that is there already may replace its bytes, places are changed through their pointer.
type ledger struct {
	live  map[string]*place
	gone  map[string]segment.Order
	moved int64 // versions that came from another partition than the one before: a producer broke the rule
	dirty bool  // dead rows changed since the flag was last cleared
}

func newLedger() *ledger {
	return &ledger{live: map[string]*place{}, gone: map[string]segment.Order{}}
}

// known returns the order of the newest version of id, deleted or not.
func (l *ledger) known(id string) (order segment.Order, ok bool) {
	if at, ok := l.live[id]; ok {
		return at.part.OrderAt(int(at.row)), true
	}
	order, ok = l.gone[id]
	return order, ok
}

func (l *ledger) kill(at place) {
	at.part.dead.Add(at.row)
	l.dirty = true
}

// upsert takes in row of part: it becomes the live version of its id, or is dead on arrival.
func (l *ledger) upsert(part *heldPart, row uint32) {
	id, order := part.IDAt(int(row)), part.OrderAt(int(row))
	here := place{part, row}
	old, isLive := l.live[id]
	if known, ok := l.known(id); ok {
		if known.Partition != order.Partition {
			l.moved++
		}
		if order.Compare(known) < 0 {
			l.kill(here)
			return
		}
	}
	if isLive {
		l.kill(*old)
		*old = here
		return
	}
	delete(l.gone, id)
	l.live[strings.Clone(id)] = &here
}

// remove takes in a delete.
func (l *ledger) remove(t segment.Tombstone) {
	if known, ok := l.known(t.ID); ok {
		if known.Partition != t.Order.Partition {
			l.moved++
		}
		if t.Order.Compare(known) <= 0 {
			return
		}
	}
	if at, ok := l.live[t.ID]; ok {
		l.kill(*at)
		delete(l.live, t.ID)
	}
	l.gone[strings.Clone(t.ID)] = t.Order
}

// restore takes in the rows of a part of a published generation, whose dead rows are known.
func (l *ledger) restore(part *heldPart) {
	for row := range part.N {
		if !part.dead.ContainsInt(row) {
			l.live[strings.Clone(part.IDAt(row))] = &place{part, uint32(row)}
		}
	}
}

// replace moves live rows from the inputs of a job to its outputs. A row whose id has got a newer version, or was
// deleted, while the job ran is dead in the output.
func (l *ledger) replace(inputs map[*heldPart]bool, outputs []*heldPart) {
	for _, part := range outputs {
		for row := range part.N {
			id := part.IDAt(row)
			if at, ok := l.live[id]; ok && inputs[at.part] {
				*at = place{part, uint32(row)}
				continue
			}
			l.kill(place{part, uint32(row)})
		}
	}
	l.dirty = true // bitmaps of the inputs are gone
}

// tombstones lists the deletes that must be kept.
func (l *ledger) tombstones() []segment.Tombstone {
	all := make([]segment.Tombstone, 0, len(l.gone))
	for id, order := range l.gone {
		all = append(all, segment.Tombstone{ID: id, Order: order})
	}
	return all
}

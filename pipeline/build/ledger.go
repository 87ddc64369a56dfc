package build

import (
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// heldPart is a segment or chunk of the current generation: opened, with its dead rows.
type heldPart struct {
	*replica.Part
	segment *schemas.Segment // exactly one of segment and chunk is set
	chunk   *schemas.Chunk
	dead    *roaring.Bitmap
	number  uint32 // by which deltaIDs knows it
	busy    bool   // input of a running job
}

func (p *heldPart) live() int { return p.N - int(p.dead.GetCardinality()) }

// place is where the live version of an id lies.
type place struct {
	part *heldPart
	row  uint32
}

// ledger knows the live version of each id, and the deletes that could still meet an older version of theirs.
// Every id is in at most one of live rows and gone. Not for concurrent use.
//
// It holds no ids of rows: tables of hashes, in files, lead to the rows, whose parts have the ids and are mapped. Rows
// of the base have a table that is made once, beside the main loop, and stays as it is until the base is rewritten; all other
// rows have one that changes with each commit. An id that is live in the one is not in the other, or dead there.
type ledger struct {
	cache  *store.Cache
	loads  int32 // partitions from here on are of loads; 0 for none
	hash   idHash
	base   *baseIDs
	deltas *deltaIDs
	live   int
	gone   map[string]segment.Order
	moved  int64 // versions that came from another partition than the one before: a producer broke the rule
	dirty  bool  // dead rows changed since the flag was last cleared
}

func newLedger(c *store.Cache, spec *schemas.Spec) (*ledger, error) {
	l, err := newLedgerBy(c, newIDHash())
	if err == nil && spec.Loads > 0 {
		l.loads = int32(spec.LoadPartition(0, 0))
	}
	return l, err
}

func newLedgerBy(c *store.Cache, hash idHash) (*ledger, error) {
	base, err := newBaseIDs(c, hash, nil)
	if err != nil {
		return nil, err
	}
	return &ledger{cache: c, hash: hash, base: base, deltas: newDeltaIDs(c, hash), gone: map[string]segment.Order{}}, nil
}

// release gives the memory of the tables back.
func (l *ledger) release() {
	l.base.release()
	l.deltas.release()
}

// found is the live row of an id.
type found struct {
	place
	inDeltas bool
	slot     uint64 // if so
}

func (l *ledger) find(id string, h uint64) (f found, ok bool) {
	if f.place, f.slot, f.inDeltas = l.deltas.find(id, h); f.inDeltas {
		return f, true
	}
	f.place, ok = l.base.find(id, h)
	return f, ok
}

func (l *ledger) kill(at place) {
	at.part.dead.Add(at.row)
	l.dirty = true
}

// reserve makes room for the rows of parts that are to be folded.
func (l *ledger) reserve(rows int) error { return l.deltas.reserve(rows) }

// add takes in a segment that is folded: upsert follows, for each of its rows.
func (l *ledger) add(part *heldPart) { l.deltas.number(part) }

// noteMove counts a version that came from another partition of the topic than the one that is known.
func (l *ledger) noteMove(known, order segment.Order) {
	loaded := l.loads > 0 && max(known.Partition, order.Partition) >= l.loads
	if known.Partition != order.Partition && !loaded {
		l.moved++
	}
}

// upsert takes in row of part: it becomes the live version of its id, or is dead on arrival.
func (l *ledger) upsert(part *heldPart, row uint32) {
	id, order := part.IDAt(int(row)), part.OrderAt(int(row))
	h, here := l.hash.of(id), place{part, row}
	old, isLive := l.find(id, h)
	known, ok := l.gone[id]
	if isLive {
		known, ok = old.part.OrderAt(int(old.row)), true
	}
	if ok {
		l.noteMove(known, order)
		if order.Compare(known) < 0 {
			l.kill(here)
			return
		}
	}
	if !isLive {
		delete(l.gone, id)
		l.live++
		l.deltas.add(h, here)
		return
	}
	l.kill(old.place)
	if old.inDeltas {
		l.deltas.set(old.slot, here)
	} else {
		l.deltas.add(h, here)
	}
}

// remove takes in a delete.
func (l *ledger) remove(t segment.Tombstone) {
	old, isLive := l.find(t.ID, l.hash.of(t.ID))
	known, ok := l.gone[t.ID]
	if isLive {
		known, ok = old.part.OrderAt(int(old.row)), true
	}
	if ok {
		l.noteMove(known, t.Order)
		if t.Order.Compare(known) <= 0 {
			return
		}
	}
	if isLive {
		l.kill(old.place)
		l.live--
		if old.inDeltas {
			l.deltas.take(old.slot)
		}
	}
	l.gone[strings.Clone(t.ID)] = t.Order
}

// restore takes in the parts of a published generation, whose dead rows are known, and the table of its chunks into a ledger that
// is empty.
func (l *ledger) restore(parts []*heldPart, base *baseIDs) error {
	l.release()
	l.base, l.hash, l.deltas = base, base.hash, newDeltaIDs(l.cache, base.hash)
	rows := 0
	for _, p := range parts {
		l.live += p.live()
		if p.chunk == nil {
			rows += p.live()
		}
	}
	if err := l.deltas.reserve(rows); err != nil {
		return err
	}
	for _, p := range parts {
		if p.chunk == nil {
			l.deltas.adopt(p)
		}
	}
	return nil
}

// refold is restore for parts whose dead rows are not known: an id is in the base once, and rows of segments meet each other and the
// base as they did when they came. Deletes follow.
func (l *ledger) refold(parts []*heldPart, base *baseIDs) error {
	var segments []*heldPart
	rows := 0
	for _, p := range parts {
		if p.chunk == nil {
			segments = append(segments, p)
			rows += p.N
		}
	}
	if err := l.restore(base.parts, base); err != nil {
		return err
	}
	if err := l.reserve(rows); err != nil {
		return err
	}
	for _, p := range segments {
		l.add(p)
		for row := range p.N {
			l.upsert(p, uint32(row))
		}
	}
	return nil
}

// rebase takes in a base that a rewrite has made of inputs. A row whose id has got a newer version, or was deleted, while the job ran
// is dead in its output. What this takes follows the rows that died since somebody looked last, neither those of the base nor those that
// came.
func (l *ledger) rebase(inputs []jobInput, base *baseIDs) {
	for _, in := range inputs {
		base.bury(in, in.died())
		if in.part.chunk == nil {
			l.deltas.drop(in.part)
		}
	}
	l.base.release()
	l.base = base
	l.dirty = true // bitmaps of the inputs are gone
}

// recoded takes in parts with other codes, each of the rows of one input. Without outputs all rows were dead, and are not looked
// at any more.
func (l *ledger) recoded(inputs []jobInput, outputs []*heldPart) {
	l.base.parts = slices.Clone(l.base.parts)
	for i, part := range outputs {
		part.dead = inputs[i].part.dead
		if at := slices.Index(l.base.parts, inputs[i].part); at >= 0 {
			l.base.parts[at] = part
		}
	}
	l.dirty = true // parts have other names
}

// joined moves live rows from the inputs of a compaction to its outputs. A row whose id has got a newer version, or was
// deleted, while the job ran is dead in the output.
func (l *ledger) joined(inputs map[*heldPart]bool, outputs []*heldPart) {
	for _, part := range outputs {
		l.deltas.number(part)
		for row := range part.N {
			id, here := part.IDAt(row), place{part, uint32(row)}
			if old, slot, ok := l.deltas.find(id, l.hash.of(id)); ok && inputs[old.part] {
				l.deltas.set(slot, here)
				continue
			}
			l.kill(here)
		}
	}
	for part := range inputs {
		l.deltas.forget(part)
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

package build

import (
	"encoding/binary"
	"math/bits"
	"sort"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/pipeline/store"
)

// baseIDs finds the rows of the base by their ids: a hash table of row numbers, that is made once and not changed, in scratch memory or
// in a file that is kept. It has no ids: those are read from the parts, which also say what is dead. It is of all rows of the parts,
// dead or not, so whoever made it has made it for each generation with this base.
//
// A slot is 8 bytes: the lower half of the hash, and the number of the row among all rows of the parts plus one, 0 for an
// empty slot. The upper half of the hash chooses the slot. Before the slots is a header, see keptMagic.
type baseIDs struct {
	table  []byte
	free   func() // the table's memory
	name   string // that the table is kept under, "" while it is not
	slots  []byte
	n      uint64 // slots
	parts  []*heldPart
	starts []int // number of each part's first row, and of all rows
	hash   idHash
}

const baseSlot = 8

// newBaseIDs indexes the rows of parts.
func newBaseIDs(c *store.Cache, hash idHash, parts []*heldPart) (*baseIDs, error) {
	x := baseIDsOf(hash, parts)
	memory, err := c.Scratch(keptHeader + int64(x.n)*baseSlot)
	if err != nil {
		return nil, err
	}
	x.over(memory.Bytes(), memory.Release)
	for i, p := range parts {
		for row := range p.N {
			x.insert(hash.of(p.IDAt(row)), uint32(x.starts[i]+row))
		}
	}
	return x, nil
}

// baseIDsOf is what a table of parts is but for the table.
func baseIDsOf(hash idHash, parts []*heldPart) *baseIDs {
	x := &baseIDs{parts: parts, starts: []int{0}, hash: hash}
	for i, p := range parts {
		x.starts = append(x.starts, x.starts[i]+p.N)
	}
	x.n = uint64(x.rows())*5/4 + 1
	return x
}

func (x *baseIDs) rows() int { return x.starts[len(x.parts)] }

func (x *baseIDs) over(table []byte, free func()) {
	x.table, x.free, x.slots = table, free, table[keptHeader:]
}

func (x *baseIDs) first(h uint64) uint64 {
	hi, _ := bits.Mul64(h, x.n)
	return hi
}

func (x *baseIDs) next(slot uint64) uint64 {
	if slot++; slot == x.n {
		return 0
	}
	return slot
}

func (x *baseIDs) insert(h uint64, number uint32) {
	slot := x.first(h)
	for binary.LittleEndian.Uint32(x.slots[slot*baseSlot+4:]) != 0 {
		slot = x.next(slot)
	}
	binary.LittleEndian.PutUint32(x.slots[slot*baseSlot:], uint32(h))
	binary.LittleEndian.PutUint32(x.slots[slot*baseSlot+4:], number+1)
}

// find returns the row of an id, whose hash is h, unless it is dead.
func (x *baseIDs) find(id string, h uint64) (at place, ok bool) {
	for slot := x.first(h); ; slot = x.next(slot) {
		entry := binary.LittleEndian.Uint64(x.slots[slot*baseSlot:])
		number := int(entry>>32) - 1
		switch {
		case number < 0:
			return place{}, false
		case uint32(entry) == uint32(h):
			if at = x.place(number); !at.part.dead.Contains(at.row) && at.part.IDAt(int(at.row)) == id {
				return at, true
			}
		}
	}
}

func (x *baseIDs) place(number int) place {
	i := sort.Search(len(x.starts), func(i int) bool { return x.starts[i] > number }) - 1
	return place{x.parts[i], uint32(number - x.starts[i])}
}

// bury kills the rows of the ids of rows that have died in a part that x was made of, and notes that it has.
func (x *baseIDs) bury(in jobInput, died *roaring.Bitmap) {
	for row := range roaring.Values(died) {
		id := in.part.IDAt(int(row))
		if at, ok := x.find(id, x.hash.of(id)); ok {
			at.part.dead.Add(at.row)
		}
	}
	in.skip.Or(died)
}

func (x *baseIDs) release() { x.free() }

// deltaIDs finds live rows of other parts: a hash table that grows and of which rows are taken out, in scratch memory too.
//
// A slot is 16 bytes: the hash, the number of the part plus firstPart, and the row. Parts that a job has made others of are forgotten
// at once, however many rows they have: a slot with the number of one is as good as one whose row was taken out.
type deltaIDs struct {
	cache     *store.Cache
	memory    *store.Scratch
	slots     []byte
	mask      uint64      // slots, a power of two, less one
	taken     int         // slots that are not empty
	held      int         // of them those with a row
	parts     []*heldPart // by number; nil for those that were forgotten
	forgotten int         // of parts
	hash      idHash
}

const (
	deltaSlot  = 16
	leastSlots = 1 << 6

	emptySlot = 0
	leftSlot  = 1 // its row was taken out: others may lie behind it
	firstPart = 2

	mostSparse    = 16   // slots for each row, from which on a table is made smaller
	mostForgotten = 1024 // parts that keep their numbers, and one more for each 16 slots
)

func newDeltaIDs(c *store.Cache, hash idHash) *deltaIDs { return &deltaIDs{cache: c, hash: hash} }

// reserve makes room for n more rows: without it, add has none.
func (x *deltaIDs) reserve(n int) error {
	slots := len(x.slots) / deltaSlot
	full := 4*(x.taken+n) > 3*slots
	sparse := slots > mostSparse*max(leastSlots, x.held+n)
	if full || sparse || x.forgotten > mostForgotten+slots/16 {
		return x.remake(n)
	}
	return nil
}

// remake makes a table with room for n more rows, of what is held. Parts get other numbers.
func (x *deltaIDs) remake(n int) error {
	slots := uint64(leastSlots)
	for slots < 2*uint64(x.held+n) {
		slots *= 2
	}
	memory, err := x.cache.Scratch(int64(slots) * deltaSlot)
	if err != nil {
		return err
	}
	was, parts := x.slots, x.parts
	x.slots, x.mask, x.taken = memory.Bytes(), slots-1, x.held
	x.parts, x.forgotten = nil, 0
	for _, part := range parts {
		if part != nil {
			x.number(part)
		}
	}
	for ; len(was) > 0; was = was[deltaSlot:] {
		number := binary.LittleEndian.Uint32(was[8:])
		if number < firstPart || parts[number-firstPart] == nil {
			continue
		}
		slot := x.free(binary.LittleEndian.Uint64(was))
		copy(x.slots[slot*deltaSlot:][:deltaSlot], was)
		binary.LittleEndian.PutUint32(x.slots[slot*deltaSlot+8:], parts[number-firstPart].number)
	}
	x.release()
	x.memory = memory
	return nil
}

// number gives a part its number.
func (x *deltaIDs) number(part *heldPart) {
	part.number = firstPart + uint32(len(x.parts))
	x.parts = append(x.parts, part)
}

// part is that of a slot, nil for one that has no row.
func (x *deltaIDs) part(slot uint64) *heldPart {
	number := binary.LittleEndian.Uint32(x.slots[slot*deltaSlot+8:])
	if number < firstPart {
		return nil
	}
	return x.parts[number-firstPart]
}

// drop takes out all rows of a part.
func (x *deltaIDs) drop(part *heldPart) {
	x.held -= part.live()
	x.forget(part)
}

// forget takes out a part of which no slot has a row any more.
func (x *deltaIDs) forget(part *heldPart) {
	x.parts[part.number-firstPart] = nil
	x.forgotten++
}

// free returns the first slot for a hash that has no row.
func (x *deltaIDs) free(h uint64) uint64 {
	slot := h & x.mask
	for x.part(slot) != nil {
		slot = (slot + 1) & x.mask
	}
	return slot
}

// find returns the row of an id, whose hash is h, and its slot.
func (x *deltaIDs) find(id string, h uint64) (at place, slot uint64, ok bool) {
	if x.held == 0 {
		return place{}, 0, false
	}
	for slot = h & x.mask; ; slot = (slot + 1) & x.mask {
		entry := x.slots[slot*deltaSlot:][:deltaSlot]
		switch number := binary.LittleEndian.Uint32(entry[8:]); {
		case number == emptySlot:
			return place{}, 0, false
		case number >= firstPart && binary.LittleEndian.Uint64(entry) == h:
			at = place{x.parts[number-firstPart], binary.LittleEndian.Uint32(entry[12:])}
			if at.part != nil && at.part.IDAt(int(at.row)) == id {
				return at, slot, true
			}
		}
	}
}

// add takes in a row of an id that has none here. Its part must have a number, and room must have been reserved.
func (x *deltaIDs) add(h uint64, at place) {
	slot := x.free(h)
	if binary.LittleEndian.Uint32(x.slots[slot*deltaSlot+8:]) == emptySlot {
		x.taken++
	}
	x.held++
	binary.LittleEndian.PutUint64(x.slots[slot*deltaSlot:], h)
	x.set(slot, at)
}

// set changes the row of a slot.
func (x *deltaIDs) set(slot uint64, at place) {
	binary.LittleEndian.PutUint32(x.slots[slot*deltaSlot+8:], at.part.number)
	binary.LittleEndian.PutUint32(x.slots[slot*deltaSlot+12:], at.row)
}

// take removes the row of a slot.
func (x *deltaIDs) take(slot uint64) {
	binary.LittleEndian.PutUint32(x.slots[slot*deltaSlot+8:], leftSlot)
	x.held--
}

// adopt takes in the rows of a part that are not dead. Their ids have none here, and room must have been reserved.
func (x *deltaIDs) adopt(part *heldPart) {
	x.number(part)
	for row := range part.N {
		if !part.dead.ContainsInt(row) {
			x.add(x.hash.of(part.IDAt(row)), place{part, uint32(row)})
		}
	}
}

func (x *deltaIDs) release() {
	if x.memory != nil {
		x.memory.Release()
	}
}

package build

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"unsafe"

	"github.com/dchest/siphash"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// idHash hashes ids by a key. Nobody who does not know it can make ids of one hash.
type idHash struct {
	key idKey
	of  func(id string) uint64
}

type idKey [16]byte

func newIDHash() idHash {
	var key idKey
	_, _ = rand.Read(key[:]) // never fails
	return idHashOf(key)
}

func idHashOf(key idKey) idHash {
	k0, k1 := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	return idHash{key, func(id string) uint64 {
		return siphash.Hash(k0, k1, unsafe.Slice(unsafe.StringData(id), len(id)))
	}}
}

// A table of the base is kept in the cache's directory, for the next process. It is a function of the objects that have the rows, and
// of the key of its hash, so it is kept under a name made of theirs, is never changed, and fits whatever generation has this base,
// whoever published it. A process that is killed has either kept it or not.
//
//	bytes  0 to 7   keptMagic
//	       8 to 23  key of the hash
//	      24 to 31  rows
//	      32 to 35  CRC-32C of all other bytes
//	      36 to 63  zero
//	      64 to     slots, 8 bytes each, 5/4 of the rows and one
//
// Numbers are little-endian.
const (
	keptMagic  = "adaids\x00\x01"
	keptHeader = 64
	keptSum    = 32
)

// keptName is what the table of some chunks is kept under.
func keptName(parts []*heldPart) string {
	sum := sha256.New()
	sum.Write([]byte(keptMagic))
	for _, p := range parts {
		sum.Write([]byte(p.chunk.Rows.SHA256))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// keep keeps the table, and reads it from there. The table is as good as before if that fails.
func (x *baseIDs) keep(c *store.Cache) error {
	if len(x.parts) == 0 || x.name != "" {
		return nil
	}
	copy(x.table, keptMagic)
	copy(x.table[8:], x.hash.key[:])
	binary.LittleEndian.PutUint64(x.table[24:], uint64(x.rows()))
	binary.LittleEndian.PutUint32(x.table[keptSum:], keptCRC(x.table))
	name := keptName(x.parts)
	defer c.Hold(name)()
	if err := c.Keep(name, x.table); err != nil {
		return err
	}
	kept, err := keptBaseIDs(c, x.parts)
	if err != nil {
		return err
	}
	if kept.hash.key != x.hash.key { // another process with this directory was faster
		kept.release()
		return nil
	}
	x.release()
	x.over(kept.table, kept.free)
	x.name = name
	return nil
}

// keptBaseIDs is a table that was kept of chunks, store.ErrNotFound if there is none.
func keptBaseIDs(c *store.Cache, parts []*heldPart) (*baseIDs, error) {
	name := keptName(parts)
	m, err := c.Kept(name)
	if err != nil {
		return nil, err
	}
	x, table := baseIDsOf(idHash{}, parts), m.Bytes()
	switch {
	case uint64(len(table)) != keptHeader+x.n*baseSlot:
		err = fmt.Errorf("%d bytes, want %d", len(table), keptHeader+x.n*baseSlot)
	case string(table[:len(keptMagic)]) != keptMagic:
		err = fmt.Errorf("it begins with %q, want %q", table[:len(keptMagic)], keptMagic)
	case binary.LittleEndian.Uint64(table[24:]) != uint64(x.rows()):
		err = fmt.Errorf("%d rows, want %d", binary.LittleEndian.Uint64(table[24:]), x.rows())
	case binary.LittleEndian.Uint32(table[keptSum:]) != keptCRC(table):
		err = errors.New("checksum differs")
	}
	if err != nil {
		m.Release()
		return nil, fmt.Errorf("table of ids %s: %w: %w", name, schemas.ErrCorrupt, err)
	}
	x.hash, x.name = idHashOf(idKey(table[8:24])), name
	x.over(table, m.Release)
	return x, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func keptCRC(table []byte) uint32 {
	sum := crc32.Update(0, castagnoli, table[:keptSum])
	return crc32.Update(sum, castagnoli, table[keptSum+4:])
}

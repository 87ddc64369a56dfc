package ingest

import (
	"encoding/binary"

	"github.com/adastream/adastream/schemas"
)

// Of the format of RFC 8878.
const (
	zstdMagic     = 0xfd2fb528
	zstdSkippable = 0x184d2a50 // with any last 4 bits
	zstdRepeated  = 1          // type of a block that is one byte
	zstdReserved  = 3          // type of no block
)

// maxWindow is what RFC 8878 asks every decoder for. No writer of Arrow needs more: those that know how long a buffer is ask
// for no more than that, the others stay at or below it.
const maxWindow = 8 << 20

// zstdFrames walks the frames of a buffer. A decoder allocates the window that a frame asks for before it has decompressed
// anything, up to 512 MiB, so that is bounded by what the buffer claims, or by [maxWindow].
func (g *guard) zstdFrames(m *metadata, b []byte, claim int64) {
	most := uint64(max(claim, min(maxWindow, g.limits.MaxUncompressed)))
	for len(b) > 0 && m.fault == nil {
		rest, window, ok := zstdFrame(b)
		if !ok {
			m.fail(schemas.ReasonMalformed, "zstd frame is cut or none, with %d bytes of its buffer left", len(b))
		} else if window > most {
			m.fail(schemas.ReasonTooLarge, "zstd frame asks for a window of %d bytes, allowed: %d", window, most)
		}
		b = rest
	}
}

// zstdFrame returns what is behind the first frame of b, and its window in bytes.
func zstdFrame(b []byte) (rest []byte, window uint64, ok bool) {
	ok = true
	take := func(n int) []byte {
		if ok = ok && n <= len(b); !ok {
			return make([]byte, 4)
		}
		field := b[:n]
		b = b[n:]
		return field
	}
	magic := binary.LittleEndian.Uint32(take(4))
	if magic&^0xf == zstdSkippable {
		take(int(binary.LittleEndian.Uint32(take(4))))
		return b, 0, ok
	}
	descriptor := take(1)[0]
	single := descriptor >> 5 & 1 // the window is the size of the content
	if single == 0 {
		w := take(1)[0]
		window = 1 << (10 + w>>3)
		window += window / 8 * uint64(w&7)
	}
	take([]int{0, 1, 2, 4}[descriptor&3]) // number of a dictionary
	var size [8]byte
	copy(size[:], take([]int{int(single), 2, 4, 8}[descriptor>>6]))
	if single == 1 {
		window = binary.LittleEndian.Uint64(size[:])
		if descriptor>>6 == 1 {
			window += 256 // sizes of 2 bytes begin there
		}
	}
	for last := false; ok && !last; {
		head := take(3)
		length := int(head[0])>>3 | int(head[1])<<5 | int(head[2])<<13
		last = head[0]&1 == 1
		switch head[0] >> 1 & 3 {
		case zstdRepeated:
			take(1)
		case zstdReserved:
			ok = false
		default:
			take(length)
		}
	}
	take(int(descriptor>>2&1) * 4) // sum
	return b, window, ok && magic == zstdMagic
}

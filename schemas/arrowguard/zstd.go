package arrowguard

import (
	"github.com/klauspost/compress/zstd"

	"github.com/adastream/adastream/schemas"
)

// Types of blocks in RFC 8878 that have another length than they say.
const (
	zstdRepeated = 1 // is one byte
	zstdReserved = 3 // is none
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
	var header zstd.Header
	b, err := header.DecodeAndStrip(b)
	if err != nil {
		return nil, 0, false
	}
	ok = true
	take := func(n int) (field []byte) {
		if ok = ok && n <= len(b); ok {
			field, b = b[:n], b[n:]
		}
		return field
	}
	if header.Skippable {
		take(int(header.SkippableSize))
		return b, 0, ok
	}
	if window = header.WindowSize; header.SingleSegment {
		window = header.FrameContentSize
	}
	for last := false; !last; {
		head := take(3)
		if !ok {
			return nil, window, false
		}
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
	if header.HasCheckSum {
		take(4)
	}
	return b, window, ok
}

package arrowguard

import (
	"bytes"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestZstdFrames: frames are walked as a decoder reads them, whatever optional fields they have.
func TestZstdFrames(t *testing.T) {
	content := bytes.Repeat([]byte("adastream"), 100_000)
	var streamed bytes.Buffer
	w, err := zstd.NewWriter(&streamed, zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(content, 1000) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	single, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	skippable := []byte{0x57, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}
	for _, test := range []struct {
		frame  []byte
		window uint64
	}{
		{streamed.Bytes(), 1 << 20},
		{single.EncodeAll(content, nil), uint64(len(content))},
		{single.EncodeAll(content[:300], nil), 300},
		{single.EncodeAll(content[:9], nil), 9},
		{skippable, 0},
	} {
		rest, window, ok := zstdFrame(append(slices.Clone(test.frame), "rest"...))
		if !ok || window != test.window || string(rest) != "rest" {
			t.Errorf("window %d, want %d, and %d bytes behind the frame, %v", window, test.window, len(rest), ok)
		}
		for n := range min(len(test.frame), 1000) {
			if _, _, ok := zstdFrame(test.frame[:n]); ok {
				t.Errorf("a frame of %d bytes is whole with %d", len(test.frame), n)
			}
		}
	}
}

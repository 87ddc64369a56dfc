package source

import "testing"

func TestAligned(t *testing.T) {
	for _, n := range []int{0, 1, 7, 63, 64, 65, 1000, 4097, 40_000, 1 << 20} {
		for range 20 {
			p := aligned(n)
			if len(p) != n || n > 0 && misalignment(p) != 0 {
				t.Fatalf("%d bytes: got %d, off by %d", n, len(p), misalignment(p))
			}
			// No room behind that belongs to nobody but costs memory.
			if cap(p) > n+alignment {
				t.Errorf("%d bytes: capacity %d", n, cap(p))
			}
		}
	}
}

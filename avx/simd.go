//go:build amd64 || arm64

package avx

// callElements bounds the elements that one call of a kernel reads. Assembly cannot be
// preempted, so a garbage collection waits for it: 2^17 floats come from memory in some 50 µs.
const callElements = 1 << 17

// One call of an assign kernel goes over groupBytes of centroids, and bandRows rows pass a group before the next one: the group stays in the L2 cache
// of 512 KiB or more beside the rows of the band, instead of coming from L3 for each tile.
const (
	bandRows   = 96 // whole tiles of each height
	groupBytes = 256 << 10
)

// minDotI8 is the shortest row that the int8 kernels of AVX2 and NEON take: one vector.
const minDotI8 = 16

// rowsPerCall returns how many of n rows of dim elements one call takes.
func rowsPerCall(n, dim int) int {
	return min(n, max(4, callElements/dim&^3)) // kernels take rows by four
}

// groupWidth returns the number of centroids, whole panels and an even number of them if more
// than one fits, that one call goes over.
func (p *Panels) groupWidth() int {
	panels := groupBytes / (p.dim * PanelWidth * 4)
	if panels > 1 {
		panels &^= 1
	}
	return max(1, panels) * PanelWidth
}

// Package peak runs the CPU at its limit of fused multiply-adds: the yardstick that
// benchmarks of package avx are held against.
package peak

// What one step computes: 10 instructions of 8 or 16 multiply-adds.
const (
	FlopsPerStep    = 10 * 8 * 2
	FlopsPerStep512 = 10 * 16 * 2
)

// Package peak runs the CPU at its limit of fused multiply-adds: the yardstick that
// benchmarks of package avx are held against.
package peak

// FlopsPerStep is what one step of FMA computes: 10 instructions of 8 multiply-adds.
const FlopsPerStep = 10 * 8 * 2

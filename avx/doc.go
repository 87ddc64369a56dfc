// Package avx holds the hot loops of Adastream: inner products, the assignment of rows to
// centroids, the scan of 4-bit codes and conversions between number formats, each in plain Go
// and in the SIMD instructions of the CPU.
//
// # Levels
//
// Every kernel takes the [Level] to run at. The caller picks one at the start with [Best] and
// passes it on; there is no global state, so two levels can be compared within one process.
// A level other than [Generic] must be [Level.Supported]: at another one CPUs stop with
// an illegal instruction.
//
// Generic is the oracle: it is compiled everywhere, and all levels are tested against it. A
// level need not have kernels of its own for everything: simd_amd64.go and simd_arm64.go, which is where a level is
// added, take those of the one below. AVX-512 has none for conversions, Kth, MaxAbs,
// Scale, Sub, SubtractMins and QuantizeU8, NEON none for Kth, WidenI8, OffsetI8, MaxAbs, Scale, Sub, SubtractMins, PickAlong and those
// that quantize.
//
// # What all kernels promise
//
// They read nothing beyond the slices they are given, keep no reference to them, allocate
// nothing and are safe for concurrent use with distinct outputs. Lengths that do not fit, a
// mistake of the programmer, panic before any element is read. Rows lie stride elements
// apart; rows may overlap and there may be anything in the gaps.
//
// Assembly cannot be preempted. One call into it lasts for some 50 µs at most, whatever the
// number of rows, except that a full [ScanPQ4] of 65536 rows and m = 256 takes 300 µs.
//
// # Agreement between levels
//
// Integer kernels, [AssignI8], [ScoresRowsI8], [QuantizeI8], [QuantizeU8], [Sub], [SubtractMins], [PickAlong]
// and the conversions of halves agree bit for bit. The inner
// products of floats differ by rounding, since levels add in different orders and some round
// a product and its addition at once (FMA). Whatever the order, and with FMA or not, a result
// r for n products and a bias obeys
//
//	|r - exact| <= γ(n+1) * (|bias| + Σ|a_i*b_i|),  γ(k) = k*u / (1 - k*u),  u = 2^-24
//
// (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1) as long as
// nothing over- or underflows, so two levels differ by at most twice the right side. Hence
// [Assign] may name another centroid at another level when two are that close. At one level
// results are reproducible to the bit, wherever a row lies in a batch.
//
// # Generated files
//
// kernels_amd64.s and kernels_amd64.go are written by the generator in gen, a module of its
// own, which knows amd64 only: kernels_arm64.s is written by hand. After a change to the generator
// run go generate in this folder; CI compares its output with the files here.
package avx

//go:generate go -C gen run . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg avx

package avx

import (
	"testing"

	"github.com/adastream/adastream/avx/internal/peak"
)

// BenchmarkPeak measures what the GFLOP/s of BenchmarkAssign cannot exceed at AVX2.
func BenchmarkPeak(b *testing.B) {
	if !AVX2.Supported() {
		b.Skip("needs AVX2")
	}
	const steps = 100_000
	for b.Loop() {
		peak.FMA(steps)
	}
	b.ReportMetric(steps*peak.FlopsPerStep*float64(b.N)/b.Elapsed().Seconds()*1e-9, "GFLOP/s")
}

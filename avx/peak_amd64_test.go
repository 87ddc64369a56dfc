package avx

import (
	"testing"

	"github.com/adastream/adastream/avx/internal/peak"
)

// BenchmarkPeak measures what the GFLOP/s of BenchmarkAssign cannot exceed at a level.
func BenchmarkPeak(b *testing.B) {
	const steps = 100_000
	for _, c := range []struct {
		l     Level
		run   func(steps int)
		flops float64 // of a step
	}{{AVX2, peak.FMA, peak.FlopsPerStep}, {AVX512, peak.FMA512, peak.FlopsPerStep512}} {
		b.Run(c.l.String(), func(b *testing.B) {
			if !c.l.Supported() {
				b.Skipf("needs %v", c.l)
			}
			for b.Loop() {
				c.run(steps)
			}
			b.ReportMetric(steps*c.flops*float64(b.N)/b.Elapsed().Seconds()*1e-9, "GFLOP/s")
		})
	}
}

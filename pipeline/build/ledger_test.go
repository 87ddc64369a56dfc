package build

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/adastream/adastream/index/capacity"
)

// The heap that the ledger takes for its live rows is what adastream plan says, or less: a map that has just doubled takes the most.
func TestLedgerTakesWhatThePlanSays(t *testing.T) {
	for _, n := range []int{100_000, 150_000, 250_000} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		l := newLedger()
		for i := range n {
			l.live[strings.Clone(fmt.Sprintf("%036d", i))] = &place{row: uint32(i)}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		took := float64(after.HeapAlloc - before.HeapAlloc)
		runtime.KeepAlive(l)

		w := capacity.Defaults()
		w.Rows, w.Ladder, w.IDBytes = int64(n), []int{64}, 36
		says := capacity.Of(w).Value("builder", "heap for ids")
		t.Logf("%d rows: %.0f bytes each beside the id, the plan says %.0f", n, took/float64(n)-36, says/float64(n)-36)
		if took > 1.05*says || took < 0.6*says {
			t.Errorf("%d rows take %.0f bytes, the plan says %.0f", n, took, says)
		}
	}
}

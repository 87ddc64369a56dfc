package serve

import (
	"runtime"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
)

// Pages are fetched ahead after a search that missed some, and not for ever.
func TestMissing(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var m missing
	thread, faults := store.MajorFaults()
	if thread == 0 {
		t.Skip("no faults are counted here")
	}
	if m.note(thread+1, faults-1); m.ahead() != nil {
		t.Error("faults of another thread are taken for those of the search")
	}
	if m.ahead() != nil {
		t.Error("fetches ahead although nothing was missing")
	}
	m.note(thread, faults-1) // as if one more had come since
	if m.ahead() == nil {
		t.Error("does not fetch ahead after a page was missing")
	}
	m.until.Add(-int64(missingFor))
	if m.ahead() != nil {
		t.Error("still fetches ahead")
	}
}

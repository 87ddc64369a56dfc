package ingest

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// refusalsEvery is how often the log tells that something was refused.
const refusalsEvery = time.Minute

// refusals has the log tell of what an ingestor refuses, whatever partition it is of: at once, and then how many there were since.
type refusals struct {
	seldom rate.Sometimes
	count  atomic.Int64 // since told
}

func newRefusals() *refusals { return &refusals{seldom: rate.Sometimes{Interval: refusalsEvery}} }

// tell is told what a commit refused, with an example at its begin.
func (r *refusals) tell(log *slog.Logger, bad []Quarantined) {
	if len(bad) == 0 {
		return
	}
	r.count.Add(int64(len(bad)))
	r.seldom.Do(func() {
		log.Warn("refused and kept in quarantine, see adastream quarantine ls", "messages_or_rows", r.count.Swap(0), "reason", bad[0].Reason, "offset", bad[0].Offset, "detail", bad[0].Detail)
	})
}

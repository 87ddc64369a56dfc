package ingest

import (
	"log/slog"
	"sync"
	"time"
)

// refusalsEvery is how often the log tells that something was refused.
const refusalsEvery = time.Minute

// refusals has the log tell of what an ingestor refuses, whatever partition it is of: at once, and then how many there were since.
type refusals struct {
	mu    sync.Mutex
	told  time.Time
	count int // since told
}

// tell is told what a commit refused, with an example at its begin.
func (r *refusals) tell(log *slog.Logger, bad []Quarantined, now time.Time) {
	if len(bad) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count += len(bad)
	if !r.told.IsZero() && now.Sub(r.told) < refusalsEvery {
		return
	}
	log.Warn("refused and kept in quarantine, see adastream quarantine ls", "messages_or_rows", r.count, "reason", bad[0].Reason, "offset", bad[0].Offset, "detail", bad[0].Detail)
	r.told, r.count = now, 0
}

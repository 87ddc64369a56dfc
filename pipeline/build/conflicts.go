package build

import (
	"log/slog"
	"time"
)

// conflictsEvery is how often the log tells that another builder was first.
const conflictsEvery = time.Minute

// conflicts has the log tell of another builder at once, and then how often it was first: two of them meet at each generation, four times
// a second.
type conflicts struct {
	told  time.Time
	count int // since told
}

func (c *conflicts) tell(log *slog.Logger, err error, now time.Time) {
	c.count++
	if !c.told.IsZero() && now.Sub(c.told) < conflictsEvery {
		return
	}
	log.Warn("another builder published first, reloading", "times", c.count, "error", err)
	c.told, c.count = now, 0
}

package build

import (
	"log/slog"
	"time"

	"golang.org/x/time/rate"
)

// conflictsEvery is how often the log tells that another builder was first.
const conflictsEvery = time.Minute

// conflicts has the log tell of another builder at once, and then how often it was first: two of them meet at each generation, four times
// a second.
type conflicts struct {
	seldom rate.Sometimes
	count  int // since told
}

func newConflicts() *conflicts { return &conflicts{seldom: rate.Sometimes{Interval: conflictsEvery}} }

func (c *conflicts) tell(log *slog.Logger, err error) {
	c.count++
	c.seldom.Do(func() {
		log.Warn("another builder published first, reloading", "times", c.count, "error", err)
		c.count = 0
	})
}

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	maxPause = 5 * time.Second
	// corruptTries is after how many reads an object is believed to be corrupt: lines and memory of proxies flip bits too, and
	// a builder ends at a corrupt object for good.
	corruptTries = 3
)

// retry runs op until it returns nil or an error that is neither ErrTransient nor ErrCorrupt, at most tries times, and
// corruptTries with the latter. It returns op's last error; if ctx ended the waiting, with the context's error beside it.
func retry[T any](ctx context.Context, tries int, pause time.Duration, op func() (T, error)) (T, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval = pause
	pauses.MaxInterval = maxPause
	var last error
	corrupt := 0
	v, err := backoff.Retry(ctx, func() (T, error) {
		var v T
		v, last = op()
		if errors.Is(last, ErrCorrupt) {
			corrupt++
		}
		if last != nil && (!errors.Is(last, ErrTransient) && !errors.Is(last, ErrCorrupt) || corrupt == corruptTries) {
			return v, backoff.Permanent(last)
		}
		return v, last
	}, backoff.WithBackOff(pauses), backoff.WithMaxTries(uint(tries)), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return v, nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(last, cause) {
		last = fmt.Errorf("%w (no further try: %w)", last, cause)
	}
	return v, last
}

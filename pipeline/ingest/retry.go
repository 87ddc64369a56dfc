package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Pauses between tries.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
)

// passes says whether an error may pass by itself. Refused credentials and rights count: they are mended outside of
// this process, which should go on then.
func passes(err error) bool {
	for _, class := range []error{
		schemas.ErrTransient, source.ErrTransient, store.ErrTransient,
		source.ErrDenied, store.ErrDenied,
		context.DeadlineExceeded,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// UntilPassed calls op until it succeeds, fails for good, or ctx ends, and tells notify of each failure that passes.
func UntilPassed(ctx context.Context, op func() error, notify func(error)) error {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstPause, maxPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op()
		if err != nil && !passes(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) { notify(err) }))
	return err
}

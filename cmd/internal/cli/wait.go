package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/adastream/adastream/schemas"
)

// Patience is how long a command that is to end waits for what is away, store, broker or node, before it ends with an error: a place that
// is misspelt looks the same. It is enough for one that is started again.
const Patience = time.Minute

// ErrGaveUp is wrapped by the errors of commands whose patience was over.
var ErrGaveUp = fmt.Errorf("no answer within %v", Patience)

// Wait says how what is away is waited for. The zero value has Patience.
type Wait struct {
	Service bool        // go on until the context ends
	Why     func(error) // hears each time why there is a wait, unless it is nil
}

// Until repeats do until it succeeds or fails for a reason that time does not mend, or until there is no more patience.
func (w Wait) Until(ctx context.Context, log *slog.Logger, message string, do func(context.Context) error) error {
	bounded := ctx
	if !w.Service {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeoutCause(ctx, Patience, ErrGaveUp)
		defer cancel()
	}
	var last error
	_, err := backoff.Retry(bounded, func() (struct{}, error) {
		err := do(bounded)
		if err != nil && !errors.Is(err, schemas.ErrTransient) {
			return struct{}{}, backoff.Permanent(err)
		}
		last = err
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, in time.Duration) {
		log.Warn(message, "in", in.Round(time.Millisecond).String(), "error", err)
		if w.Why != nil {
			w.Why(fmt.Errorf("%s: %w", message, err))
		}
	}))
	if err == nil || ctx.Err() != nil || bounded.Err() == nil {
		return err
	}
	if last != nil && (errors.Is(err, ErrGaveUp) || errors.Is(err, context.DeadlineExceeded)) { // it says more
		err = last
	}
	if errors.Is(err, ErrGaveUp) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrGaveUp, err)
}

// Patiently has do end when there is no more patience.
func Patiently(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Patience, ErrGaveUp)
	defer cancel()
	return do(ctx)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adastream/adastream/schemas"
)

// A command that is to end gives up what is away after a while, whether it refuses or is silent, and says why; a service does not.
func TestWait(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	away := fmt.Errorf("connection refused: %w", schemas.ErrTransient)
	refuses := func(context.Context) error { return away }
	silent := func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("get: %w", context.Cause(ctx)) }
	synctest.Test(t, func(t *testing.T) {
		for want, do := range map[string]func(context.Context) error{"connection refused": refuses, "get: ": silent} {
			begun := time.Now()
			err := Wait{}.Until(t.Context(), log, "away", do)
			if !errors.Is(err, ErrGaveUp) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "no answer within 1m0s") {
				t.Errorf("%v, want %q", err, want)
			}
			if took := time.Since(begun); took > Patience {
				t.Errorf("gave up after %v", took)
			}
		}
		for name, do := range map[string]func(context.Context) error{"refuses": refuses, "silent": silent} {
			told := 0
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			begun := time.Now()
			err := Wait{Service: true, Why: func(error) { told++ }}.Until(ctx, log, "away", do)
			cancel()
			if took := time.Since(begun); took != time.Hour || errors.Is(err, ErrGaveUp) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: a service ended after %v: %v", name, took, err)
			}
			if name == "refuses" && told < 10 {
				t.Errorf("told %d times why there is a wait", told)
			}
		}
		if err := (Wait{}).Until(t.Context(), log, "away", func(context.Context) error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, ErrGaveUp) {
			t.Errorf("what time does not mend: %v", err)
		}
		calls := 0
		err := Wait{}.Until(t.Context(), log, "away", func(context.Context) error {
			if calls++; calls < 4 {
				return away
			}
			return nil
		})
		if err != nil {
			t.Errorf("what comes back: %v", err)
		}
	})
}

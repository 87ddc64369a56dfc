package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/follow"
)

// follower follows the model of a shard until it is told to end.
type follower struct {
	*follow.Follower
	every   time.Duration
	kind    string // what the board says it is
	logger  *slog.Logger
	metrics *metrics
	board   *board
}

// modelKind is what following a model is called.
const modelKind = "model"

// run follows until ctx ends, and returns nil then, or until the index is another one. All else is told and tried again: an old model
// costs recall for a while, nothing else.
func (f *follower) run(ctx context.Context) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		err := f.Follow(ctx)
		if errors.Is(err, commit.ErrReplaced) {
			return fmt.Errorf("%w: start again for the one in its place", err)
		}
		if ctx.Err() == nil {
			if err != nil {
				f.logger.Warn("following the model failed", "error", err)
				f.metrics.transient.WithLabelValues(modelKind).Inc()
			}
			f.board.say(f.kind, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

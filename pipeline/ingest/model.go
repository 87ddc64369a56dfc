package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// follower keeps the model of the newest generation of a shard at hand. A segment is written with the one that is current when it
// is cut; until there is one, segments are not assigned to lists.
type follower struct {
	log     *commit.Log
	every   time.Duration
	kind    string // what the board says it is
	logger  *slog.Logger
	metrics *metrics
	board   *board

	current  atomic.Pointer[model.Model]
	manifest atomic.Pointer[schemas.Manifest] // the newest that was seen
}

// modelKind is what following a model is called.
const modelKind = "model"

// run follows until ctx ends. Faults are told and tried again: an old model costs recall for a while, nothing else.
func (f *follower) run(ctx context.Context) {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		if err := f.follow(ctx); ctx.Err() == nil {
			if err != nil {
				f.logger.Warn("following the model failed", "error", err)
				f.metrics.transient.WithLabelValues(modelKind).Inc()
			}
			f.board.say(f.kind, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// follow looks for a newer generation once.
func (f *follower) follow(ctx context.Context) error {
	after := int64(0)
	if m := f.manifest.Load(); m != nil {
		after = m.Generation
	}
	m, err := f.log.Latest(ctx, after)
	if err != nil {
		return fmt.Errorf("newest generation after %d: %w", after, err)
	}
	if m == nil {
		return nil
	}
	if ref := m.Model; ref != nil && (f.current.Load() == nil || f.current.Load().ID() != ref.ID) {
		mdl, err := f.load(ctx, ref)
		if err != nil {
			return fmt.Errorf("generation %d: %w", m.Generation, err)
		}
		f.current.Store(mdl)
		f.logger.Info("following a new model", "model", ref.ID, "generation", m.Generation, "nlist", mdl.NList())
	}
	f.manifest.Store(m)
	return nil
}

func (f *follower) load(ctx context.Context, ref *schemas.ModelRef) (*model.Model, error) {
	data, err := f.log.Bucket().Get(ctx, ref.Key)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != ref.SHA256 {
		return nil, fmt.Errorf("%w: %s: sha256 is %x, its manifest says %s", schemas.ErrCorrupt, ref.Key, sum, ref.SHA256)
	}
	mdl, err := model.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Key, err)
	}
	if mdl.ID() != ref.ID || mdl.Dim() != f.log.Spec().Dim() {
		return nil, fmt.Errorf("%w: %s: model %s of %d dimensions, its manifest says %s", schemas.ErrCorrupt, ref.Key, mdl.ID(), mdl.Dim(), ref.ID)
	}
	return mdl, nil
}

// checkpoint is a position of a partition's chain that is known from the newest generation, 0 if none is.
func (f *follower) checkpoint(partition int) int64 {
	if m := f.manifest.Load(); m != nil {
		return m.Checkpoint[strconv.Itoa(partition)]
	}
	return 0
}

// Package follow keeps the model of the newest generation of a shard at hand, for whoever writes segments.
package follow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// Follower keeps the model. A segment is written with the one that is current when it is cut; until there is one, segments are not
// assigned to lists. One goroutine may follow, and any number ask.
type Follower struct {
	log    *commit.Log
	logger *slog.Logger

	current  atomic.Pointer[model.Model]
	manifest atomic.Pointer[schemas.Manifest] // the newest that was seen, without its parts
	looks    int                              // since the index was last looked at as a whole
}

// unchangedEvery is how many looks for a newer generation there are to one at whether it is still the same index.
const unchangedEvery = 10

// New returns a Follower of a shard. It knows nothing until Follow.
func New(log *commit.Log, logger *slog.Logger) *Follower { return &Follower{log: log, logger: logger} }

// Log is the shard that is followed.
func (f *Follower) Log() *commit.Log { return f.log }

// Model is that of the newest generation that was seen, nil if none was or it has none.
func (f *Follower) Model() *model.Model { return f.current.Load() }

// Follow looks for a newer generation once. Of an index that was removed, or made anew in its place, the error wraps commit.ErrReplaced
// sooner or later, whether anything is written to it or not.
func (f *Follower) Follow(ctx context.Context) error {
	if f.looks++; f.looks > unchangedEvery {
		if err := f.log.Unchanged(ctx); err != nil {
			return err
		}
		f.looks = 0
	}
	after := int64(0)
	if m := f.manifest.Load(); m != nil {
		after = m.Generation
	}
	m, err := f.log.LatestRecord(ctx, after)
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

func (f *Follower) load(ctx context.Context, ref *schemas.ModelRef) (*model.Model, error) {
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

// Checkpoint is a position of a partition's chain that is known from the newest generation, 0 if none is.
func (f *Follower) Checkpoint(partition int) int64 {
	if m := f.manifest.Load(); m != nil {
		return m.Checkpoint[strconv.Itoa(partition)]
	}
	return 0
}

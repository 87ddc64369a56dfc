package replica

import (
	"context"
	"fmt"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Kept reads the manifest of a generation that is not being collected. If there is none, or it is, the error wraps
// store.ErrNotFound.
func Kept(ctx context.Context, log *commit.Log, generation int64) (*schemas.Manifest, error) {
	if err := Missing(ctx, log, generation, nil); err != nil {
		return nil, err
	}
	m, err := log.Manifest(ctx, generation)
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w", generation, err)
	}
	return m, nil
}

// Missing is err, of who reads a generation, unless that generation has been collected meanwhile: then it says so.
func Missing(ctx context.Context, log *commit.Log, generation int64, err error) error {
	c, lookErr := log.Collection(ctx)
	if lookErr != nil {
		return lookErr
	}
	if c != nil && !c.Keeps(generation) {
		return fmt.Errorf("generation %d: it has been collected: %w", generation, store.ErrNotFound)
	}
	return err
}

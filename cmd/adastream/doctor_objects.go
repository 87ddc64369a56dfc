package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// lookers is how many objects are looked for at the same time.
const lookers = 16

// lacking fails if the store does not have what a record of the channel serves: nodes that have it in their caches go on, and one that starts
// without does not get ready. It looks whether objects are there; verify reads them.
func lacking(ctx context.Context, index *commit.Log, now *schemas.Channel) error {
	to, err := index.Resolve(ctx, now)
	for err == nil {
		lost := lost(ctx, to)
		if lost == nil {
			return nil
		}
		var later *commit.Served
		if later, err = index.Follow(ctx, to); err == nil && later == nil {
			return lost
		}
		to = later // what is not served any more may have been collected
	}
	return err
}

// lost fails if the store does not have all that a generation names.
func lost(ctx context.Context, to *commit.Served) error {
	m, err := to.Manifest(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var keys []string
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	for o := range m.Objects() {
		g.Go(func() error {
			_, err := to.Index.Bucket().Stat(ctx, o.Key)
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, o.Key)
			return nil
		})
	}
	if err := g.Wait(); err != nil || len(keys) == 0 {
		return err
	}
	return fmt.Errorf("%s: %w: %d of its objects, as %s: a node without a copy cannot load it; adastream verify names all that is gone", to, store.ErrNotFound, len(keys), slices.Min(keys))
}

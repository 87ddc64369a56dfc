package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// lacking fails if the store does not have what a record of the channel serves: nodes that have it in their caches go on, and one that starts
// without does not get ready. It looks whether objects are there; verify reads them.
func lacking(ctx context.Context, index *commit.Log, now *schemas.Channel) error {
	to, err := index.Resolve(ctx, now)
	for err == nil {
		fault := lost(ctx, to)
		if fault == nil {
			return nil
		}
		var later *commit.Served
		if later, err = index.Follow(ctx, to); err == nil && later == nil {
			return fault
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
	gone, kinds := map[string]bool{}, map[string]bool{}
	for o := range m.Objects() {
		kind, _, _ := strings.Cut(o.Key, "/")
		gone[o.Key], kinds[kind] = true, true
	}
	for kind := range kinds { // a thousand keys a request, where looking for each object would be one
		for info, err := range to.Index.Bucket().List(ctx, kind+"/", "") {
			if err != nil {
				return err
			}
			delete(gone, info.Key)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: %s, such as %s: a node without a copy cannot load it; `adastream verify` lists all that are missing", to, store.ErrNotFound, counted(len(gone), "object"), slices.Min(slices.Collect(maps.Keys(gone))))
}

package storetest

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/adastream/adastream/pipeline/store"
)

// Turncoat is a store that honours put-if-absent until it is told otherwise, on the keys that are probed; others it always honours.
type Turncoat struct {
	store.Bucket
	Overwrites atomic.Bool // what there is
	Away       atomic.Bool // does not answer
}

// PutIfAbsent implements store.Bucket.
func (b *Turncoat) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if !strings.HasPrefix(key, "probe/") {
		return b.Bucket.PutIfAbsent(ctx, key, body)
	}
	if b.Away.Load() {
		return store.ErrTransient
	}
	if b.Overwrites.Load() {
		if err := b.Delete(ctx, key); err != nil {
			return err
		}
	}
	return b.Bucket.PutIfAbsent(ctx, key, body)
}

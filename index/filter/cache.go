package filter

import (
	"context"
	"fmt"
	"math"
	"weak"

	"github.com/maypok86/otter/v2"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
)

// Cache keeps what filters have selected, so that one that is asked for again costs a look-up, and in a new generation
// only what is new there. It is safe for concurrent use.
type Cache struct {
	kept *otter.Cache[key, entry]
}

// key is a filter and what it was applied to, a part or a snapshot. These are told apart as they are here, not by what they are of: a
// part whose file was damaged and one of the same content that was fetched anew differ. The cache keeps none of them.
type key struct {
	filter   string
	part     weak.Pointer[segment.Part]
	snapshot weak.Pointer[snapshot.Snapshot]
}

// entry is one of the two.
type entry struct {
	rows      snapshot.BitSet
	selection *Selection
}

// NewCache makes a cache of at most so many bytes.
func NewCache(maxBytes int64) (*Cache, error) {
	kept, err := otter.New(&otter.Options[key, entry]{
		MaximumWeight: uint64(maxBytes),
		Weigher: func(k key, e entry) uint32 {
			n := 200 + 2*int64(len(k.filter)) + 8*int64(len(e.rows))
			if e.selection != nil {
				n += e.selection.Bytes()
			}
			return uint32(min(n, math.MaxUint32))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("cache of filters: %w", err)
	}
	return &Cache{kept}, nil
}

// Bytes is about what c takes in memory.
func (c *Cache) Bytes() int64 {
	c.kept.CleanUp() // of what was added last
	return int64(c.kept.WeightedSize())
}

// Forget keeps nothing of what has been selected.
func (c *Cache) Forget() {
	c.kept.InvalidateAll()
}

// Select returns the live rows of snap that meet a filter. The only error is that of ctx.
func (c *Cache) Select(ctx context.Context, snap *snapshot.Snapshot, f *Filter) (*Selection, error) {
	k := key{filter: f.text, snapshot: weak.Make(snap)}
	if e, found := c.kept.GetIfPresent(k); found {
		return e.selection, nil
	}
	s, err := Select(ctx, snap, func(p *segment.Part) snapshot.BitSet {
		// Requests that come together read a part once.
		e, _ := c.kept.Get(context.WithoutCancel(ctx), key{filter: f.text, part: weak.Make(p)}, otter.LoaderFunc[key, entry](func(context.Context, key) (entry, error) {
			return entry{rows: f.Match(p)}, nil
		}))
		return e.rows
	})
	if err != nil {
		return nil, err
	}
	c.kept.Set(k, entry{selection: s})
	return s, nil
}

package serve

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// fetchShare is the share of all processors that fetching may take while queries come. Without rests it has a processor for as long as the
// scheduler allows, a hundred times as long as a query, and where queries take four fifths of the processors, more than half of the rest has
// them wait in line.
const fetchShare = 0.1

// beside is how soon one query comes after another where they count as coming all the time.
const beside = 10 * time.Millisecond

// open makes a snapshot of m. Parts that the current generation has too are shared, not opened again, but for those of another
// epoch: they were checked against another spec.
func (n *Node) open(ctx context.Context, to *commit.Served, m *schemas.Manifest) (s *snapshot.Snapshot, fetched int, err error) {
	spec, cache := to.Index.Spec(), n.cache.Of(to.Index.Bucket())
	if n.current.Load() != nil {
		cache = cache.Resting(fetchShare*float64(runtime.GOMAXPROCS(0))/float64(n.openers()), n.asked)
	}
	shared, mdl := n.parts, n.model
	if !n.follows(to.Record.Epoch) {
		shared, mdl = nil, nil
	}
	switch {
	case m.Model == nil:
		mdl = nil
	case mdl == nil || mdl.ID() != m.Model.ID:
		if mdl, err = replica.Model(ctx, cache, *m.Model); err != nil {
			return nil, 0, err
		}
	}
	dead, err := replica.Dead(ctx, cache, m.Dead)
	if err != nil {
		return nil, 0, err
	}
	held, fetched, err := n.openParts(ctx, cache, partsOf(spec, n.o, m, mdl), shared, mdl)
	if err != nil {
		return nil, fetched, err
	}
	opened, parts := make([]*segment.Part, len(held)), make(map[string]*replica.Part, len(held))
	for i, p := range held {
		opened[i], parts[p.key] = p.Part.Part, p.Part
	}
	if s, err = snapshot.Open(spec, m, mdl, opened, dead, func() { release(held) }); err != nil {
		release(held)
		return nil, fetched, err
	}
	n.parts, n.model = parts, mdl
	return s, fetched, nil
}

// asked reports whether queries run, or did a moment ago.
func (n *Node) asked() bool {
	return len(n.running) > 0 || time.Now().UnixNano()-n.admitted.Load() < int64(beside)
}

// wantedPart is a part of a generation, and how it comes here.
type wantedPart struct {
	key  string // of what it is here: with other codes, or turned to other axes, the same rows are another part
	open func(context.Context, *store.Cache) (*replica.Part, error)
}

// partsOf are the parts of a generation in its order.
func partsOf(spec *schemas.Spec, o Options, m *schemas.Manifest, mdl *model.Model) []wantedPart {
	openChunk := replica.Chunk
	if o.Originals == OriginalsLocal {
		openChunk = replica.ChunkWithVectors
	}
	parts := make([]wantedPart, 0, len(m.Chunks)+len(m.Segments))
	for _, c := range m.Chunks {
		parts = append(parts, wantedPart{c.ID + c.Codes.SHA256, func(ctx context.Context, cache *store.Cache) (*replica.Part, error) {
			return openChunk(ctx, cache, spec, c)
		}})
	}
	for _, sg := range m.Segments {
		parts = append(parts, wantedPart{sg.ID + mdl.Axes(), func(ctx context.Context, cache *store.Cache) (*replica.Part, error) {
			return replica.SegmentFor(ctx, cache, spec, o.Level, mdl, sg)
		}})
	}
	return parts
}

// heldPart is a part that a generation holds.
type heldPart struct {
	*replica.Part
	key string
}

func release(held []heldPart) {
	for _, p := range held {
		if p.Part != nil {
			p.Release()
		}
	}
}

// openParts holds all parts, those that are shared and others, and says how many others. Of these several are opened at a time.
func (n *Node) openParts(ctx context.Context, cache *store.Cache, wanted []wantedPart, shared map[string]*replica.Part, mdl *model.Model) (held []heldPart, fetched int, err error) {
	held = make([]heldPart, len(wanted))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(n.openers())
	for i, w := range wanted {
		held[i].key = w.key
		if p := shared[w.key]; p != nil {
			held[i].Part = p.Share()
			continue
		}
		fetched++
		g.Go(func() error {
			p, err := w.open(ctx, cache)
			if err != nil {
				return err
			}
			if mdl != nil && p.Model == mdl.ID() { // else all of it is compared with each query
				p.Scattered()
			}
			held[i].Part = p
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		release(held)
		return nil, fetched, err
	}
	return held, fetched, nil
}

// openers is how many parts are opened at a time. Each is a connection to the store and its checksum: beside queries that must not take
// more than half of the processors, and as long as none are answered the store is what is waited for.
func (n *Node) openers() int {
	if n.current.Load() != nil {
		return max(1, runtime.GOMAXPROCS(0)/2)
	}
	return max(firstOpeners, runtime.GOMAXPROCS(0))
}

// firstOpeners is at least how many parts are opened at a time before there is a generation.
const firstOpeners = 8

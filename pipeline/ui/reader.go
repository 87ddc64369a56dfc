package ui

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// The bounds of what is read for pages: see the package comment.
const (
	storeWait      = 3 * time.Second
	stateFor       = 5 * time.Second
	pagePartitions = 32
	pageRows       = 20 // generations of a page
	keptManifests  = 64
	storeReaders   = 8 // requests at a time
)

// state is what the store says beside what the node serves.
type state struct {
	Served  *commit.Served    // by the channel, nil before the first promotion
	Newest  *schemas.Manifest // generation, promoted or not; nil before the first
	Kept    []int64           // the generations of a page of them, newest first, and one more
	Waiting map[int]time.Time // partitions with commits that no generation has, and since when
}

// index is the one that generations are of: an epoch, or the root.
func (s *state) index(root *commit.Log) *commit.Log {
	if s.Served != nil {
		return s.Served.Index
	}
	return root
}

// reader reads what pages show from the store. Safe for concurrent use.
type reader struct {
	log       *commit.Log // another one once the index was made anew in its place; owned by who holds mu
	manifests *otter.Cache[manifestKey, *schemas.Manifest]

	mu    sync.Mutex // held while the state is read: who comes meanwhile gets the same
	state state
	err   error
	until time.Time
}

type manifestKey struct {
	index      *commit.Log
	generation int64
}

func newReader(log *commit.Log) *reader {
	return &reader{log: log, manifests: otter.Must(&otter.Options[manifestKey, *schemas.Manifest]{MaximumSize: keptManifests})}
}

// now returns the state; with an error the last one that could be read.
func (r *reader) now(ctx context.Context) (state, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		return r.state, r.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait) // others wait for it too
	defer cancel()
	r.state, r.err = r.read(ctx, r.state)
	r.until = time.Now().Add(stateFor)
	return r.state, r.err
}

func (r *reader) read(ctx context.Context, s state) (state, error) {
	if s.Served != nil {
		err := r.log.Still(ctx, s.Served)
		if errors.Is(err, commit.ErrReplaced) {
			var again *commit.Log
			if again, err = r.log.Again(ctx); err == nil {
				r.log, s = again, state{}
			}
		}
		if err != nil {
			return s, fmt.Errorf("read the channel again: %w", err)
		}
	}
	to, err := r.log.Follow(ctx, s.Served)
	if err != nil {
		return s, fmt.Errorf("read the channel: %w", err)
	}
	if to != nil {
		if s.index(r.log) != to.Index {
			s.Newest, s.Kept = nil, nil
		}
		s.Served = to
	}
	index, after := s.index(r.log), int64(0)
	switch {
	case s.Newest != nil:
		after = s.Newest.Generation
	case s.Served != nil:
		after = s.Served.Own.Generation - 1
	}
	newest, err := index.Latest(ctx, after)
	if err != nil {
		return s, fmt.Errorf("read the newest generation: %w", err)
	}
	if newest != nil {
		s.Newest = newest
	}
	if s.Newest != nil {
		if s.Kept, err = index.Kept(ctx, s.Newest.Generation+1, pageRows+1); err != nil {
			return s, fmt.Errorf("read what is kept: %w", err)
		}
	}
	if s.Waiting, err = waiting(ctx, index, s.Newest); err != nil {
		return s, fmt.Errorf("read the commits that wait: %w", err)
	}
	return s, nil
}

// waiting finds the oldest commit of each partition of the topic that a generation does not have.
func waiting(ctx context.Context, index *commit.Log, m *schemas.Manifest) (map[int]time.Time, error) {
	found := map[int]time.Time{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(storeReaders)
	partitions := index.Spec().TopicPartitionsOf(index.Shard())
	for _, p := range partitions[:min(len(partitions), pagePartitions)] {
		g.Go(func() error {
			next := int64(0)
			if m != nil {
				next = commit.CheckpointOf(m, p)
			}
			commits, err := index.Since(ctx, p, next, 1)
			if errors.Is(err, schemas.ErrFenced) { // a newer generation had it, and it was collected
				return nil
			}
			if err != nil {
				return err
			}
			if len(commits) > 0 {
				mu.Lock()
				defer mu.Unlock()
				found[p] = commits[0].Created
			}
			return nil
		})
	}
	return found, g.Wait()
}

// manifest reads a generation of an index. If it does not exist, the error wraps store.ErrNotFound.
func (r *reader) manifest(ctx context.Context, index *commit.Log, generation int64) (*schemas.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	return r.manifests.Get(ctx, manifestKey{index, generation}, otter.LoaderFunc[manifestKey, *schemas.Manifest](
		func(ctx context.Context, k manifestKey) (*schemas.Manifest, error) {
			return k.index.Manifest(ctx, k.generation)
		}))
}

// manifestsOf reads some generations. Those that were collected meanwhile are nil.
func (r *reader) manifestsOf(ctx context.Context, index *commit.Log, generations []int64) ([]*schemas.Manifest, error) {
	found := make([]*schemas.Manifest, len(generations))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(storeReaders)
	for i, generation := range generations {
		g.Go(func() (err error) {
			found[i], err = r.manifest(ctx, index, generation)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	return found, g.Wait()
}

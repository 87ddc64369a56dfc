package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
)

// Index are the flags of what is about one shard, which is the whole index where that has one.
type Index struct {
	Store `group:"Object store:"`
	Shard *int `group:"Object store:" help:"Shard, from 0. Required if the index has several." placeholder:"N"`
}

// OpenIndex opens the shard, to write to it.
func (i Index) OpenIndex(ctx context.Context, log *slog.Logger, wait Wait) (*commit.Log, error) {
	return i.chosen(i.OpenShards(ctx, log, wait))
}

// ReadIndex opens the shard with no more than the right to read.
func (i Index) ReadIndex(ctx context.Context, log *slog.Logger, wait Wait) (*commit.Log, error) {
	return i.chosen(i.ReadShards(ctx, log, wait))
}

func (i Index) chosen(shards []*commit.Log, err error) (*commit.Log, error) {
	switch n := len(shards); {
	case err != nil:
		return nil, err
	case i.Shard == nil && n == 1:
		return shards[0], nil
	case i.Shard == nil:
		return nil, Usage(fmt.Errorf("--shard: missing, the index has %d shards, allowed: 0 to %d", n, n-1))
	case *i.Shard < 0 || *i.Shard >= n:
		return nil, noShard(*i.Shard, n)
	}
	return shards[*i.Shard], nil
}

func noShard(shard, of int) error {
	return Usage(fmt.Errorf("--shard %d: the index has %d shards, allowed: 0 to %d", shard, of, of-1))
}

// Shards is the flag of daemons that may work on some shards only.
type Shards struct {
	Shard []int `help:"Shards to work on, from 0. Default: all of the index." placeholder:"N"`
}

// Of picks them, ascending.
func (s Shards) Of(shards []*commit.Log) ([]*commit.Log, error) {
	if len(s.Shard) == 0 {
		return shards, nil
	}
	var chosen []*commit.Log
	for _, n := range slices.Compact(slices.Sorted(slices.Values(s.Shard))) {
		if n < 0 || n >= len(shards) {
			return nil, noShard(n, len(shards))
		}
		chosen = append(chosen, shards[n])
	}
	return chosen, nil
}

// Scope is what a role has for itself for each shard that it works on.
type Scope struct {
	Index    *commit.Log
	Cache    *store.Cache
	Logger   *slog.Logger
	Registry *prometheus.Registry
}

// Scopes makes them. Where the index has several shards each has a folder of the cache and an equal share of its bytes, and logs
// and metrics say which one they are about.
func (c Cache) Scopes(role string, shards []*commit.Log, log *slog.Logger, registry *prometheus.Registry) ([]Scope, error) {
	var scopes []Scope
	for _, index := range shards {
		share := Cache{c.CacheDir, Share(c.CacheBytes, len(shards))}
		s, folder := Scope{Index: index, Logger: log, Registry: registry}, role
		if n := strconv.Itoa(index.Shard()); index.Spec().Shards > 1 {
			folder += "-" + n
			s.Logger, s.Registry = log.With("shard", index.Shard()), prometheus.NewRegistry()
			if err := prometheus.WrapRegistererWith(prometheus.Labels{"shard": n}, registry).Register(s.Registry); err != nil {
				return nil, err
			}
		}
		var err error
		if s.Cache, err = share.Open(folder, index.Bucket(), s.Logger); err != nil {
			return nil, err
		}
		scopes = append(scopes, s)
	}
	return scopes, nil
}

// Share is what each of n may have of a bound for all of them: of one there is, something, as 0 is no bound.
func Share(bound int64, n int) int64 {
	return max(min(bound, 1), bound/int64(max(1, n)))
}

// RunAll runs what works on shards until all have ended, and joins their errors: one that fails does not end the others.
func RunAll(ctx context.Context, runs []func(context.Context) error) error {
	errs := make([]error, len(runs))
	var running sync.WaitGroup
	for i, run := range runs {
		running.Go(func() { errs[i] = run(ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}

// AllReady joins what is wrong with each.
func AllReady(ready []func() error) func() error {
	return func() error {
		var faults []error
		for _, r := range ready {
			faults = append(faults, r())
		}
		return errors.Join(faults...)
	}
}

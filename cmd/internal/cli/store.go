package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
)

// Store are the flags of the object store.
type Store struct {
	Store   string `help:"Object store: s3://bucket/prefix, file:///dir or a path. Parameters of s3: endpoint=http://host:port, region=, path-style=true, sse=s3 or kms, kms-key=. Credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the shared credentials file, or the role of the pod or machine." required:"" placeholder:"URL"`
	StoreCA string `help:"PEM file of the certificate authorities to trust for https endpoints instead of the system's. Reloaded when it changes." name:"store-ca" type:"existingfile" placeholder:"FILE"`
}

// Open opens the bucket and makes sure that it honours put-if-absent, which takes the right to put and delete. A store that
// is away is waited for; one that lies, or refuses us, is an error at once.
func (s Store) Open(ctx context.Context, log *slog.Logger, wait Wait) (store.Bucket, error) {
	b, err := s.Bucket(ctx, log)
	if err != nil {
		return nil, err
	}
	return b, s.until(ctx, log, wait, b, "store is unavailable, will try again", func(ctx context.Context) error { return store.Probe(ctx, b) })
}

// until is that of wait, whose error says where the store is.
func (s Store) until(ctx context.Context, log *slog.Logger, wait Wait, b store.Bucket, message string, do func(context.Context) error) error {
	err := wait.Until(ctx, log, message, do)
	if errors.Is(err, ErrGaveUp) {
		return fmt.Errorf("--store %s: %w: correct it, or try again when the store is available", b, err)
	}
	return err
}

// Bucket is the one that the flags name. It is not asked anything yet. A file of authorities that is changed, and broken then, goes to log,
// if that is not nil.
func (s Store) Bucket(ctx context.Context, log *slog.Logger) (store.Bucket, error) {
	trusted, err := authorities("store", s.StoreCA, log)
	if err != nil {
		return nil, Usage(err)
	}
	var o store.Options
	if trusted != nil {
		o.Authorities = trusted.Pool
	}
	b, err := store.Open(ctx, s.Store, o)
	if err != nil {
		return nil, Usage(fmt.Errorf("--store: %w", err))
	}
	return b, nil
}

// OpenShards opens the shards of the index that is in the store, in their order, to write to them.
func (s Store) OpenShards(ctx context.Context, log *slog.Logger, wait Wait) ([]*commit.Log, error) {
	b, err := s.Open(ctx, log, wait)
	if err != nil {
		return nil, err
	}
	return s.shards(ctx, b, log, wait)
}

// ReadShards opens the shards of the index that is in the store, in their order, with no more than the right to read.
func (s Store) ReadShards(ctx context.Context, log *slog.Logger, wait Wait) ([]*commit.Log, error) {
	b, err := s.Bucket(ctx, log)
	if err != nil {
		return nil, err
	}
	return s.shards(ctx, b, log, wait)
}

func (s Store) shards(ctx context.Context, b store.Bucket, log *slog.Logger, wait Wait) (shards []*commit.Log, err error) {
	err = s.until(ctx, log, wait, b, "index cannot be read, will try again", func(ctx context.Context) (err error) {
		shards, err = commit.OpenShards(ctx, b)
		return err
	})
	return shards, NoIndex(b, err)
}

// NoIndex is why an index cannot be opened: in words of its own if there is none.
func NoIndex(b store.Bucket, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return Usage(fmt.Errorf("--store %s: no index found: create one with `adastream init`, or correct bucket and prefix", b))
}

// Cache are the flags of the local cache of objects.
type Cache struct {
	CacheDir   string `help:"Directory for local copies of objects. They are disposable. Default: adastream in the user's cache directory." type:"path" default:"${cache_dir}" placeholder:"DIR"`
	CacheBytes int64  `help:"Maximum size of the cache in bytes. 0 is unlimited. A builder caches all objects of a generation; a query node too, but original vectors only with --originals=local." default:"0"`
}

// Validate is asked by the parser of flags.
func (c Cache) Validate() error { return Bound("--cache-bytes", c.CacheBytes) }

// Open makes the cache for one role, so that several roles of a machine can share CacheDir. What is damaged in it is told to log.
func (c Cache) Open(role string, b store.Bucket, log *slog.Logger) (*store.Cache, error) {
	cache, err := store.NewCache(filepath.Join(c.CacheDir, role), b, store.CacheOptions{MaxBytes: c.CacheBytes, Logger: log})
	if err != nil {
		return nil, Usage(fmt.Errorf("--cache-dir: %w", err))
	}
	return cache, nil
}

// cacheDir is the default of --cache-dir.
func cacheDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "adastream")
	}
	return filepath.Join(os.TempDir(), "adastream-cache")
}

// Level is the SIMD level of this machine, or the one that ADASTREAM_SIMD asks for.
func Level(log *slog.Logger) (avx.Level, error) {
	l, err := avx.Best()
	if err != nil {
		return 0, Usage(err)
	}
	log.Debug("kernels", "level", l)
	return l, nil
}

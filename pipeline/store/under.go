package store

import (
	"context"
	"io"
	"iter"
	"strings"
)

// Under is what lies in a folder of b, as a bucket of its own: the same objects that Open finds at the place of b with the
// folder appended.
func Under(b Bucket, folder string) Bucket { return under{b, folder + "/"} }

type under struct {
	outer  Bucket
	prefix string // ends in '/'
}

func (u under) String() string { return u.outer.String() + "/" + strings.TrimSuffix(u.prefix, "/") }

// PutIfAbsent implements Bucket.
func (u under) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	return u.outer.PutIfAbsent(ctx, u.prefix+key, body)
}

// Get implements Bucket.
func (u under) Get(ctx context.Context, key string) ([]byte, error) {
	if err := begin(ctx, key); err != nil {
		return nil, err
	}
	return u.outer.Get(ctx, u.prefix+key)
}

// Open implements Bucket.
func (u under) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if err := begin(ctx, key); err != nil {
		return nil, 0, err
	}
	return u.outer.Open(ctx, u.prefix+key)
}

// Range implements Bucket.
func (u under) Range(ctx context.Context, key string, at, n int64) ([]byte, error) {
	if err := begin(ctx, key); err != nil {
		return nil, err
	}
	return u.outer.Range(ctx, u.prefix+key, at, n)
}

// Stat implements Bucket.
func (u under) Stat(ctx context.Context, key string) (Info, error) {
	if err := begin(ctx, key); err != nil {
		return Info{}, err
	}
	info, err := u.outer.Stat(ctx, u.prefix+key)
	info.Key = strings.TrimPrefix(info.Key, u.prefix)
	return info, err
}

// List implements Bucket.
func (u under) List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error] {
	if startAfter != "" {
		startAfter = u.prefix + startAfter
	}
	return func(yield func(Info, error) bool) {
		for info, err := range u.outer.List(ctx, u.prefix+prefix, startAfter) {
			info.Key = strings.TrimPrefix(info.Key, u.prefix)
			if !yield(info, err) {
				return
			}
		}
	}
}

// Delete implements Bucket.
func (u under) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	return u.outer.Delete(ctx, u.prefix+key)
}

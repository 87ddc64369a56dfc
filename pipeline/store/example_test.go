package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/adastream/adastream/pipeline/store"
)

// Two writers race for the next generation. Which one wins is settled by the store alone.
func ExampleBucket() {
	ctx := context.Background()
	b := store.NewMemory()
	const next = "manifests/00000000000000000007"
	for _, writer := range []string{"builder-a", "builder-b"} {
		err := b.PutIfAbsent(ctx, next, []byte(writer))
		switch {
		case err == nil:
			fmt.Println(writer, "published")
		case errors.Is(err, store.ErrExists):
			winner, _ := b.Get(ctx, next)
			fmt.Println(writer, "reloads: was beaten by", string(winner))
		}
	}
	// Output:
	// builder-a published
	// builder-b reloads: was beaten by builder-a
}

// A daemon probes its store before it trusts it.
func ExampleProbe() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "adastream")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	b, err := store.Open(ctx, "file://"+dir, store.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(store.Probe(ctx, b))
	// Output: <nil>
}

// Chunks are mapped from a local cache of verified files.
func ExampleCache() {
	ctx := context.Background()
	b := store.NewMemory()
	body := []byte("rows of a chunk")
	ref := store.Ref{Key: "chunks/1", Size: int64(len(body)), SHA256: fmt.Sprintf("%x", sha256.Sum256(body))}
	if err := b.PutIfAbsent(ctx, ref.Key, body); err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "adastream")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	cache, err := store.NewCache(dir, b, store.CacheOptions{MaxBytes: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	chunk, err := cache.Fetch(ctx, ref)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer chunk.Release()
	fmt.Printf("%s, %d downloaded\n", chunk.Bytes(), cache.Stats().Downloads)
	// Output: rows of a chunk, 1 downloaded
}

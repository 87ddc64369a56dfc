package store_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
)

// The directory, or the S3 server of ADASTREAM_TEST_S3: one conditional put, and one read into memory.
func BenchmarkBucket(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 20} {
		body := make([]byte, size)
		b.Run(fmt.Sprintf("put %d KiB", size>>10), func(b *testing.B) {
			bucket := storetest.Open(b)
			b.SetBytes(int64(size))
			for n := 0; b.Loop(); n++ {
				if err := bucket.PutIfAbsent(b.Context(), fmt.Sprint("put/", n), body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("get %d KiB", size>>10), func(b *testing.B) {
			bucket := storetest.Open(b)
			if err := bucket.PutIfAbsent(b.Context(), "get", body); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := bucket.Get(b.Context(), "get"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Fetches of a cached object: verified and mapped, mapped anew each time, and from an earlier process.
func BenchmarkCache(b *testing.B) {
	const size = 16 << 20
	bucket, dir := store.NewMemory(), b.TempDir()
	body := make([]byte, size)
	ref := refTo("k", body)
	if err := bucket.PutIfAbsent(b.Context(), ref.Key, body); err != nil {
		b.Fatal(err)
	}
	open := func() *store.Cache {
		c, err := store.NewCache(dir, bucket, store.CacheOptions{})
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	fetch := func(c *store.Cache) *store.Mapped {
		m, err := c.Fetch(b.Context(), ref)
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	b.Run("mapped", func(b *testing.B) {
		c := open()
		defer fetch(c).Release()
		for b.Loop() {
			fetch(c).Release()
		}
	})
	b.Run("map", func(b *testing.B) {
		c := open()
		fetch(c).Release()
		for b.Loop() {
			fetch(c).Release()
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			fetch(open()).Release()
		}
	})
	b.Run("download", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if err := os.RemoveAll(dir); err != nil {
				b.Fatal(err)
			}
			fetch(open()).Release()
		}
	})
}

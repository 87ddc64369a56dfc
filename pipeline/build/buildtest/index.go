// Package buildtest makes small indexes as ingestors and builders make them, for the tests of what reads or mends them.
package buildtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Create makes an index without rows in a bucket.
func Create(t testing.TB, b store.Bucket, spec *schemas.Spec) *commit.Log {
	t.Helper()
	if err := commit.Create(t.Context(), b, spec); err != nil {
		t.Fatal(err)
	}
	log, err := commit.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// Cache is an empty one that lives as long as t.
func Cache(t testing.TB, b store.Bucket) *store.Cache {
	t.Helper()
	c, err := store.NewCache(t.TempDir(), b, store.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Append writes the objects of a commit that says which records it has, and appends it. Of rows and stones there may be none;
// refused is the body of its quarantine, unless nil, and reasons how many are in it for which reason.
func Append(t testing.TB, log *commit.Log, c *schemas.Commit, rows *segment.Rows, stones []segment.Tombstone, refused []byte, reasons map[string]int) {
	t.Helper()
	AppendBy(t, log, nil, c, rows, stones, refused, reasons)
}

// AppendBy is Append of an ingestor that knows a model.
func AppendBy(t testing.TB, log *commit.Log, mdl *model.Model, c *schemas.Commit, rows *segment.Rows, stones []segment.Tombstone, refused []byte, reasons map[string]int) {
	t.Helper()
	c.Format, c.Writer, c.Created = schemas.CommitFormat, fmt.Sprint("w", c.Start), time.Now().UTC()
	put := func(put func(context.Context, int, int64, []byte) (schemas.Object, error), body []byte, err error) *schemas.Object {
		if err != nil {
			t.Fatal(err)
		}
		o, err := put(t.Context(), c.Partition, c.Start, body)
		if err != nil {
			t.Fatal(err)
		}
		return &o
	}
	if c.Rows = rows.Len(); c.Rows > 0 {
		if mdl != nil {
			c.Model = mdl.ID()
		}
		body, err := segment.Write(log.Spec(), mdl, avx.Generic, rows)
		c.Segment = put(log.PutSegment, body, err)
	}
	if c.Deletes = len(stones); c.Deletes > 0 {
		body, err := segment.WriteTombstones(stones)
		c.Tombstones = put(log.PutTombstones, body, err)
	}
	if refused != nil {
		c.Quarantine, c.Quarantined = put(log.PutQuarantine, refused, nil), reasons
	}
	if err := log.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// Build runs builders that train with a few hundred rows until the newest generation has folded all commits, is done and is served, unless
// it is held back. It returns the newest one when the last of them has stopped: a builder that is stopped after it was done may have
// published one more generation, and not come to have it served, which the next one does.
func Build(t testing.TB, log *commit.Log, done func(*schemas.Manifest) bool) *schemas.Manifest {
	t.Helper()
	is := func() (*schemas.Manifest, bool) {
		m := folded(t, log)
		return m, m != nil && done(m) && served(t, log, m)
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		b, err := build.New(build.Options{Log: log, Cache: Cache(t, log.Bucket()), Level: avx.Generic, PublishEvery: time.Millisecond, MinTrainRows: 300, RewriteRows: 100})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		for built := false; !built && time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
			_, built = is()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if m, built := is(); built {
			return m
		}
	}
	t.Fatal("not built within a minute")
	return nil
}

// Collect removes all garbage of an index in which nothing else is done at the moment: only the newest generation and the one that
// is served are kept.
func Collect(t testing.TB, log *commit.Log) *commit.Collected {
	t.Helper()
	found, err := log.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	report, err := log.Collect(t.Context(), commit.CollectOptions{Found: found, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// served reports whether builders have nothing left to promote when m is the newest generation.
func served(t testing.TB, log *commit.Log, m *schemas.Manifest) bool {
	t.Helper()
	c, err := log.Channel(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	heldBack := m.Quality != nil && !m.Quality.Promoted
	return heldBack || c != nil && (c.HoldsBuilders() || c.Generation >= m.Generation)
}

// folded is the newest generation, or nil if it misses a commit.
func folded(t testing.TB, log *commit.Log) *schemas.Manifest {
	t.Helper()
	m, err := log.Latest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if m == nil {
		return nil
	}
	for _, p := range log.Partitions() {
		head, err := log.Head(t.Context(), p, 0)
		if err != nil {
			t.Fatal(err)
		}
		if m.Checkpoint[fmt.Sprint(p)] != head.Next {
			return nil
		}
	}
	return m
}

package formats_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/verify"
	"github.com/adastream/adastream/schemas"
)

// index is one in a bucket, with an epoch in it.
type index struct {
	*testing.T
	bucket store.Bucket
	log    *commit.Log
}

func (x *index) in(bucket store.Bucket) *index {
	x.Helper()
	log, err := commit.Open(x.Context(), bucket)
	if err != nil {
		x.Fatal(err)
	}
	return &index{T: x.T, bucket: bucket, log: log}
}

func (x *index) epoch() *index {
	x.Helper()
	log, err := x.log.Epoch(x.Context(), epochName)
	if err != nil {
		x.Fatal(err)
	}
	return &index{T: x.T, bucket: log.Bucket(), log: log}
}

// stored is the index of a folder, in memory.
func stored(t *testing.T, folder string) *index {
	t.Helper()
	b := store.NewMemory()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		key, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return b.PutIfAbsent(t.Context(), filepath.ToSlash(key), body)
	})
	if err != nil {
		t.Fatal(err)
	}
	return (&index{T: t}).in(b)
}

func (x *index) keys(prefix string) []string {
	x.Helper()
	var keys []string
	for info, err := range x.bucket.List(x.Context(), prefix, "") {
		if err != nil {
			x.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func (x *index) get(key string) []byte {
	x.Helper()
	body, err := x.bucket.Get(x.Context(), key)
	if err != nil {
		x.Fatal(err)
	}
	return body
}

// put has a body under a key, whatever was there.
func (x *index) put(key string, body []byte) {
	x.Helper()
	if err := x.bucket.Delete(x.Context(), key); err != nil {
		x.Fatal(err)
	}
	if err := x.bucket.PutIfAbsent(x.Context(), key, body); err != nil {
		x.Fatal(err)
	}
}

func (x *index) newest() *schemas.Manifest {
	x.Helper()
	m, err := x.log.Latest(x.Context(), 0)
	if err != nil || m == nil {
		x.Fatalf("newest generation: %v, %v", m, err)
	}
	return m
}

func (x *index) channel() *schemas.Channel {
	x.Helper()
	c, err := x.log.Channel(x.Context(), 0)
	if err != nil {
		x.Fatal(err)
	}
	return c
}

// model is that of the newest generation, nil for none.
func (x *index) model() *model.Model {
	x.Helper()
	m, err := x.log.Latest(x.Context(), 0)
	if err != nil {
		x.Fatal(err)
	}
	if m == nil || m.Model == nil {
		return nil
	}
	mdl, err := replica.Model(x.Context(), buildtest.Cache(x, x.bucket), *m.Model)
	if err != nil {
		x.Fatal(err)
	}
	return mdl
}

// append adds a commit after those of its partition: of rows, deletes and refused messages there may be none.
func (x *index) append(c schemas.Commit, rows *segment.Rows, stones []segment.Tombstone, refused []ingest.Quarantined) {
	x.Helper()
	head, err := x.log.Head(x.Context(), c.Partition, 0)
	if err != nil {
		x.Fatal(err)
	}
	c.Format, c.Start, c.Writer, c.Created = schemas.CommitFormat, head.Next, fmt.Sprint("w", c.End), time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	put := func(put func(context.Context, int, int64, []byte) (schemas.Object, error), body []byte, err error) *schemas.Object {
		if err != nil {
			x.Fatal(err)
		}
		o, err := put(x.Context(), c.Partition, c.Start, body)
		if err != nil {
			x.Fatal(err)
		}
		return &o
	}
	if rows != nil {
		mdl := x.model()
		if mdl != nil {
			c.Model = mdl.ID()
		}
		body, err := segment.Write(x.log.Spec(), mdl, avx.Generic, rows)
		c.Segment, c.Rows = put(x.log.PutSegment, body, err), rows.Len()
	}
	if stones != nil {
		body, err := segment.WriteTombstones(stones)
		c.Tombstones, c.Deletes = put(x.log.PutTombstones, body, err), len(stones)
	}
	if refused != nil {
		body, err := ingest.WriteQuarantine(refused)
		c.Quarantine, c.Quarantined = put(x.log.PutQuarantine, body, err), map[string]int{}
		for _, q := range refused {
			c.Quarantined[q.Reason]++
		}
	}
	if err := x.log.Append(x.Context(), &c); err != nil {
		x.Fatal(err)
	}
}

// build runs a builder until everything is folded, and there is a base.
func (x *index) build() *schemas.Manifest {
	x.Helper()
	return buildtest.Build(x, x.log, func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
}

func (x *index) verify() (*verify.Report, error) {
	x.Helper()
	return verify.Run(x.Context(), verify.Options{Log: x.log, Cache: buildtest.Cache(x, x.bucket), Level: avx.Generic})
}

// isSound fails the test if verify finds anything.
func (x *index) isSound() {
	x.Helper()
	r, err := x.verify()
	if err != nil {
		x.Fatal(err)
	}
	if len(r.Faults) > 0 || r.Rows != x.newest().LiveRows {
		x.Errorf("%+v", r)
	}
}

// node follows the index until the test ends.
func (x *index) node() *serve.Node {
	x.Helper()
	n, err := serve.New(serve.Options{Log: x.log, Cache: buildtest.Cache(x, x.bucket), Level: avx.Generic, PollEvery: time.Millisecond})
	if err != nil {
		x.Fatal(err)
	}
	ctx, cancel := context.WithCancel(x.Context())
	var g errgroup.Group
	g.Go(func() error { return n.Run(ctx) })
	x.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			x.Error(err)
		}
		n.Close()
	})
	return n
}

// answer is what is kept of one, to be compared.
type answer struct {
	Question json.RawMessage `json:"question"`
	Encoder  string          `json:"encoder"` // that must have answered
	Hits     []hit           `json:"hits"`
}

type hit struct {
	ID         string         `json:"id"`
	Score      float64        `json:"score"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// sameHits: another processor may fuse a product and a sum, so scores may differ in their last bits.
func sameHits(a, b []hit) bool {
	return slices.EqualFunc(a, b, func(a, b hit) bool {
		return a.ID == b.ID && math.Abs(a.Score-b.Score) <= 1e-5*(1+math.Abs(a.Score)) && fmt.Sprint(a.Attributes) == fmt.Sprint(b.Attributes)
	})
}

// ask waits until a node answers.
func (x *index) ask(n *serve.Node, question string) []hit {
	x.Helper()
	var w *httptest.ResponseRecorder
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		w = httptest.NewRecorder()
		n.API().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/search", strings.NewReader(question)))
		if w.Code == http.StatusOK || time.Now().After(deadline) {
			break
		}
	}
	var a struct{ Hits []hit }
	if err := json.Unmarshal(w.Body.Bytes(), &a); w.Code != http.StatusOK || err != nil {
		x.Fatalf("%s: %d %s, %v, %v", question, w.Code, w.Body, err, n.Stale())
	}
	return a.Hits
}

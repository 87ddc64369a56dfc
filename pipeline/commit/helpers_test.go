package commit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
	"github.com/adastream/adastream/schemas"
)

var day = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func testSpec() *schemas.Spec {
	return &schemas.Spec{
		Format: schemas.SpecFormat, Name: "words", Metric: schemas.Cosine, Ladder: []int{64, 128, 256},
		Encoder: "mini <2>", Vectors: schemas.Float16,
		Attributes: []schemas.Attribute{{Name: "title", Type: schemas.AttributeString}, {Name: "year", Type: schemas.AttributeInt}},
		Topic:      schemas.Topic{Name: "embeddings", Cluster: "c-1", ID: "t-1", Partitions: 4},
		Shards:     1, Defaults: schemas.Defaults{TargetRecall: 0.95},
	}
}

// stores are the buckets that the protocol is tested on.
var stores = map[string]func(testing.TB) store.Bucket{
	"memory":  func(testing.TB) store.Bucket { return store.NewMemory() },
	"durable": storetest.Open,
}

// openLog opens the index in b, as a process that has just started does. It makes it if need be.
func openLog(t testing.TB, b store.Bucket) *Log {
	t.Helper()
	if err := Create(t.Context(), b, testSpec()); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// plain is a record without data.
func plain(start, end, watermark int64) *schemas.Commit {
	return &schemas.Commit{Format: schemas.CommitFormat, Start: start, End: end, Watermark: watermark,
		Writer: fmt.Sprintf("w-%d-%d", start, end), Created: day}
}

func mustAppend(t testing.TB, l *Log, records ...*schemas.Commit) {
	t.Helper()
	for _, c := range records {
		if err := l.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

// ranges writes records as text, to compare them.
func ranges(records []*schemas.Commit) string {
	var b strings.Builder
	for _, c := range records {
		fmt.Fprintf(&b, "[%d,%d)", c.Start, c.End)
	}
	return b.String()
}

func mustPutRaw(t testing.TB, b store.Bucket, key string, body []byte) {
	t.Helper()
	if err := b.PutIfAbsent(t.Context(), key, body); err != nil {
		t.Fatal(err)
	}
}

// faulty is a store whose network fails at random. It keeps the promises of store.Bucket for puts, and breaks that of
// listings: they may lack any of the newest objects.
type faulty struct {
	store.Bucket
	refused, lost, stale float64 // probabilities: a put that does not happen, one whose answer is lost, a key that is not listed

	mu   sync.Mutex
	rng  *rand.Rand
	seen map[string]int // faults that happened
}

func newFaulty(b store.Bucket, seed uint64) *faulty {
	return &faulty{Bucket: b, refused: 0.1, lost: 0.2, stale: 0.1, rng: rand.New(rand.NewPCG(seed, 0)), seen: map[string]int{}}
}

func (f *faulty) happens(fault string, probability float64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rng.Float64() >= probability {
		return false
	}
	f.seen[fault]++
	return true
}

func (f *faulty) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if f.happens("refused", f.refused) {
		return fmt.Errorf("put %s: reset by peer: %w", key, store.ErrUnknown)
	}
	err := f.Bucket.PutIfAbsent(ctx, key, body)
	if f.happens("lost", f.lost) {
		return fmt.Errorf("put %s: no answer: %w", key, store.ErrUnknown)
	}
	return err
}

func (f *faulty) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range f.Bucket.List(ctx, prefix, startAfter) {
			if err == nil && f.happens("stale", f.stale) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// hooked calls back around requests.
type hooked struct {
	store.Bucket
	beforePut, beforeDelete func(key string)
	onGet                   func(key string) error // an error is the answer
	onList                  func(prefix string)
}

func (h hooked) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if h.beforePut != nil {
		h.beforePut(key)
	}
	return h.Bucket.PutIfAbsent(ctx, key, body)
}

func (h hooked) Delete(ctx context.Context, key string) error {
	if h.beforeDelete != nil {
		h.beforeDelete(key)
	}
	return h.Bucket.Delete(ctx, key)
}

func (h hooked) Get(ctx context.Context, key string) ([]byte, error) {
	if h.onGet != nil {
		if err := h.onGet(key); err != nil {
			return nil, err
		}
	}
	return h.Bucket.Get(ctx, key)
}

func (h hooked) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	if h.onList != nil {
		h.onList(prefix)
	}
	return h.Bucket.List(ctx, prefix, startAfter)
}

// lacking is a store whose listings lack some keys.
type lacking struct {
	store.Bucket
	hides func(key string) bool
}

func (b lacking) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range b.Bucket.List(ctx, prefix, startAfter) {
			if (err != nil || !b.hides(info.Key)) && !yield(info, err) {
				return
			}
		}
	}
}

// gate holds back the puts below a prefix until n of them are there, so that they race for certain.
func gate(b store.Bucket, prefix string, n int) store.Bucket {
	var arrived sync.WaitGroup
	arrived.Add(n)
	return hooked{Bucket: b, beforePut: func(key string) {
		if strings.HasPrefix(key, prefix) {
			arrived.Done()
			arrived.Wait()
		}
	}}
}

// again repeats what a caller repeats: whatever failed for now.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, schemas.ErrTransient) {
			return err
		}
	}
}

func listKeys(t testing.TB, b store.Bucket, prefix string) []string {
	t.Helper()
	var keys []string
	for info, err := range b.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

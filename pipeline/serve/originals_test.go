package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
	"github.com/adastream/adastream/schemas"
)

// flaky is a store whose ranges fail, or hang, while fail is there.
type flaky struct {
	store.Bucket
	fail   atomic.Pointer[func(ctx context.Context, key string) error]
	ranges atomic.Int64
}

func (f *flaky) Range(ctx context.Context, key string, at, n int64) ([]byte, error) {
	f.ranges.Add(1)
	if fail := f.fail.Load(); fail != nil {
		if err := (*fail)(ctx, key); err != nil {
			return nil, err
		}
	}
	return f.Bucket.Range(ctx, key, at, n)
}

func (f *flaky) fails(fail func(ctx context.Context, key string) error) { f.fail.Store(&fail) }

// far is two nodes that serve the same rows of an index with a base, one with originals and one that reads them in the store: a real one.
type far struct {
	*publisher
	bucket       *flaky
	near, remote *Node
}

const farRows = 3000

func newFar(t testing.TB, prefix schemas.PrefixMode, vectors schemas.VectorType, rows int) *far {
	t.Helper()
	spec := schemas.Spec{Name: "test", Prefix: prefix, Ladder: []int{8, testDim}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 1}, Vectors: vectors,
		Attributes: []schemas.Attribute{{Name: "color", Type: schemas.AttributeString}}}.WithDefaults()
	f := &far{bucket: &flaky{Bucket: storetest.Open(t)}}
	f.publisher = newPublisherIn(t, f.bucket, &spec)
	f.publisher.color = func(row int) string { return fmt.Sprint("color ", row%5) }
	mdl := trainModel(t, f.log.Spec(), 1)
	o, err := f.log.PutModel(t.Context(), mdl)
	if err != nil {
		t.Fatal(err)
	}
	f.m.Model = &schemas.ModelRef{ID: mdl.ID(), Object: o, TrainedRows: mdl.TrainedRows(), NList: mdl.NList()}
	if chunks := f.chunks(mdl, 0, rows, int64(rows)*10); len(chunks) < 3 {
		t.Fatalf("%d chunks", len(chunks))
	}
	f.putBy(mdl, rows, rows+50)
	f.m.Plans = []schemas.PlanPoint{
		{NProbe: 1, ScanDims: testDim, Refine: 20, Recall: 0.5, Low: 0.5, Lists: 1, Bytes: 1000, Micros: 10},
		{NProbe: 4, ScanDims: testDim, Refine: 40, Recall: 0.97, Low: 0.96, Lists: 4, Bytes: 4000, Micros: 20},
		{NProbe: 4, ScanDims: testDim, Refine: 40, Originals: true, Recall: 0.999, Low: 0.998, Lists: 4, Bytes: 5000, Micros: 30},
	}
	f.near, f.remote = f.node(Options{}), f.node(Options{Originals: OriginalsRemote, Timeout: 2 * time.Minute})
	f.remote.originals.wait = time.Minute // however busy this machine is
	f.publish()
	f.await(f.near, f.m.Generation)
	f.await(f.remote, f.m.Generation)
	return f
}

func (f *far) lacking(reason string) float64 {
	return testutil.ToFloat64(f.remote.metrics.originalsLacking.WithLabelValues(reason))
}

// asked is the answer of a node to a query that is near a row.
func asked(t testing.TB, n *Node, row int, how string) answerJSON {
	t.Helper()
	w := call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"k":10,%s}`, vectorJSON(unit(row)), how))
	return decodeAnswer(t, w)
}

// sameHits compares ids and scores.
func sameHits(t *testing.T, what string, got, want answerJSON) {
	t.Helper()
	if !slices.EqualFunc(got.Hits, want.Hits, func(a, b struct {
		ID         string         `json:"id"`
		Score      float32        `json:"score"`
		Attributes map[string]any `json:"attributes"`
		Vector     []float32      `json:"vector"`
	}) bool {
		return a.ID == b.ID && a.Score == b.Score
	}) || len(want.Hits) == 0 {
		t.Fatalf("%s: %+v, want %+v", what, got, want)
	}
}

// A node that reads originals in the store answers as one that has them, whatever the query says, and reads none where int8 rows do.
func TestOriginals_remoteAnswersAsLocal(t *testing.T) {
	for _, prefix := range []schemas.PrefixMode{schemas.PrefixNative, schemas.PrefixRotate} {
		for _, vectors := range []schemas.VectorType{schemas.Float16, schemas.Float32} {
			f := newFar(t, prefix, vectors, farRows)
			for _, tt := range []struct {
				how       string
				originals bool
			}{
				{`"plan":{"nprobe":4,"originals":true}`, true},
				{`"plan":{"nprobe":4,"originals":true},"filter":{"color":"color 1"}`, true},
				{`"plan":{"nprobe":4,"originals":true},"dims":8`, true},
				{`"exact":true`, true},
				{`"target_recall":0.99`, true},
				{`"target_recall":0.999999`, true}, // exact
				{`"target_recall":0.9`, false},
				{`"plan":{"nprobe":4}`, false},
			} {
				for row := range 20 {
					f.bucket.ranges.Store(0)
					got, want := asked(t, f.remote, row, tt.how), asked(t, f.near, row, tt.how)
					sameHits(t, fmt.Sprintf("%s, %s, %s, row %d", prefix, vectors, tt.how, row), got, want)
					if got.Degraded != "" || got.Usage.Originals != want.Usage.Originals || (got.Usage.Originals > 0) != tt.originals || (got.ExpectedRecall == nil) != (want.ExpectedRecall == nil) {
						t.Fatalf("%s, %s: %+v, want %+v", prefix, tt.how, got.about, want.about)
					}
					if !tt.originals && f.bucket.ranges.Load() != 0 {
						t.Fatalf("%s: %d reads", tt.how, f.bucket.ranges.Load())
					}
				}
			}
			if got, want := asked(t, f.remote, 3, `"budget":{"microseconds":1000000}`), 0; got.Usage.Originals != want || got.Degraded != "" {
				t.Errorf("a budget: %+v", got.about)
			}
			f.bucket.ranges.Store(0)
			if again := asked(t, f.remote, 1, `"exact":true`); again.Usage.Originals == 0 || f.bucket.ranges.Load() != 0 {
				t.Errorf("what was read before is read again: %d reads, %+v", f.bucket.ranges.Load(), again.about)
			}
			if f.lacking("corrupt") != 0 || testutil.ToFloat64(f.remote.metrics.originalsFetched) == 0 {
				t.Error("metrics")
			}
		}
	}
}

// Many queries of one request, and groups, are answered by originals of the store too.
func TestOriginals_remoteForMany(t *testing.T) {
	f := newFar(t, schemas.PrefixNative, schemas.Float16, farRows)
	var vectors [][]float32
	for row := range 600 {
		vectors = append(vectors, unit(row))
	}
	rows, err := json.Marshal(vectors)
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{`"exact":true`, `"plan":{"nprobe":4,"originals":true}`} {
		body := fmt.Sprintf(`{"vectors":%s,"k":10,%s}`, rows, how)
		got, want := decodeAnswer(t, call(f.remote.API(), http.MethodPost, "/v1/search", body)), decodeAnswer(t, call(f.near.API(), http.MethodPost, "/v1/search", body))
		for i := range want.Results {
			for j, h := range want.Results[i].Hits {
				if g := got.Results[i].Hits[j]; g.ID != h.ID || g.Score != h.Score {
					t.Fatalf("%s: query %d: %+v, want %+v", how, i, got.Results[i], want.Results[i])
				}
			}
		}
		if got.Degraded != "" || got.Usage.Originals < 6000 {
			t.Errorf("%s: %+v", how, got.about)
		}
	}
	groups := fmt.Sprintf(`{"vector":%s,"exact":true,"k":3,"group_by":"color","group_size":2}`, vectorJSON(unit(7)))
	var of [2]struct {
		Groups json.RawMessage `json:"groups"`
		about
	}
	for i, n := range []*Node{f.remote, f.near} {
		w := call(n.API(), http.MethodPost, "/v1/search", groups)
		if err := json.Unmarshal(w.Body.Bytes(), &of[i]); err != nil || w.Code != http.StatusOK || of[i].Degraded != "" || of[i].Usage.Originals == 0 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if !bytes.Equal(of[0].Groups, of[1].Groups) {
		t.Errorf("%s, want %s", of[0].Groups, of[1].Groups)
	}
}

// A stored original that is not what its int8 row was made of decides nothing: int8 rows do, the answer says so, and it is counted. Other rows of
// the object are as good as before.
func TestOriginals_flippedBit(t *testing.T) {
	f := newFar(t, schemas.PrefixNative, schemas.Float16, farRows)
	hit := asked(t, f.near, 42, `"exact":true`).Hits[0].ID
	if hit != "id-42" {
		t.Fatal(hit)
	}
	snap := f.near.hold()
	part, row, _ := snap.Find(hit)
	snap.Release()
	key := f.m.Chunks[part].Vectors.Key
	body, err := f.bucket.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	start, err := segment.LocateVectors(f.log.Spec(), f.m.Chunks[part], body)
	if err != nil {
		t.Fatal(err)
	}
	body[start+int64(row*f.log.Spec().VectorBytes())+1] ^= 0x40 // of the exponent of its first value
	if err := f.bucket.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := f.bucket.PutIfAbsent(t.Context(), key, body); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	f.remote.originals.apart.Interval = time.Hour // however busy this machine is
	f.remote.originals.log = slog.New(slog.NewTextHandler(&lines, nil))
	bad := asked(t, f.remote, 42, `"exact":true`)
	if bad.Degraded != recall.ShortInt8 || bad.Usage.Originals != 0 || bad.ExpectedRecall != nil || len(bad.Hits) != 10 || bad.Hits[0].ID != hit || f.lacking("corrupt") != 1 {
		t.Fatalf("%+v, counted %v", bad, f.lacking("corrupt"))
	}
	if got := testutil.ToFloat64(f.remote.metrics.degraded.WithLabelValues(recall.ShortInt8)); got != 1 {
		t.Errorf("degraded %v times", got)
	}
	asked(t, f.remote, 42, `"exact":true`)
	if n := strings.Count(lines.String(), "does not match its int8 row"); n < 1 || strings.Count(lines.String(), "\n") != 1 || !strings.Contains(lines.String(), fmt.Sprintf("%s: row %d", key, row)) {
		t.Errorf("two queries found it, and the log says: %s", lines.String())
	}
	none := f.node(Options{Originals: OriginalsNone})
	f.await(none, f.m.Generation)
	sameHits(t, "as int8 rows say", bad, asked(t, none, 42, `"exact":true`))
	fine := 0
	for row := 100; row < 120; row++ {
		if a := asked(t, f.remote, row, `"exact":true`); a.Degraded == "" {
			sameHits(t, "others", a, asked(t, f.near, row, `"exact":true`))
			fine++
		}
	}
	if fine < 10 {
		t.Errorf("%d of 20 other queries were answered by originals", fine)
	}
}

// While the store is away, hangs, or has the object no more, no query fails and none waits long; when it is back, originals decide again.
func TestOriginals_storeFails(t *testing.T) {
	for _, tt := range []struct {
		reason string
		fail   func(ctx context.Context, key string) error
	}{
		{"transient", func(context.Context, string) error { return fmt.Errorf("refused: %w", store.ErrTransient) }},
		{"denied", func(context.Context, string) error { return fmt.Errorf("refused: %w", store.ErrDenied) }},
		{"not_found", func(context.Context, string) error { return fmt.Errorf("gone: %w", store.ErrNotFound) }},
		{"slow", func(ctx context.Context, _ string) error { <-ctx.Done(); return context.Cause(ctx) }},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			f := newFar(t, schemas.PrefixNative, schemas.Float32, farRows)
			f.bucket.fails(tt.fail)
			if tt.reason == "slow" { // else none is, however busy this machine is
				f.remote.originals.wait = 100 * time.Millisecond
			}
			var all sync.WaitGroup
			for c := range 8 {
				all.Go(func() {
					for i := range 10 {
						began := time.Now()
						a := asked(t, f.remote, c*10+i, `"plan":{"nprobe":4,"originals":true}`)
						if a.Degraded != recall.ShortInt8 || len(a.Hits) != 10 || time.Since(began) > 20*time.Second {
							t.Errorf("%+v after %v", a, time.Since(began))
						}
					}
				})
			}
			all.Wait()
			if f.lacking(tt.reason) == 0 || f.lacking(tt.reason)+f.lacking("away") != 80 {
				t.Errorf("%v times, and %v away", f.lacking(tt.reason), f.lacking("away"))
			}
			f.bucket.fail.Store(nil)
			f.remote.originals.until.Store(0)
			clear(f.remote.originals.bad)
			f.remote.originals.wait = time.Minute
			sameHits(t, "back", asked(t, f.remote, 1, `"exact":true`), asked(t, f.near, 1, `"exact":true`))
		})
	}
}

// A query whose generation is replaced while it waits for originals goes on with what it holds, and if its objects are collected meanwhile,
// by int8 rows.
func TestOriginals_swapMeanwhile(t *testing.T) {
	for _, collected := range []bool{false, true} {
		f := newFar(t, schemas.PrefixNative, schemas.Float16, farRows)
		arrived, released := make(chan struct{}), make(chan struct{})
		var once sync.Once
		f.bucket.fails(func(context.Context, string) error {
			once.Do(func() { close(arrived) })
			<-released
			return nil
		})
		want := asked(t, f.near, 5, `"exact":true`)
		var got answerJSON
		var asking sync.WaitGroup
		asking.Go(func() { got = asked(t, f.remote, 5, `"exact":true`) })
		<-arrived
		chunks := f.m.Chunks
		f.m.Chunks, f.m.Model, f.m.Segments, f.m.Plans, f.m.LiveRows = nil, nil, nil, nil, 0
		f.add(0, 10)
		f.await(f.remote, f.m.Generation)
		if collected {
			for _, c := range chunks {
				if err := f.bucket.Delete(t.Context(), c.Vectors.Key); err != nil {
					t.Fatal(err)
				}
			}
		}
		close(released)
		asking.Wait()
		switch {
		case !collected:
			sameHits(t, "of the old generation", got, want)
		case got.Degraded != recall.ShortInt8 || len(got.Hits) != 10 || f.lacking("not_found") != 1:
			t.Errorf("%+v, lacking %v", got, f.lacking("not_found"))
		}
	}
}

// Of an object that is missing, or shorter than it should be, no originals are had, but those of others are, by the queries of the same batch and by
// those that come next. Which of the two it is is counted, also if it took all the time there was to make sure.
func TestOriginals_oneObjectFails(t *testing.T) {
	for _, tt := range []struct {
		reason string
		err    error
	}{
		{"not_found", store.ErrNotFound},
		{"corrupt", fmt.Errorf("%w (no further try: %w)", store.ErrCorrupt, context.DeadlineExceeded)},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			f := newFar(t, schemas.PrefixNative, schemas.Float32, farRows)
			none := f.node(Options{Originals: OriginalsNone})
			f.await(none, f.m.Generation)
			bad := f.m.Chunks[1].Vectors.Key
			f.bucket.fails(func(_ context.Context, key string) error {
				if key == bad {
					return tt.err
				}
				return nil
			})
			var vectors [][]float32
			for row := range 300 {
				vectors = append(vectors, unit(row))
			}
			rows, err := json.Marshal(vectors)
			if err != nil {
				t.Fatal(err)
			}
			body := fmt.Sprintf(`{"vectors":%s,"k":1,"plan":{"nprobe":1,"originals":true}}`, rows)
			ask := func(n *Node) answerJSON { return decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", body)) }
			want, int8s := ask(f.near), ask(none)
			for range 2 {
				got, byOriginals := ask(f.remote), 0
				for i, r := range got.Results {
					hit := r.Hits[0]
					switch original, row := want.Results[i].Hits[0], int8s.Results[i].Hits[0]; {
					case hit.ID == original.ID && hit.Score == original.Score:
						byOriginals++
					case hit.ID != row.ID || hit.Score != row.Score:
						t.Fatalf("query %d: %+v, allowed: %+v, or %+v by int8 rows", i, hit, original, row)
					}
				}
				if got.Degraded != recall.ShortInt8 || byOriginals < 100 || byOriginals == len(got.Results) {
					t.Errorf("%d of %d queries are answered by originals, degraded %q", byOriginals, len(got.Results), got.Degraded)
				}
			}
			if f.lacking(tt.reason) == 0 || f.lacking("slow")+f.lacking("transient") != 0 {
				t.Errorf("counted %v times, %v times as slow", f.lacking(tt.reason), f.lacking("slow"))
			}
		})
	}
}

// Of a generation whose objects are all gone the log does not name each one, each second.
func TestOriginals_logOfMany(t *testing.T) {
	f := newFar(t, schemas.PrefixNative, schemas.Float32, farRows)
	f.bucket.fails(func(context.Context, string) error { return store.ErrNotFound })
	var lines bytes.Buffer
	f.remote.originals.log = slog.New(slog.NewTextHandler(&lines, nil))
	snap := f.remote.hold()
	defer snap.Release()
	var rows []search.Hit
	for part := range f.m.Chunks {
		rows = append(rows, search.Hit{Part: part})
	}
	snap.remote.Originals(t.Context(), rows)
	if n := strings.Count(lines.String(), "\n"); n != 1 || f.bucket.ranges.Load() != int64(len(rows)) {
		t.Errorf("%d reads of %d objects, %d lines: %s", f.bucket.ranges.Load(), len(rows), n, lines.String())
	}
}

// That there is no time left for the originals of one query stops no other from having its own. But a store that is too slow for queries which have
// little time as a rule is left alone.
func TestOriginals_hurriedQuery(t *testing.T) {
	f := newFar(t, schemas.PrefixNative, schemas.Float32, farRows)
	f.bucket.fails(func(ctx context.Context, _ string) error {
		if end, _ := ctx.Deadline(); time.Until(end) < 30*time.Second {
			return context.DeadlineExceeded // as if that had come
		}
		return nil
	})
	slow := func(left time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), left)
		defer cancel()
		snap, before := f.remote.hold(), f.lacking("slow")
		defer snap.Release()
		if got := snap.remote.Originals(ctx, []search.Hit{{Part: 0, Row: 1}}); got[0] != nil || ctx.Err() != nil || f.lacking("slow") != before+1 {
			t.Fatalf("%v, counted as slow %v times", got, f.lacking("slow"))
		}
	}
	slow(20 * time.Second)
	sameHits(t, "another", asked(t, f.remote, 1, `"exact":true`), asked(t, f.near, 1, `"exact":true`))
	if f.remote.originals.until.Load() != 0 {
		t.Error("others are not to ask")
	}
	f.remote.originals.wait = 20 * time.Second
	slow(20 * time.Second)
	if f.remote.originals.until.Load() == 0 {
		t.Error("others are to ask")
	}
}

// A clock that is set back does not have a store that once failed left alone until the time has come again.
func TestOriginals_clockSetBack(t *testing.T) {
	f := newFar(t, schemas.PrefixNative, schemas.Float32, farRows)
	f.remote.originals.until.Store(time.Now().Add(time.Hour).UnixNano())
	sameHits(t, "an hour before", asked(t, f.remote, 1, `"exact":true`), asked(t, f.near, 1, `"exact":true`))
}

// BenchmarkOriginals reads originals that no two of lie together, none of them kept, of ADASTREAM_TEST_S3 or a directory. It reports the reads
// of each time.
func BenchmarkOriginals(b *testing.B) {
	f := newFar(b, schemas.PrefixNative, schemas.Float32, 60_000)
	snap := f.remote.hold()
	defer snap.Release()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, count := range []int{1, 18, 40} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			f.bucket.ranges.Store(0)
			for b.Loop() {
				var rows []search.Hit
				for range count {
					part := rng.IntN(len(f.m.Chunks))
					rows = append(rows, search.Hit{Part: part, Row: rng.IntN(f.m.Chunks[part].NumRows)})
				}
				f.remote.originals.kept.InvalidateAll()
				for i, v := range snap.remote.Originals(b.Context(), rows) {
					if v == nil {
						b.Fatalf("row %d of %d was not brought", i, count)
					}
				}
			}
			b.ReportMetric(float64(f.bucket.ranges.Load())/float64(b.N), "reads/op")
		})
	}
}

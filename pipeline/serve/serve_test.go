package serve

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const testDim = 16

// publisher makes generations by hand.
type publisher struct {
	t      testing.TB
	bucket store.Bucket
	log    *commit.Log
	m      schemas.Manifest
	next   int64
	served *schemas.Channel
	color  func(row int) string // of rows to come, nil for none
}

func newPublisher(t testing.TB) *publisher { return newPublisherOf(t, schemas.PrefixNative) }

func newPublisherOf(t testing.TB, prefix schemas.PrefixMode) *publisher {
	t.Helper()
	spec := schemas.Spec{Name: "test", Prefix: prefix, Ladder: []int{8, testDim}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 1},
		Attributes: []schemas.Attribute{{Name: "color", Type: schemas.AttributeString}}}.WithDefaults()
	return newPublisherIn(t, store.NewMemory(), &spec)
}

func newPublisherIn(t testing.TB, bucket store.Bucket, spec *schemas.Spec) *publisher {
	t.Helper()
	p := &publisher{t: t, bucket: bucket}
	if err := commit.Create(t.Context(), p.bucket, spec); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.log, err = commit.Open(t.Context(), p.bucket); err != nil {
		t.Fatal(err)
	}
	p.m = schemas.Manifest{Format: schemas.ManifestFormat, Builder: "b", Checkpoint: map[string]int64{"0": 0}}
	return p
}

func unit(seed int) []float32 {
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	v := make([]float32, testDim)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// add puts a segment of the rows from to to-1, and publishes and promotes the generation that has it.
func (p *publisher) add(from, to int) {
	p.t.Helper()
	p.put(from, to)
	p.publish()
}

// drop marks the first row of the oldest segment dead and publishes.
func (p *publisher) drop() {
	p.t.Helper()
	body, err := segment.WriteDead(map[string]*roaring.Bitmap{p.m.Segments[0].ID: roaring.BitmapOf(0)})
	if err != nil {
		p.t.Fatal(err)
	}
	o, err := p.log.PutDead(p.t.Context(), body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.m.Dead = &o
	p.m.LiveRows--
	p.m.DeadRows++
	p.publish()
}

func (p *publisher) publish() {
	p.t.Helper()
	p.m.Parent = p.m.Generation
	p.m.Generation++
	p.m.Created = time.Now().UTC()
	p.m.Produced = time.Now().UnixMilli()
	p.m.Checkpoint = map[string]int64{"0": p.next}
	m := p.m
	if err := p.log.Publish(p.t.Context(), &m); err != nil {
		p.t.Fatal(err)
	}
	p.serve(m.Generation)
}

// serve points the channel at a generation.
func (p *publisher) serve(generation int64) {
	p.t.Helper()
	var err error
	if p.served, err = p.log.Promote(p.t.Context(), p.served, schemas.Channel{Generation: generation, Reason: "test", By: "b"}); err != nil {
		p.t.Fatal(err)
	}
}

// node starts a node that follows p until the test ends.
func (p *publisher) node(o Options) *Node {
	p.t.Helper()
	n, _ := p.nodeIn(p.t.TempDir(), o)
	return n
}

// nodeIn is a node whose cache is in dir. It may be stopped before the test ends.
func (p *publisher) nodeIn(dir string, o Options) (n *Node, stop func()) {
	p.t.Helper()
	level, err := avx.Best()
	if err != nil {
		p.t.Fatal(err)
	}
	cache, err := store.NewCache(dir, p.bucket, store.CacheOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	o.Log, o.Cache, o.Level, o.PollEvery = p.log, cache, level, cmp.Or(o.PollEvery, time.Millisecond)
	o.Timeout = cmp.Or(o.Timeout, time.Minute) // however busy this machine is
	if n, err = New(o); err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := n.Run(ctx); err != nil {
			p.t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); done.Wait(); n.Close() })
	p.t.Cleanup(stop)
	return n, stop
}

// await waits until n serves a generation or a newer one, and has counted the swap, which comes after.
func (p *publisher) await(n *Node, generation int64) {
	p.t.Helper()
	is := func() bool {
		swaps := n.recent.list()
		return len(swaps) > 0 && swaps[0].Generation >= generation
	}
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("serves generation %d after a minute, want %d: %v", n.generation(), generation, n.Stale())
		}
	}
}

func call(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// answerJSON is an answer as a client reads it.
type answerJSON struct {
	hitsJSON
	Results []hitsJSON `json:"results"`
	about
}

type hitsJSON struct {
	Hits []struct {
		ID         string         `json:"id"`
		Score      float32        `json:"score"`
		Attributes map[string]any `json:"attributes"`
		Vector     []float32      `json:"vector"`
	} `json:"hits"`
}

func vectorJSON(v []float32) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// clients search until stop is called, which waits for their last answers. Each answer must be whole: generation g has g rows.
// Asked counts the answers.
func clients(t *testing.T, api http.Handler, count int) (stop func(), asked *atomic.Int64) {
	t.Helper()
	ended := make(chan struct{})
	asked = &atomic.Int64{}
	var all sync.WaitGroup
	for c := range count {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-ended:
					return
				default:
				}
				w := call(api, http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"k":100}`, vectorJSON(unit(c*1000+i))))
				var a answerJSON
				if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK || int64(len(a.Hits)) != a.Snapshot.Generation {
					t.Errorf("%d: generation %d, %d hits: %s", w.Code, a.Snapshot.Generation, len(a.Hits), w.Body)
					return
				}
				asked.Add(1)
			}
		})
	}
	return func() {
		close(ended)
		all.Wait()
	}, asked
}

// Clients search all along while generations come and go. Each answer is of one generation: it holds exactly the rows
// that generation has, and none fails.
func TestNoQueryFailsOrMixesGenerationsDuringSwaps(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 1)
	n := p.node(Options{})
	p.await(n, 1)
	const last = 40
	stop, _ := clients(t, n.API(), 4)
	for g := int64(2); g <= last; g++ {
		p.add(int(g-1), int(g))
		if g%3 == 0 {
			p.await(n, g)
		}
	}
	p.await(n, last)
	stop()
}

// What is promoted by the same process is served at once, however seldom a node looks at the channel.
func TestNodeHearsOfPromotions(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 1)
	n := p.node(Options{PollEvery: time.Hour})
	for g := int64(1); g <= 20; g++ {
		p.await(n, g)
		p.add(int(g), int(g+1))
	}
	p.await(n, 21)
}

// A generation whose object is corrupt or missing is not served, the old one is, and the node says which object.
func TestCorruptObjectLeavesTheOldGeneration(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 10)
	n := p.node(Options{})
	p.await(n, 1)
	p.drop()
	p.await(n, 2)
	if w := call(n.API(), http.MethodGet, "/v1/vectors/id-0", ""); w.Code != http.StatusNotFound {
		t.Errorf("a deleted row: %d %s", w.Code, w.Body)
	}

	o := p.put(10, 20)
	body, err := p.bucket.Get(t.Context(), o.Key)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(body)
	damaged[len(damaged)/2] ^= 0x10
	p.replace(o.Key, damaged)
	p.publish()
	err = n.Stale()
	for ; err == nil; err = n.Stale() {
		time.Sleep(time.Millisecond)
	}
	if !strings.Contains(err.Error(), o.Key) {
		t.Errorf("stale because %v, want the name of %s", err, o.Key)
	}
	if n.Ready() != nil {
		t.Errorf("a node that serves the old generation is not ready: %v", n.Ready())
	}
	if w := call(n.Ops(), http.MethodGet, "/readyz", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "stale") {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if w := call(n.API(), http.MethodGet, "/v1/vectors/id-5", ""); w.Code != http.StatusOK || n.generation() != 2 {
		t.Errorf("generation %d: %d %s", n.generation(), w.Code, w.Body)
	}

	p.replace(o.Key, body) // an operator brings the object back
	p.await(n, 3)
	for n.Stale() != nil {
		time.Sleep(time.Millisecond)
	}
}

// put is add without publishing.
func (p *publisher) put(from, to int) schemas.Object { return p.putBy(nil, from, to) }

// putBy is put of a segment by a model.
func (p *publisher) putBy(mdl *model.Model, from, to int) schemas.Object {
	rows := segment.NewRows(p.log.Spec())
	for i := from; i < to; i++ {
		rows.IDs = append(rows.IDs, fmt.Sprintf("id-%d", i))
		rows.Orders = append(rows.Orders, segment.Order{Timestamp: 1, Offset: p.next})
		rows.AppendFloats(avx.Generic, unit(i)[:p.log.Spec().Dim()])
		if color := p.color; color == nil {
			rows.Attributes[0].AppendNull()
		} else if err := rows.Attributes[0].AppendFrom(textArray(color(i)), 0); err != nil {
			p.t.Fatal(err)
		}
		p.next++
	}
	body, err := segment.Write(p.log.Spec(), mdl, 0, rows)
	if err != nil {
		p.t.Fatal(err)
	}
	o, err := p.log.PutSegment(p.t.Context(), 0, p.m.Checkpoint["0"], body)
	if err != nil {
		p.t.Fatal(err)
	}
	s := schemas.Segment{ID: o.SHA256, Object: o, NumRows: to - from}
	if mdl != nil {
		s.Model = mdl.ID()
	}
	p.m.Segments = append(p.m.Segments, s)
	p.m.LiveRows += int64(to - from)
	return o
}

// chunks puts rows by a model into the next generation, as the chunks of its base, of about so many bytes each.
func (p *publisher) chunks(mdl *model.Model, from, to int, bytes int64) []schemas.Chunk {
	p.t.Helper()
	o := p.putBy(mdl, from, to)
	p.m.Segments = p.m.Segments[:len(p.m.Segments)-1]
	body, err := p.bucket.Get(p.t.Context(), o.Key)
	if err != nil {
		p.t.Fatal(err)
	}
	part, err := segment.OpenSegment(p.log.Spec(), o.SHA256, body)
	if err != nil {
		p.t.Fatal(err)
	}
	err = segment.Merge(p.t.Context(), p.log.Spec(), mdl, avx.Generic, []segment.Input{{Part: part}}, segment.MergeOptions{ChunkBytes: bytes}, func(b segment.ChunkBodies) error {
		c, err := p.log.PutChunk(p.t.Context(), b)
		p.m.Chunks = append(p.m.Chunks, c)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.m.Chunks
}

// textArray is an array of one text.
func textArray(text string) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.Append(text)
	return b.NewArray()
}

func (p *publisher) replace(key string, body []byte) {
	p.t.Helper()
	if err := p.bucket.Delete(p.t.Context(), key); err != nil {
		p.t.Fatal(err)
	}
	if err := p.bucket.PutIfAbsent(p.t.Context(), key, body); err != nil {
		p.t.Fatal(err)
	}
}

func TestAPI(t *testing.T) {
	p := newPublisher(t)
	n := p.node(Options{MaxK: 50, MaxBody: 4096})
	api := n.API()
	if w := call(api, http.MethodPost, "/v1/search", `{"like":"id-1"}`); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("before the first generation: %d %s", w.Code, w.Body)
	}
	p.add(0, 30)
	p.await(n, 1)
	good := vectorJSON(unit(7))
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     []string
	}{
		{"by vector", "POST", "/v1/search", `{"vector":` + good + `,"k":3}`, 200, []string{`"id":"id-7"`, `"generation":1`, `"exact":true`, `"expected_recall":1`}},
		{"like leaves itself out", "POST", "/v1/search", `{"like":"id-7","k":3,"include_vector":true}`, 200, []string{`"vector":[`}},
		{"explicit exact", "POST", "/v1/search", `{"vector":` + good + `,"exact":true}`, 200, []string{`"refined":30`}},
		{"fields", "POST", "/v1/search", `{"vector":` + good + `,"fields":["color"]}`, 200, []string{`"attributes":{"color":null}`}},
		{"unknown field", "POST", "/v1/search", `{"vector":` + good + `,"fields":["colour"]}`, 400, []string{`colour`, `color`}},
		{"unknown key", "POST", "/v1/search", `{"vektor":[1]}`, 400, []string{`vektor`, `"malformed"`}},
		{"a field twice", "POST", "/v1/search", `{"vector":` + good + `,"fields":["color","color"]}`, 400, []string{`fields: \"color\" is given twice`}},
		{"a field of rows twice", "POST", "/v1/vectors:batchGet", `{"ids":["id-1"],"fields":["color","color"]}`, 400, []string{`fields: \"color\" is given twice`}},
		{"wrong width", "POST", "/v1/search", `{"vector":[1,2]}`, 400, []string{`vector`, `16`, `"invalid"`}},
		{"its encoder", "POST", "/v1/search", `{"vector":` + good + `,"encoder":"e"}`, 200, []string{`"encoder":"e"`}},
		{"another encoder", "POST", "/v1/search", `{"vector":` + good + `,"encoder":"f"}`, 409, []string{`"code":"encoder"`, `encoder: \"f\"`, `"allowed":"e"`}},
		{"no encoder", "POST", "/v1/search", `{"like":"id-1","encoder":""}`, 409, []string{`"code":"encoder"`}},
		{"zero vector", "POST", "/v1/search", `{"vector":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}`, 400, []string{`vector`}},
		{"no vector", "POST", "/v1/search", `{}`, 400, []string{`vector`}},
		{"two queries", "POST", "/v1/search", `{"vector":` + good + `,"like":"id-1"}`, 400, []string{`like`}},
		{"k too large", "POST", "/v1/search", `{"vector":` + good + `,"k":51}`, 400, []string{`1 to 50`}},
		{"k as a text", "POST", "/v1/search", `{"vector":` + good + `,"k":"5"}`, 400, []string{`"invalid"`, `"k: a JSON string"`, `"allowed":"a JSON integer"`}},
		{"k with a fraction", "POST", "/v1/search", `{"vector":` + good + `,"k":5.5}`, 400, []string{`"k: a JSON number 5.5"`, `"allowed":"a JSON integer"`}},
		{"fields as a text", "POST", "/v1/search", `{"vector":` + good + `,"fields":"color"}`, 400, []string{`"fields: a JSON string"`, `"allowed":"a JSON array"`}},
		{"budget as a number", "POST", "/v1/search", `{"vector":` + good + `,"budget":50}`, 400, []string{`"budget: a JSON number"`, `"allowed":"a JSON object"`}},
		{"budget of a text", "POST", "/v1/search", `{"vector":` + good + `,"budget":{"lists":"1"}}`, 400, []string{`"budget.lists: a JSON string"`}},
		{"k zero", "POST", "/v1/search", `{"vector":` + good + `,"k":0}`, 400, []string{`1 to 50`}},
		{"two ways", "POST", "/v1/search", `{"vector":` + good + `,"exact":true,"target_recall":0.9}`, 400, []string{`at most one`}},
		{"target recall", "POST", "/v1/search", `{"vector":` + good + `,"target_recall":0.5}`, 200, nil},
		{"target recall of more than all", "POST", "/v1/search", `{"vector":` + good + `,"target_recall":2}`, 400, []string{`target_recall: 2`, `at most 1`}},
		{"unknown id", "POST", "/v1/search", `{"like":"nobody"}`, 404, []string{`nobody`, `"not_found"`}},
		{"not json", "POST", "/v1/search", `{`, 400, []string{`"malformed"`}},
		{"two documents", "POST", "/v1/search", `{"like":"id-1"} {}`, 400, []string{`"malformed"`}},
		{"body too large", "POST", "/v1/search", `{"like":"` + strings.Repeat("x", 5000) + `"}`, 413, []string{`4096`}},
		{"wrong method", "GET", "/v1/search", ``, 405, []string{`POST`}},
		{"vector", "GET", "/v1/vectors/id-3", ``, 200, []string{`"id":"id-3"`, `"vector":[`, `"offset":3`}},
		{"unknown vector", "GET", "/v1/vectors/x/y", ``, 404, []string{`x/y`}},
		{"snapshots", "GET", "/v1/snapshots", ``, 200, []string{`"generation":1`, `"offsets":{"0":30}`, `"live_rows":30`}},
		{"no such url", "GET", "/v2", ``, 404, []string{`"no_such_url"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := call(api, c.method, c.path, c.body)
			if w.Code != c.status {
				t.Errorf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
			for _, want := range c.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s does not have %s", w.Body, want)
				}
			}
			if kind := w.Header().Get("Content-Type"); (w.Code == 200) != (kind == "application/json") {
				t.Errorf("content type %s", kind)
			}
		})
	}
	if w := call(api, http.MethodPost, "/v1/search", `{"like":"id-7","k":3}`); strings.Contains(w.Body.String(), `"id":"id-7"`) {
		t.Errorf("like id-7 finds id-7: %s", w.Body)
	}
}

// A node that is full answers 429 in time instead of letting queries pile up.
func TestOverloadSheds(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 10)
	n := p.node(Options{MaxRunning: 1, Timeout: 20 * time.Millisecond})
	p.await(n, 1)
	n.running <- struct{}{} // a query that takes long
	w := call(n.API(), http.MethodPost, "/v1/search", `{"like":"id-1"}`)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	<-n.running
	n.o.Timeout = time.Minute
	if w := call(n.API(), http.MethodPost, "/v1/search", `{"like":"id-1"}`); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestOps(t *testing.T) {
	p := newPublisher(t)
	n := p.node(Options{})
	ops := n.Ops()
	if w := call(ops, http.MethodGet, "/readyz", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("/readyz before the first generation: %d", w.Code)
	}
	if w := call(ops, http.MethodGet, "/livez", ""); w.Code != http.StatusOK {
		t.Errorf("/livez: %d", w.Code)
	}
	p.add(0, 1234)
	p.await(n, 1)
	call(n.API(), http.MethodPost, "/v1/search", `{"like":"id-1"}`)
	for path, want := range map[string]string{
		"/readyz":  "ok",
		"/metrics": `adastream_query_requests_total{code="200",route="search"} 1`,
		"/":        "/ui",
	} {
		if w := call(ops, http.MethodGet, path, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d, does not have %s:\n%s", path, w.Code, want, w.Body)
		}
	}
}

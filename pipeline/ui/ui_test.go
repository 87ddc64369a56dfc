package ui

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	hostile = `"><script>alert(1)</script>{{.}}'`
	escaped = `&lt;script&gt;alert(1)&lt;/script&gt;`
)

// site is an index with its pages.
type site struct {
	t       *testing.T
	bucket  *fragile
	log     *commit.Log
	ui      *UI
	handler http.Handler
}

// fragile is a store that can be away, and counts what it is asked.
type fragile struct {
	store.Bucket
	away  atomic.Bool
	asked atomic.Int64
}

var errAway = fmt.Errorf("%w: the store is away", schemas.ErrTransient)

func (f *fragile) Get(ctx context.Context, key string) ([]byte, error) {
	f.asked.Add(1)
	if f.away.Load() {
		return nil, errAway
	}
	return f.Bucket.Get(ctx, key)
}

func (f *fragile) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	f.asked.Add(1)
	if f.away.Load() {
		return func(yield func(store.Info, error) bool) { yield(store.Info{}, errAway) }
	}
	return f.Bucket.List(ctx, prefix, startAfter)
}

func newSite(t *testing.T, admin bool) *site {
	t.Helper()
	s := &site{t: t, bucket: &fragile{Bucket: store.NewMemory()}}
	spec := schemas.Spec{Name: "test", Ladder: []int{8, 16}, Encoder: "e <1>", Topic: schemas.Topic{Name: "t", Partitions: 2},
		Attributes: []schemas.Attribute{{Name: "color", Type: schemas.AttributeString}}}.WithDefaults()
	s.log = buildtest.Create(t, s.bucket, &spec)
	registry := prometheus.NewRegistry()
	node, err := serve.New(serve.Options{Log: s.log, Cache: buildtest.Cache(t, s.bucket), Level: avx.Generic, PollEvery: time.Millisecond, Registry: registry, Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	if s.ui, err = New(Options{Node: node, Log: s.log, Metrics: registry}); err != nil {
		t.Fatal(err)
	}
	s.handler = s.ui.Handler(node.API())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := node.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait(); node.Close() })
	for node.Stale() != nil { // it has not looked yet
		time.Sleep(time.Millisecond)
	}
	return s
}

// append commits rows to partition 0, and what is refused with them.
func (s *site) append(start int64, n int, refused []ingest.Quarantined) {
	s.t.Helper()
	rows, rng := segment.NewRows(s.log.Spec()), rand.New(rand.NewPCG(uint64(start), 1))
	for i := range n {
		for range 16 {
			rows.AppendFloats(avx.Generic, []float32{float32(rng.NormFloat64())})
		}
		rows.IDs = append(rows.IDs, fmt.Sprint("id-", start*10+int64(i)))
		rows.Orders = append(rows.Orders, segment.Order{Offset: start, Row: int32(i)})
		rows.Attributes[0].AppendNull()
	}
	var body []byte
	reasons := map[string]int{}
	if refused != nil {
		var err error
		if body, err = ingest.WriteQuarantine(refused); err != nil {
			s.t.Fatal(err)
		}
		for _, q := range refused {
			reasons[q.Reason]++
		}
	}
	c := &schemas.Commit{Start: start, End: start + 100, Produced: time.Now().UnixMilli(), Watermark: time.Now().UnixMilli()}
	buildtest.Append(s.t, s.log, c, rows, nil, body, reasons)
}

// build runs a builder until it is done, and promotes what it has not.
func (s *site) build(done func(*schemas.Manifest) bool) *schemas.Manifest {
	s.t.Helper()
	m := buildtest.Build(s.t, s.log, done)
	s.promote(m.Generation)
	return m
}

func (s *site) promote(generation int64) {
	s.t.Helper()
	now, err := s.log.Channel(s.t.Context(), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	if now != nil && now.Generation == generation {
		return
	}
	if _, err := s.log.Promote(s.t.Context(), now, schemas.Channel{Generation: generation, Reason: "built", By: "b"}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) call(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

// page fails unless a page is there, and has some texts and has not others, which begin with a dash.
func (s *site) page(path string, status int, texts ...string) {
	s.t.Helper()
	w := s.call(http.MethodGet, path)
	if w.Code != status {
		s.t.Errorf("%s: %d, want %d: %s", path, w.Code, status, w.Body)
	}
	for _, text := range texts {
		without, no := strings.CutPrefix(text, "-")
		if strings.Contains(w.Body.String(), without) == no {
			s.t.Errorf("%s: has %q: %v\n%s", path, without, no, w.Body)
		}
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "unsafe") {
		s.t.Errorf("%s: policy %q", path, policy)
	}
}

func (s *site) await(generation int64) {
	s.t.Helper()
	s.awaitSwap(func(last serve.Swap) bool { return last.Generation >= generation })
}

// awaitSwap waits until the last swap that the node tells of, a moment after it has made it, is good.
func (s *site) awaitSwap(good func(last serve.Swap) bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		swaps := s.ui.o.Node.View().Swaps
		if len(swaps) > 0 && good(swaps[0]) {
			forget(s.ui.reader)
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("it is not served: %+v", swaps)
		}
	}
}

func TestPagesBeforeTheFirstGeneration(t *testing.T) {
	s := newSite(t, false)
	s.page("/ui/", 200, "<title>Unhealthy · test", "no generation is promoted yet", "e &lt;1&gt;")
	s.page("/ui/snapshots", 200, "None yet")
	s.page("/ui/search", 200, "Search")
	s.page("/ui/quarantine", 200, "Nothing was refused")
	s.page("/ui/snapshots/1", 404, "Generation 1 does not exist or was collected")
	s.page("/ui/diff?from=1&to=2", 404, "does not exist or was collected")
	if w := s.call(http.MethodGet, "/ui/series"); w.Code != 200 || !strings.Contains(w.Body.String(), `"at":[]`) {
		t.Errorf("series: %d %s", w.Code, w.Body)
	}
}

func TestBareAddress(t *testing.T) {
	s := newSite(t, false)
	if w := s.call(http.MethodGet, "/"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/ui/" {
		t.Errorf("%d to %q, want the page", w.Code, w.Header().Get("Location"))
	}
	if w := s.call(http.MethodPost, "/"); w.Code == http.StatusSeeOther {
		t.Errorf("%d to %q for a POST", w.Code, w.Header().Get("Location"))
	}
}

func TestPagesOfAnIndex(t *testing.T) {
	s := newSite(t, false)
	s.append(0, 400, nil)
	s.build(func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
	s.append(100, 50, []ingest.Quarantined{
		{Topic: "t", Offset: 107, Row: ingest.WholeMessage, Fault: schemas.Fault{Reason: "malformed", Detail: hostile + "\x1b[31m\x00"}, Payload: []byte("x"), Timestamp: 1},
		{Topic: "t", Offset: 108, Row: 3, Fault: schemas.Fault{Reason: "no_id", Detail: "id: null"}, Payload: []byte("x"), Timestamp: 1},
	})
	m := s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 450 })
	s.await(m.Generation)
	s.page("/ui/", 200, "450", fmt.Sprintf(`href="/ui/snapshots/%d"`, m.Generation), "Searchable up to offset", ">200<")
	s.page("/ui/snapshots", 200, "retrain", "served", `class="point`, `class="bar-fill"`, "adastream snapshot pin", "-data-verb")
	s.page(fmt.Sprint("/ui/snapshots/", m.Generation), 200, fmt.Sprint("Generation ", m.Generation))
	s.page(fmt.Sprintf("/ui/diff?from=%d&to=1", m.Generation), 200, "retrain", "&#43;50 rows", "What they share")
	s.page("/ui/search?like=id-1", 200, `value="id-1"`, "&#34;color&#34;")
	s.page("/ui/quarantine", 200, escaped, "-<script>alert", "malformed", "no_id", "row 3", `\u001b[31m\u0000`, "quarantine replay --partition=0 --offset=108 --row=3")
	s.page("/ui/quarantine?partition=1", 200, "Nothing was refused in partition 1", "-malformed")
}

func TestHostileRequests(t *testing.T) {
	s := newSite(t, false)
	for _, path := range []string{
		"/ui/nothing", "/ui/snapshots/" + "99999999999999999999", "/ui/snapshots/-1", "/ui/snapshots/%3Cscript%3Ealert(1)%3C/script%3E",
		"/ui/diff?from=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&to=1", "/ui/snapshots?before=x%3Cscript%3Ealert(1)%3C/script%3E", "/ui/quarantine?partition=2",
		"/ui/quarantine?partition=%3Cscript%3Ealert(1)%3C/script%3E", "/ui/assets/..%2fui.go", "/ui/assets/..%2f..%2fgo.mod", "/ui/assets/", "/ui/assets/layout.html",
		"/ui/search?like=" + strings.Repeat("x", schemas.MaxIDBytes+1),
	} {
		s.page(path, 404, "-<script>alert", "Not found")
	}
	s.page("/ui/search?like=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", 200, "-<script>alert", escaped)
	for _, path := range []string{"/ui/../../etc/passwd", "/ui/assets/../../ui.go"} {
		if w := s.call(http.MethodGet, path); w.Code == 200 || strings.Contains(w.Body.String(), "package ui") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/ui/", "/ui/snapshots", "/ui/quarantine", "/ui/nothing"} {
		if w := s.call(http.MethodPost, path); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	if w := s.call(http.MethodGet, "/v1/snapshots"); w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("the API behind the pages: %d %s", w.Code, w.Body)
	}
	if w := s.call(http.MethodGet, "/ui"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/ui/" {
		t.Errorf("/ui: %d %s", w.Code, w.Header())
	}
}

func TestAssets(t *testing.T) {
	s := newSite(t, false)
	for name, kind := range map[string]string{"page.css": "text/css", "page.js": "text/javascript", "htmx.min.js": "text/javascript", "icon.svg": "image/svg+xml", "uplot.min.css": "text/css"} {
		w := s.call(http.MethodGet, "/ui/assets/"+name)
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %s", name, w.Code, w.Header())
		}
		r := httptest.NewRequest(http.MethodGet, "/ui/assets/"+name, nil)
		r.Header.Set("If-None-Match", w.Header().Get("ETag"))
		again := httptest.NewRecorder()
		if s.handler.ServeHTTP(again, r); again.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", name, again.Code)
		}
	}
}

// While the store is away pages show what they knew, and it is not asked by each who looks.
func TestStoreAway(t *testing.T) {
	s := newSite(t, false)
	s.append(0, 20, nil)
	m := s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 20 })
	s.await(m.Generation)
	s.page("/ui/", 200, "-The store does not answer")
	s.bucket.away.Store(true)
	forget(s.ui.reader)
	for range 20 {
		s.page("/ui/", 200, "The store does not answer", "the store is away", ">20<")
		s.page("/ui/snapshots", 200, "The store does not answer")
		s.page("/ui/quarantine", 200, "The store does not answer")
		s.page("/ui/search", 200, "-The store does not answer")
	}
	for end := time.Now().Add(time.Minute); s.ui.o.Node.Stale() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the node does not notice")
		}
	}
	s.page("/ui/", 200, "Unhealthy", "the newest generation cannot be loaded", "adastream doctor")
}

// However many look, the store is asked once.
func TestManyLook(t *testing.T) {
	s := newSite(t, false)
	s.append(0, 20, []ingest.Quarantined{{Topic: "t", Offset: 7, Row: 3, Fault: schemas.Fault{Reason: "no_id", Detail: "id: null"}, Payload: []byte("x")}})
	m := s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 20 })
	s.await(m.Generation)
	still := &fragile{Bucket: s.bucket.Bucket}
	log, err := commit.Open(t.Context(), still)
	if err != nil {
		t.Fatal(err)
	}
	u, err := New(Options{Node: s.ui.o.Node, Log: log, Metrics: s.ui.o.Metrics})
	if err != nil {
		t.Fatal(err)
	}
	s.handler = u.Handler(http.NotFoundHandler())
	look := func(times int) int64 {
		before := still.asked.Load()
		var all sync.WaitGroup
		for range times {
			all.Go(func() {
				for _, path := range []string{"/ui/", "/ui/quarantine"} {
					if w := s.call(http.MethodGet, path); w.Code != 200 {
						t.Errorf("%s: %d", path, w.Code)
					}
				}
			})
		}
		all.Wait()
		return still.asked.Load() - before
	}
	if n := look(50); n == 0 || n > 30 {
		t.Errorf("50 who look at once ask the store %d times", n)
	}
	if n := look(50); n != 0 {
		t.Errorf("50 more ask the store %d times", n)
	}
}

// With Admin the moves are buttons, of which there are those that make sense.
func TestMoves(t *testing.T) {
	s := newSite(t, true)
	s.append(0, 20, nil)
	first := s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 20 })
	s.append(100, 20, nil)
	m := s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 40 })
	s.await(m.Generation)
	s.page(fmt.Sprint("/ui/snapshots/", m.Generation), 200, `data-verb="pin"`, `-data-verb="promote"`, `-data-verb="rollback"`, `id="confirm"`)
	s.page(fmt.Sprint("/ui/snapshots/", first.Generation), 200, `data-verb="pin"`, `data-verb="promote"`, `data-verb="rollback"`)
	if _, err := s.log.Move(t.Context(), commit.Move{Verb: commit.VerbRollback, Generation: first.Generation, Reason: hostile, By: "ann@ops"}); err != nil {
		t.Fatal(err)
	}
	s.awaitSwap(func(last serve.Swap) bool { return last.Generation == first.Generation })
	s.page("/ui/", 200, "Pinned to generation", "ann@ops", escaped, "-<script>alert")
	s.page(fmt.Sprint("/ui/snapshots/", first.Generation), 200, `data-verb="unpin"`)
}

// Of many generations there are pages, and what was collected is not missed.
func TestManyGenerations(t *testing.T) {
	s := newSite(t, false)
	s.append(0, 20, nil)
	m := *s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 20 })
	for range 30 {
		m.Parent, m.Generation, m.Created = m.Generation, m.Generation+1, time.Now().UTC()
		next := m
		if err := s.log.Publish(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
	}
	s.promote(m.Generation)
	s.await(m.Generation)
	row := func(g int64) string { return fmt.Sprintf(`name="to" value="%d"`, g) }
	s.page("/ui/snapshots", 200, row(m.Generation), row(m.Generation-19), "-"+row(m.Generation-20), fmt.Sprintf(`href="/ui/snapshots?before=%d"`, m.Generation-19), "-Newest</a>")
	s.page(fmt.Sprint("/ui/snapshots?before=", m.Generation-19), 200, row(m.Generation-20), "-"+row(m.Generation-19), row(1), "-Older</a>", "Newest</a>", "-data-live")
	found, err := s.log.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.log.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.log.Collect(t.Context(), commit.CollectOptions{Found: found, By: "gc@test"}); err != nil {
		t.Fatal(err)
	}
	forget(s.ui.reader)
	s.page("/ui/snapshots", 200, row(m.Generation+1), row(m.Generation), "-"+row(m.Generation-1), "-Older</a>")
	s.page("/ui/snapshots/3", 404, "does not exist or was collected")
}

// While an epoch is served the pages are about its generations, which are not moved from here.
func TestEpoch(t *testing.T) {
	s := newSite(t, true)
	s.append(0, 20, nil)
	s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 20 })
	s.await(1)
	root := s.log
	spec := *root.Spec()
	spec.Encoder, spec.Attributes = "f", []schemas.Attribute{{Name: "shape", Type: schemas.AttributeString}}
	s.log = buildtest.Create(t, store.Under(s.bucket, "epochs/next"), &spec)
	s.append(0, 30, nil)
	s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 30 })
	if _, err := root.Move(t.Context(), commit.Move{Verb: commit.VerbPromote, Epoch: "next", Reason: "r", By: "ann@ops"}); err != nil {
		t.Fatal(err)
	}
	s.awaitSwap(func(last serve.Swap) bool { return last.Epoch == "next" })
	s.page("/ui/", 200, "epoch next", "to epoch next: r", ">30<")
	s.page("/ui/snapshots", 200, "Epoch next is served", "-data-verb", `class="r">30<`, `-class="r">20<`)
	s.page("/ui/search", 200, "&#34;shape&#34;", "-&#34;color&#34;")
	s.page("/ui/quarantine", 200, "Nothing was refused")
}

// What a node was like is told from its metrics, and what the ingestor beside it says of the log.
func TestSamples(t *testing.T) {
	s := newSite(t, false)
	registry := s.ui.o.Metrics.(*prometheus.Registry)
	lag := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "adastream_ingestor_lag_offsets"}, []string{"partition"})
	registry.MustRegister(lag)
	lag.WithLabelValues("1").Set(77)
	halted := prometheus.NewGauge(prometheus.GaugeOpts{Name: "adastream_ingestor_partitions_stopped"})
	stops := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "adastream_ingestor_partition_stops_total"}, []string{"reason"})
	registry.MustRegister(halted, stops)
	for _, reason := range []string{"corrupt", "flood", "gap", "other"} {
		stops.WithLabelValues(reason)
	}
	s.append(0, 20, nil)
	m := s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 20 })
	s.await(m.Generation)
	now := time.Now()
	s.ui.history.take(now)
	s.page("/ui/", 200, "Healthy", "-stopped")
	for range 50 {
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/search", strings.NewReader(`{"like":"id-1"}`)))
		if w.Code != 200 {
			t.Fatal(w.Body)
		}
	}
	s.ui.history.take(now.Add(5 * time.Second))
	if late := s.ui.history.late(); late.searches != 10 || !(late.p50 > 0) || !(late.p99 >= late.p50) || late.p99 > 1000 {
		t.Errorf("of the last minute: %+v, want 10 searches a second", late)
	}
	s.page("/ui/", 200, "10 searches per second", ">77<", "Lag in offsets")
	for after, want := range map[int64]string{0: `"searches":[null,10]`, now.Unix(): `"searches":[10]`, now.Unix() + 5: `"searches":[]`} {
		if w := s.call(http.MethodGet, fmt.Sprint("/ui/series?after=", after)); !strings.Contains(w.Body.String(), want) {
			t.Errorf("after %d: %s, want %s", after, w.Body, want)
		}
	}
	halted.Set(2)
	stops.WithLabelValues("gap").Inc()
	stops.WithLabelValues("flood").Inc()
	s.ui.history.take(now.Add(10 * time.Second))
	s.page("/ui/", 200, "Unhealthy", "2 partitions stopped", "flood, gap", "-corrupt,")
	families, err := registry.Gather()
	if err != nil || familyOf(families, searchSeconds) == nil || familyOf(families, shedTotal) == nil {
		t.Errorf("a node has no %s or no %s: %v", searchSeconds, shedTotal, err)
	}
	others := prometheus.NewRegistry()
	shed := prometheus.NewCounterVec(prometheus.CounterOpts{Name: shedTotal}, []string{"reason"})
	others.MustRegister(shed)
	h := newHistory(s.ui.o.Node, others)
	for i, reason := range []string{"overloaded", "timeout", "not_ready", "overloaded"} { // the first one was before
		shed.WithLabelValues(reason).Add(float64(10 * (i + 1)))
		h.take(now.Add(time.Duration(5*i) * time.Second))
	}
	if late := h.late(); late.shed != 60 {
		t.Errorf("%v requests were given up, want 60", late.shed)
	}
	for range sampleCount + 10 {
		s.ui.history.take(now)
	}
	if n := len(s.ui.history.samples); n != sampleCount {
		t.Errorf("%d samples are kept, want %d", n, sampleCount)
	}
}

func TestReasons(t *testing.T) {
	now := time.Now()
	spec := schemas.Spec{Defaults: schemas.Defaults{TargetRecall: 0.95}}
	m := &schemas.Manifest{Generation: 4, LiveRows: 1, Checkpoint: map[string]int64{"0": 7}}
	heldBack := &schemas.Manifest{Generation: 6, Quality: &schemas.Quality{Measured: 5, Reason: "codes are damaged"}}
	at := func(c schemas.Channel) *commit.Served { return &commit.Served{Record: &c, Own: &c} }
	for want, test := range map[string]struct {
		v    serve.View
		s    state
		late sample
		log  stops
	}{
		"warn: 3 requests shed in the last minute":                                              {v: serve.View{Manifest: m}, late: sample{searches: 100, shed: 3}},
		"bad: 80 requests shed in the last minute":                                              {v: serve.View{Manifest: m}, late: sample{searches: 100, shed: 80}},
		"bad: 1 request shed in the last minute":                                                {v: serve.View{Manifest: m}, late: sample{shed: 1}},
		"bad: Not serving: no generation is promoted yet":                                       {v: serve.View{Ready: errors.New("none")}},
		"warn: Not ready: generation 4 is older than --max-behind allows":                       {v: serve.View{Manifest: m, Ready: errors.New("the newest one is being fetched")}},
		"bad: Stale: still serving generation 4; an object of the newest generation is damaged": {v: serve.View{Manifest: m, Stale: fmt.Errorf("x: %w", schemas.ErrCorrupt)}},
		"bad: Stale: still serving generation 4; not enough memory for the newest generation":   {v: serve.View{Manifest: m, Stale: fmt.Errorf("x: %w", serve.ErrMemory)}},
		"bad: Stale: still serving generation 4; the newest generation cannot be loaded":        {v: serve.View{Manifest: m, Stale: errAway}},
		"bad: 1 partition stopped: nothing produced there becomes searchable":                   {v: serve.View{Manifest: m}, log: stops{partitions: 1, why: []string{"gap"}}},
		"bad: Stale: still serving generation 4; the disk of its cache is full":                 {v: serve.View{Manifest: m, Stale: fmt.Errorf("x: %w", store.ErrDiskFull)}},
		"bad: Stale: still serving generation 4; the index was removed or recreated":            {v: serve.View{Manifest: m, Stale: fmt.Errorf("x: %w", commit.ErrReplaced)}},
		"bad: Not serving": {v: serve.View{Ready: errAway, Stale: errAway}},
		"bad: Recall of recent answers is below the objective":                                  {v: serve.View{Manifest: m, Live: &schemas.Estimate{Recall: 0.9, Low: 0.88, High: 0.93}}},
		"bad: Generation 6 is held back by the quality gate":                                    {v: serve.View{Manifest: m}, s: state{Newest: heldBack}},
		"warn: Generation 6 is served despite the quality gate":                                 {v: serve.View{Manifest: heldBack}, s: state{Newest: heldBack}},
		"warn: Messages arrived, but the index has no rows":                                     {v: serve.View{Manifest: &schemas.Manifest{Checkpoint: map[string]int64{"0": 0, "1": 7}}}},
		"warn: Pinned to generation 4":                                                          {v: serve.View{Manifest: m}, s: state{Served: at(schemas.Channel{Generation: 4, Pinned: true})}},
		"warn: Commits have been waiting for the builder for 30" + thin + "s":                   {v: serve.View{Manifest: m}, s: state{Waiting: map[int]time.Time{1: now.Add(-30 * time.Second)}}},
		"bad: Commits have been waiting for the builder for 5" + thin + "min":                   {v: serve.View{Manifest: m}, s: state{Waiting: map[int]time.Time{1: now.Add(-5 * time.Minute)}}},
		"bad: Stale: still serving generation 4; an object of the newest generation is missing": {v: serve.View{Manifest: m, Stale: fmt.Errorf("x: %w", store.ErrNotFound)}},
		"bad: Not serving; an object of the newest generation is missing":                       {v: serve.View{Ready: errAway, Stale: fmt.Errorf("x: %w", store.ErrNotFound)}},
		"": {v: serve.View{Manifest: m, Live: &schemas.Estimate{Recall: 0.94, Low: 0.92, High: 0.96}}, s: state{Newest: m, Served: at(schemas.Channel{Generation: 4}), Waiting: map[int]time.Time{1: now.Add(-time.Second)}}},
	} {
		test.v.Spec = &spec
		var got []string
		for _, r := range reasonsOf(test.v, test.s, test.late, test.log, now) {
			got = append(got, fmt.Sprintf("%v: %s", r.Level, r.Title))
			if len(r.Do) == 0 {
				t.Errorf("%s: nothing to do is said", r.Title)
			}
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// forget makes the next look read the state.
func forget(r *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = time.Time{}
}

// A page of an index that was made anew in its place shows that one, though it has fewer generations.
func TestPagesOfAnIndexThatWasMadeAnew(t *testing.T) {
	s := newSite(t, false)
	s.append(0, 5, nil)
	s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 5 })
	r := newReader(s.log)
	old, err := r.read(t.Context(), state{})
	if err != nil || old.Served == nil {
		t.Fatalf("%+v, %v", old, err)
	}
	var keys []string
	for info, err := range s.bucket.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	for _, key := range keys {
		if err := s.bucket.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.read(t.Context(), old); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of an index that was removed: %v", err)
	}
	s.log = buildtest.Create(t, s.bucket, s.log.Spec())
	s.append(0, 3, nil)
	anew := s.build(func(m *schemas.Manifest) bool { return m.LiveRows == 3 })
	if now, err := r.read(t.Context(), old); err != nil || now.Newest == nil || now.Newest.LiveRows != 3 || now.Served.Own.Generation != anew.Generation {
		t.Errorf("shows %+v, %v", now, err)
	}
}

package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// failures is how often a generation could not be loaded, for whatever reason.
func failures(m *metrics) (n float64) {
	for _, l := range loadFaults {
		n += testutil.ToFloat64(m.loadFailures.WithLabelValues(l.reason))
	}
	return n + testutil.ToFloat64(m.loadFailures.WithLabelValues(otherwise))
}

// measure runs the measuring of n until the test ends or stop is called.
func measure(t *testing.T, n *Node, share float64) (stop func()) {
	t.Helper()
	n.live.share = share
	n.live.serves(n.current.Load().Manifest())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { n.live.run(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

// What is measured of a stream of requests is the recall of their answers: by vector and like a row, one and many. Exact
// answers do not count. Another measurement of the builder begins a new estimate, deltas do not.
func TestLiveRecall(t *testing.T) {
	n, data := clusteredNode(t, 4000, 64, 8, 32)
	stop := measure(t, n, 1)
	api, snap := n.API(), n.current.Load().Snapshot
	exactly := func(i, k int) map[string]bool {
		hits, _, err := search.New(n.o.Level).Search(t.Context(), snap, data.Vector(i), k, search.Plan{Exact: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for _, h := range hits {
			ids[snap.Parts()[h.Part].IDAt(h.Row)] = true
		}
		return ids
	}
	const k, plan = 10, `"plan":{"nprobe":1,"refine":20}`
	var answered recall.Tally
	ask := func(i int) {
		t.Helper()
		form, asked := fmt.Sprintf(`{"vector":%s,"k":%d,%s}`, vectorJSON(data.Vector(i)), k, plan), []int{i}
		switch i % 3 {
		case 1:
			form = fmt.Sprintf(`{"like":%q,"k":%d,%s}`, data.IDs[i], k, plan)
		case 2:
			asked = append(asked, i+1)
			form = fmt.Sprintf(`{"vectors":[%s,%s],"k":%d,%s}`, vectorJSON(data.Vector(i)), vectorJSON(data.Vector(i+1)), k, plan)
		}
		w := call(api, http.MethodPost, "/v1/search", form)
		var a answerJSON
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		results := a.Results
		if len(results) == 0 {
			results = []hitsJSON{a.hitsJSON}
		}
		for at, r := range results {
			want := exactly(asked[at], k)
			if i%3 == 1 {
				want = exactly(i, k+1)
				delete(want, data.IDs[i])
			}
			f := recall.Found{Of: len(want)}
			for _, h := range r.Hits {
				if want[h.ID] {
					f.Found++
				}
			}
			answered.Add(f)
		}
	}
	for i := 0; testutil.ToFloat64(n.metrics.measured) < 150; i = (i + 1) % 3900 {
		ask(i)
		if i%7 == 0 {
			call(api, http.MethodPost, "/v1/search", fmt.Sprintf(`{"like":%q,"exact":true}`, data.IDs[i]))
		}
	}
	stop()
	e := n.live.current()
	if e == nil || math.Abs(e.Recall-answered.Mean()) > 0.06 || e.Low > e.Recall || e.High < e.Recall || e.Queries < 100 {
		t.Errorf("measured %+v of answers of recall %.3f", e, answered.Mean())
	}
	if answered.Mean() > 0.95 {
		t.Errorf("answers of recall %.3f show nothing", answered.Mean())
	}
	if got := testutil.ToFloat64(n.metrics.liveRecall); got != e.Recall {
		t.Errorf("the metric is %v, %+v was measured", got, e)
	}
	if w := call(api, http.MethodGet, "/v1/snapshots", ""); !strings.Contains(w.Body.String(), `"live":{"recall":0.`) {
		t.Errorf("/v1/snapshots does not tell: %s", w.Body)
	}
	if v := n.View(); v.Live == nil || *v.Live != *e {
		t.Errorf("the view has %+v, %+v was measured", v.Live, e)
	}

	delta := *snap.Manifest()
	delta.Generation++
	n.live.serves(&delta)
	if n.live.current() == nil {
		t.Error("a generation with a delta more has lost the estimate")
	}
	delta.Quality = &schemas.Quality{Measured: delta.Generation}
	n.live.serves(&delta)
	n.live.add(measurementOf(snap.Manifest()), recall.Found{Found: 1, Of: 10}) // late, of the one before
	if e := n.live.current(); e != nil || !math.IsNaN(testutil.ToFloat64(n.metrics.liveRecall)) {
		t.Errorf("after another measurement the estimate is %+v", e)
	}
}

// A sample in hand keeps its snapshot, and nothing else does: not a query that is passed over, not a node that has stopped.
func TestMeasuringLetsGo(t *testing.T) {
	n, data := clusteredNode(t, 1000, 8, 8, 16)
	parts := snapshottest.Write(t, data, n.current.Load().Model(), n.o.Level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: 1000}}, nil)
	q := &queries{vectors: data.Vector(3)}
	plan := search.Plan{NProbe: 1, ScanDims: 16, Refine: 20}
	for _, c := range []struct {
		name  string
		ready bool
		held  bool // until it is measured, or measuring stops
	}{{"passed over", false, false}, {"taken", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			var closed atomic.Bool
			snap, err := snapshot.Open(data.Spec, parts.Manifest, n.current.Load().Model(), parts.Parts, parts.Dead, func() { closed.Store(true) })
			if err != nil {
				t.Fatal(err)
			}
			l := newLive(0.5, search.New(n.o.Level), n.metrics)
			l.ready.Store(c.ready)
			for range 5 { // more than there is room for: none waits
				l.offer(snap, q, 1, plan, [][]search.Hit{{{Part: 0, Row: 3}}})
			}
			snap.Close()
			if closed.Load() == c.held {
				t.Errorf("the snapshot is unmapped: %v", closed.Load())
			}
			if c.held {
				l.stop()
			}
			if !closed.Load() || l.seen.Load() != 5 && !c.held {
				t.Errorf("unmapped: %v, %d queries seen", closed.Load(), l.seen.Load())
			}
			l.ready.Store(true)
			l.offer(snap, q, 1, plan, [][]search.Hit{{{Part: 0, Row: 3}}})
			if len(l.samples) != 0 || !l.ready.Load() {
				t.Error("a sample of what is served no more was taken")
			}
		})
	}
}

// A query that ends after its snapshot was replaced, at the moment when measuring stops, does not have it wait for a sample that never comes.
func TestMeasuringStops_replacedMeanwhile(t *testing.T) {
	n, data := clusteredNode(t, 1000, 8, 8, 16)
	snap, q, plan := n.current.Load().Snapshot, &queries{vectors: data.Vector(3)}, search.Plan{NProbe: 1, ScanDims: 16, Refine: 20}
	snap.Close()
	var queries sync.WaitGroup
	var ended atomic.Bool
	l := newLive(0.5, search.New(n.o.Level), n.metrics)
	for range 4 {
		queries.Go(func() {
			for !ended.Load() {
				l.offer(snap, q, 1, plan, [][]search.Hit{{{Part: 0, Row: 3}}})
			}
		})
	}
	defer queries.Wait()
	defer ended.Store(true)
	for range 5_000 {
		l.ready.Store(true)
		stopped := make(chan struct{})
		go func() {
			l.stop()
			close(stopped)
		}()
		select {
		case <-stopped:
		case <-time.After(20 * time.Second):
			t.Fatal("measuring does not stop")
		}
	}
}

// Work and rest together keep to the share.
func TestPauseAfter(t *testing.T) {
	for _, c := range []struct {
		took  time.Duration
		share float64
		want  time.Duration
	}{{10 * time.Millisecond, 0.01, 990 * time.Millisecond}, {time.Second, 0.5, time.Second}, {time.Second, 1, 0}} {
		if got := pauseAfter(c.took, c.share); (got - c.want).Abs() > time.Microsecond {
			t.Errorf("%v at %v: pause %v, want %v", c.took, c.share, got, c.want)
		}
	}
}

// A node follows the channel back to an older generation and forward again while clients search: no query fails, and each
// answer is of one generation.
func TestRollbackUnderLoad(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 1)
	n := p.node(Options{MeasureShare: 1})
	const last = 12
	for g := 2; g <= last; g++ {
		p.add(g-1, g)
	}
	p.await(n, last)
	stop, asked := clients(t, n.API(), 3)
	for _, g := range []int64{3, last, 1, 7, 2, last} {
		p.serve(g)
		before := asked.Load()
		for deadline := time.Now().Add(time.Minute); n.generation() != g || asked.Load() < before+20; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("generation %d is served after a minute, want %d: %v", n.generation(), g, n.Stale())
			}
		}
	}
	stop()
	if n := failures(n.metrics); n != 0 {
		t.Errorf("%v times the channel could not be followed", n)
	}
}

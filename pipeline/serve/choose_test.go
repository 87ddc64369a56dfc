package serve

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
)

// plannedNode has measured plans.
func plannedNode(tb testing.TB, rows, lists int, ladder ...int) (*Node, *snapshottest.Data) {
	tb.Helper()
	n, data := clusteredNode(tb, rows, lists, ladder...)
	snap := n.current.Load().Snapshot
	const queries, k = 50, 10
	s := recall.Sample{Queries: data.Vectors[:queries*data.Spec.Dim()], N: queries}
	for q := range queries {
		part, row, _ := snap.Find(data.IDs[q])
		s.Self = append(s.Self, search.Hit{Part: part, Row: row})
	}
	var err error
	s.Truth, err = exact.TopK(tb.Context(), n.o.Level, 2, snap, s.Queries, queries, k, func(q, part, row int) bool {
		return s.Self[q].Part == part && s.Self[q].Row == row
	})
	if err != nil {
		tb.Fatal(err)
	}
	if snap.Manifest().Plans, err = recall.Table(tb.Context(), n.o.Level, 2, snap, s, k); err != nil {
		tb.Fatal(err)
	}
	return n, data
}

// The answer says which plan ran, what it cost and what to expect of it.
func TestWishes(t *testing.T) {
	n, data := plannedNode(t, 3000, 32, 8, 16, 32)
	plans := recall.Of(n.current.Load().Manifest().Plans, 0)
	best := plans[len(plans)-1]
	for _, tt := range []struct {
		json, url string
		check     func(a answerJSON) bool
	}{
		{`"effort":0`, "effort=0", func(a answerJSON) bool {
			return a.Usage.Plan.NProbe == plans[0].NProbe && *a.ExpectedRecall == plans[0].Recall && a.Degraded == ""
		}},
		{`"effort":1`, "effort=1", func(a answerJSON) bool {
			return *a.ExpectedRecall == best.Recall && slices.Equal(a.Interval, []float64{best.Low, best.High}) && a.Usage.Bytes > 0
		}},
		{`"budget":{"lists":2}`, "budget.lists=2", func(a answerJSON) bool { return a.Usage.Lists <= 2 && a.Usage.Dims == 32 }},
		{`"budget":{"bytes":1}`, "budget.bytes=1", func(a answerJSON) bool { return a.Degraded == "budget" && *a.ExpectedRecall == plans[0].Recall }},
		{`"budget":{"microseconds":1e6}`, "budget.microseconds=1e6", func(a answerJSON) bool { return *a.ExpectedRecall == best.Recall }},
		{`"dims":16,"effort":1`, "dims=16&effort=1", func(a answerJSON) bool {
			return a.Usage.Dims == 16 && a.Usage.Plan.ScanDims <= 16 && *a.ExpectedRecall < best.Recall && a.Usage.Bytes > 0
		}},
		{`"dims":8`, "dims=8", func(a answerJSON) bool { return a.Usage.Dims == 8 && a.Degraded == "dims" }},
		{`"plan":{"nprobe":16,"margin":0.0001}`, "plan.nprobe=16&plan.margin=0.0001", func(a answerJSON) bool {
			return a.Usage.Lists < 16 && a.Usage.Plan.Margin == 0.0001 && a.ExpectedRecall == nil
		}},
		{`"plan":{"nprobe":4,"originals":true}`, "plan.nprobe=4&plan.originals=true", func(a answerJSON) bool {
			return a.Usage.Plan.Originals && a.Usage.Originals >= 10 && a.Usage.Originals <= a.Usage.Refined && a.Degraded == ""
		}},
		{`"exact":true`, "exact=true", func(a answerJSON) bool { return *a.ExpectedRecall == 1 && a.Interval == nil && a.Degraded == "" }},
		{`"exact":true,"dims":8`, "exact=true&dims=8", func(a answerJSON) bool { return a.ExpectedRecall == nil && a.Usage.Dims == 8 }},
	} {
		t.Run(tt.url, func(t *testing.T) {
			a := decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"fields":[],%s}`, vectorJSON(data.Vector(1)), tt.json)))
			if !tt.check(a) {
				t.Errorf("%+v", a)
			}
			w := post(n.API(), "/v1/search?"+tt.url, vectorsStream(t, singleItems, 32, data.Vector(1)), "Content-Type", arrowType, "Accept", jsonType)
			if b := decodeAnswer(t, w); !tt.check(b) || b.Results[0].Hits[0].ID != a.Hits[0].ID {
				t.Errorf("in Arrow: %+v", b)
			}
		})
	}
}

// A node without originals answers exact searches by int8 rows, and says so.
func TestExactWithoutOriginals(t *testing.T) {
	p := newPublisher(t)
	n := p.node(Options{Originals: OriginalsNone})
	p.add(0, 30)
	p.await(n, 1)
	request := fmt.Sprintf(`{"vector":%s,"exact":true}`, vectorJSON(unit(1)))
	if a := decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", request)); a.Degraded != "" { // segments have them anyway
		t.Errorf("%+v", a)
	}
	bare, data := clusteredNode(t, 3000, 32, 16, 32)
	snap := snapshottest.BuildBare(t, data, data.Train(t, avx.Generic, 32), avx.Generic, []snapshottest.Group{{Kind: snapshottest.Chunks, End: 3000}}, nil)
	now, err := bare.newServed(snap, nil, bare.o.Log, "", "")
	if err != nil {
		t.Fatal(err)
	}
	bare.current.Swap(now).Close()
	a := decodeAnswer(t, call(bare.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"exact":true}`, vectorJSON(data.Vector(1)))))
	if a.Degraded != "int8" || a.ExpectedRecall != nil || testutil.ToFloat64(bare.metrics.degraded.WithLabelValues("int8")) != 1 {
		t.Errorf("%+v", a)
	}
	a = decodeAnswer(t, call(bare.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"plan":{"nprobe":4,"originals":true}}`, vectorJSON(data.Vector(1)))))
	if a.Degraded != "int8" || a.Usage.Originals != 0 || len(a.Hits) != 10 {
		t.Errorf("%+v", a)
	}
}

// At many times what the node can do at once no query fails, those that waited are degraded down to the floor and no
// further, and nothing that was asked for explicitly is.
func TestOverload_degradesToTheFloor(t *testing.T) {
	const floor, clients, each = 0.7, 32, 20
	n, data := plannedNode(t, 3000, 32, 16, 32)
	n.running = make(chan struct{}, 1)
	n.o.DegradeTo, n.o.DegradeAfter = floor, time.Nanosecond
	var mu sync.Mutex
	degraded, explicit := 0, 0
	var all, there sync.WaitGroup
	there.Add(clients)
	n.running <- struct{}{} // until all are there
	for c := range clients {
		all.Go(func() {
			there.Done()
			for i := range each {
				how := `"target_recall":0.99`
				if i%4 == 3 {
					how = `"plan":{"nprobe":20,"refine":300}`
				}
				w := call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"fields":[],%s}`, vectorJSON(data.Vector(c*each+i)), how))
				if w.Code != http.StatusOK {
					t.Errorf("%d %s", w.Code, w.Body)
					return
				}
				a := decodeAnswer(t, w)
				mu.Lock()
				switch {
				case i%4 == 3 && (a.Degraded != "" || a.Usage.Plan.NProbe != 20):
					t.Errorf("an explicit plan: %+v", a.Usage)
				case i%4 == 3:
					explicit++
				case a.Degraded == degradedOverload:
					degraded++
					if *a.ExpectedRecall < floor {
						t.Errorf("recall %v is below the floor", *a.ExpectedRecall)
					}
				case a.Degraded != "" || a.ExpectedRecall == nil || *a.ExpectedRecall < 0.95:
					t.Errorf("%+v", a)
				}
				mu.Unlock()
			}
		})
	}
	there.Wait()
	n.leave(1)
	all.Wait()
	if degraded < clients || explicit != clients*each/4 {
		t.Errorf("%d queries were degraded, %d ran an explicit plan", degraded, explicit)
	}
	if got := testutil.ToFloat64(n.metrics.degraded.WithLabelValues(degradedOverload)); got != float64(degraded) {
		t.Errorf("%v are counted, want %d", got, degraded)
	}
	n.o.DegradeTo = 0
	c, reason, err := n.choose(n.current.Load().Snapshot, recall.Wish{}, time.Hour)
	if err != nil || reason != "" || c.Expected == nil {
		t.Errorf("a node that must not degrade: %+v, %s, %v", c, reason, err)
	}
}

func TestPace(t *testing.T) {
	var p pace
	if p.now() != 1 {
		t.Errorf("at first %v", p.now())
	}
	p.add(5, 0) // nothing was measured
	for range 200 {
		p.add(300, 100)
	}
	if got := p.now(); got < 2.9 || got > 3.0001 {
		t.Errorf("after queries that took three times as long: %v", got)
	}
	p.add(1e9, 100)
	if got := p.now(); got > 3+paceMost*paceShare {
		t.Errorf("after a pause: %v", got)
	}
	for range 200 {
		p.add(50, 100)
	}
	if got := p.now(); got < 0.499 || got > 0.51 {
		t.Errorf("after queries that took half as long: %v", got)
	}
}

// Before a node refuses, it answers with less, if it may.
func TestCrowdedNodeDegrades(t *testing.T) {
	n, data := plannedNode(t, 3000, 32, 8, 16, 32)
	n.o.DegradeTo, n.o.DegradeAfter = 0.3, time.Hour
	for waiting, want := range map[int64]string{0: "", int64(n.o.MaxWaiting)/2 - 1: "", int64(n.o.MaxWaiting) / 2: degradedOverload} {
		n.waiting.Store(waiting)
		a := decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"effort":1}`, vectorJSON(data.Vector(1)))))
		if a.Degraded != want {
			t.Errorf("while %d of %d wait: degraded %q, want %q", waiting, n.o.MaxWaiting, a.Degraded, want)
		}
	}
	n.waiting.Store(0)
}

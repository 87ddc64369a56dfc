package serve

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/index/search"
)

func TestSearchesNearASwap(t *testing.T) {
	var s swapTimes
	at := time.Now()
	if s.near(at) {
		t.Error("near a swap before the first")
	}
	s.begin()
	if !s.near(at.Add(time.Hour)) {
		t.Error("not near a swap that is under way")
	}
	s.end(at)
	if !s.near(at.Add(nearSwap)) || s.near(at.Add(nearSwap+1)) {
		t.Errorf("near the swap after %v: %v, after 1 ns more: %v, want true and false", nearSwap, s.near(at.Add(nearSwap)), s.near(at.Add(nearSwap+1)))
	}
}

func TestSwapRatioComparesTails(t *testing.T) {
	r := prometheus.NewRegistry()
	m := newMetrics(r)
	ratio := func() float64 {
		t.Helper()
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "adastream_query_swap_p99_ratio" {
				return f.Metric[0].Gauge.GetValue()
			}
		}
		t.Fatal("there is no adastream_query_swap_p99_ratio")
		return 0
	}
	for range 1000 {
		m.searched(askedPlanned, search.Usage{}, 1, 2*time.Millisecond, false)
	}
	if got := ratio(); !math.IsNaN(got) {
		t.Errorf("without searches near a swap: %v, want NaN", got)
	}
	for i := range 1000 {
		took := time.Millisecond
		if i%20 == 0 {
			took = 3 * time.Millisecond
		}
		m.searched(askedPlanned, search.Usage{}, 1, took, true)
	}
	if got := ratio(); math.Abs(got-1.5) > 1e-9 {
		t.Errorf("%v, want 1.5", got)
	}
}

// A search right after a swap counts as near it.
func TestSearchAfterASwapIsNear(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 10)
	n := p.node(Options{})
	for n.Stale() != nil { // until the swap is over
		time.Sleep(time.Millisecond)
	}
	call(n.API(), http.MethodPost, "/v1/search", `{"like":"id-1"}`)
	if w := call(n.Ops(), http.MethodGet, "/metrics", ""); !strings.Contains(w.Body.String(), `adastream_query_late_search_seconds_count{near_swap="true"} 1`) {
		t.Errorf("the search is not near the swap:\n%s", w.Body)
	}
}

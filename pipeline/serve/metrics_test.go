package serve

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

func histogramOf(t *testing.T, h prometheus.Metric) *dto.Histogram {
	t.Helper()
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Histogram
}

// TestSearchesByPlan: each request counts as what it asked for, in classic and in native buckets.
func TestSearchesByPlan(t *testing.T) {
	n, _ := plannedNode(t, 2000, 16, 32, 64)
	vector := make([]float32, 64)
	vector[0] = 1
	v := vectorJSON(vector)
	for body, want := range map[string]planKind{
		`{"vector":V}`:                     askedPlanned,
		`{"vector":V,"effort":0.5}`:        askedPlanned,
		`{"vector":V,"plan":{"nprobe":3}}`: askedExplicit,
		`{"vector":V,"exact":true}`:        askedExact,
		`{"vectors":[V,V],"exact":true}`:   askedExact,
	} {
		body = strings.ReplaceAll(body, "V", v)
		var before [len(planLabels)]uint64
		for kind := range planLabels {
			before[kind] = histogramOf(t, n.metrics.searchSeconds[kind]).GetSampleCount()
		}
		if w := call(n.API(), http.MethodPost, "/v1/search", body); w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
		for i := range planLabels {
			kind := planKind(i)
			h := histogramOf(t, n.metrics.searchSeconds[kind])
			if more := h.GetSampleCount() - before[kind]; (more > 0) != (kind == want) {
				t.Errorf("%s: %d more %s searches, it is %s", body, more, kind, want)
			}
			if kind == want && (h.GetSchema() == 0 || len(h.PositiveSpan) == 0 || len(h.Bucket) == 0) {
				t.Errorf("%s: not both kinds of buckets: %v", kind, h)
			}
		}
	}
	if got := histogramOf(t, n.metrics.requestSeconds.WithLabelValues("search").(prometheus.Metric)).GetSampleCount(); got != 5 {
		t.Errorf("%d requests have a time, want 5", got)
	}
}

// TestShedIsCounted: clients that went away are no fault of the node's.
func TestShedIsCounted(t *testing.T) {
	n := newPublisher(t).node(Options{})
	for _, p := range []*problem{{Code: codeOverloaded, Status: 429}, errNotReady, {Code: codeTimeout, Status: 503}, {Code: codeTimeout, Status: statusGone}, {Code: codeInvalid, Status: 400}} {
		n.metrics.refused("search", p, time.Now())
	}
	for _, reason := range []string{codeOverloaded, codeNotReady, codeTimeout} {
		if got := testutil.ToFloat64(n.metrics.shed.WithLabelValues(reason)); got != 1 {
			t.Errorf("%v requests were %s, want 1", got, reason)
		}
	}
	if got := testutil.CollectAndCount(n.metrics.shed); got != 3 {
		t.Errorf("%d reasons, want 3", got)
	}
}

func TestLoadFailuresAreToldApart(t *testing.T) {
	n := newPublisher(t).node(Options{})
	for reason, err := range map[string]error{
		"replaced": fmt.Errorf("%w: %w", commit.ErrReplaced, store.ErrNotFound), "memory": fmt.Errorf("x: %w", ErrMemory), "cache_full": store.ErrCacheFull, "disk_full": fmt.Errorf("x: %w", store.ErrDiskFull), "corrupt": schemas.ErrCorrupt, "denied": store.ErrDenied,
		"transient": store.ErrUnknown, "not_found": store.ErrNotFound, "other": errors.New("a newer format"),
	} {
		before := testutil.ToFloat64(n.metrics.loadFailures.WithLabelValues(reason))
		n.metrics.loadFailed(err)
		if got := testutil.ToFloat64(n.metrics.loadFailures.WithLabelValues(reason)); got != before+1 {
			t.Errorf("%v is not counted as %s", err, reason)
		}
	}
}

// TestMetricsOfWhatIsServed: they say what the manifest says, and that the node follows.
func TestMetricsOfWhatIsServed(t *testing.T) {
	p := newPublisher(t)
	registry := prometheus.NewRegistry()
	n := p.node(Options{Registry: registry})
	shown := func(name string) float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "adastream_query_"+name {
				return f.Metric[0].GetGauge().GetValue()
			}
		}
		t.Fatalf("no metric %s", name)
		return 0
	}
	if got := shown("ready"); got != 0 {
		t.Errorf("before the first generation ready is %v", got)
	}
	p.add(0, 100)
	p.await(n, 1)
	snap := n.hold()
	defer snap.Release()
	m := snap.Manifest()
	for name, want := range map[string]float64{
		"ready": 1, "stale": 0, "generation": 1, "generation_timestamp_seconds": float64(m.Created.UnixMilli()) / 1000,
		"recall_objective_ratio": snap.Spec().Defaults.TargetRecall, "searchable_offset": float64(m.Checkpoint["0"]), "places": float64(n.o.MaxRunning), "places_taken": 0,
	} {
		if got := shown(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if mapped := shown("mapped_bytes"); mapped <= 0 || shown("resident_bytes") <= 0 {
		t.Errorf("%v bytes are mapped, %v resident", mapped, shown("resident_bytes"))
	}
}

// TestAnsweringCountsWithoutAllocating: what is counted of a request costs no memory.
func TestAnsweringCountsWithoutAllocating(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry()) // of no node: what that does beside would be counted too
	m.answered("search", http.StatusOK, time.Now())
	if got := testing.AllocsPerRun(100, func() { m.answered("search", http.StatusOK, time.Now()) }); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

package build

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// What a builder shows is what it has published.
func TestMetricsOfAGeneration(t *testing.T) {
	w := newWorld(t, 11)
	w.ingest(0, 900, 5000, nil)
	b, stop := w.start(Options{MinTrainRows: 256})
	w.settledWith(func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
	w.awaitTrue("promoted", func() bool {
		return testutil.ToFloat64(b.metrics.promoted) == testutil.ToFloat64(b.metrics.generation)
	})
	stop()
	m := w.latest()
	chunks := 0.0
	for _, c := range m.Chunks {
		chunks += float64(c.Rows.Size + c.Codes.Size + c.Vectors.Size)
	}
	got := func(kind string) float64 { return testutil.ToFloat64(b.metrics.publishedBytes.WithLabelValues(kind)) }
	if got("chunks") < chunks || got("models") < float64(m.Model.Size) {
		t.Errorf("wrote %v bytes of chunks and %v of models, the generation has %v and %d", got("chunks"), got("models"), chunks, m.Model.Size)
	}
	for name, c := range map[string]struct{ got, want float64 }{
		"promoted":     {testutil.ToFloat64(b.metrics.promoted), float64(w.served().Generation)},
		"promoted at":  {testutil.ToFloat64(b.metrics.promotedTime), seconds(w.served().Created)},
		"published at": {testutil.ToFloat64(b.metrics.generationTime), seconds(m.Created)},
		"newest":       {testutil.ToFloat64(b.metrics.newestTime), float64(m.Produced) / 1000},
		"objective":    {testutil.ToFloat64(b.metrics.objective), w.log.Spec().Defaults.TargetRecall},
		"longest list": {testutil.ToFloat64(b.metrics.listRows.WithLabelValues("1")), float64(m.Lists.Longest)},
		"failed jobs":  {testutil.ToFloat64(b.metrics.jobFailures.WithLabelValues(string(rewrite))), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", name, c.got, c.want)
		}
	}
}

// What a builder begins again after is told apart, and what it stops at is none of it.
func TestCausesAreToldApart(t *testing.T) {
	for want, err := range map[string]error{
		"disk_full": fmt.Errorf("x: %w", store.ErrDiskFull), "cache_full": store.ErrCacheFull, "denied": store.ErrDenied, "transient": store.ErrUnknown, "": schemas.ErrCorrupt,
	} {
		if got := causeOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

func TestListQuantiles(t *testing.T) {
	m := newMetrics(nil, &health{})
	rows := make([]int, 100)
	for i := range rows {
		rows[i] = 100 - i
	}
	m.lists(rows)
	for quantile, want := range map[string]float64{"0.5": 50, "0.9": 90, "0.99": 99, "1": 100} {
		if got := testutil.ToFloat64(m.listRows.WithLabelValues(quantile)); got != want {
			t.Errorf("quantile %s is %v rows, want %v", quantile, got, want)
		}
	}
	m.lists(nil)
	if n := testutil.CollectAndCount(m.listRows); n != 0 {
		t.Errorf("%d quantiles without lists", n)
	}
}

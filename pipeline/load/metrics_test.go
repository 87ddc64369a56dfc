package load

import (
	"math/rand/v2"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/pipeline/store"
)

// Metrics are what the report says, and of a part that is done already they say so.
func TestMetrics_ofAPart(t *testing.T) {
	names, _ := data(t, rand.New(rand.NewPCG(3, 3)), 3, 400)
	shards := open(t, store.NewMemory(), testSpec(2, 4))
	o := options(t, shards, names, 1, 2)
	o.Metrics, o.FlushRows = NewMetrics(prometheus.NewRegistry()), 50
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	m := o.Metrics
	for _, of := range []struct {
		what string
		is   prometheus.Collector
		want int64
	}{{"read", m.read, report.Read}, {"rows", m.rows, report.Rows}, {"deletes", m.deletes, report.Deletes}, {"quarantined", m.quarantined, report.Quarantined},
		{"commits", m.commits, int64(report.Commits)}, {"files", m.files, 1}, {"files read", m.filesRead, 1}, {"done", m.done, 1}} {
		if got := testutil.ToFloat64(of.is); got != float64(of.want) || of.want == 0 {
			t.Errorf("%s: %v, want %d", of.what, got, of.want)
		}
	}
	if testutil.ToFloat64(m.segmentBytes) < 1000 {
		t.Errorf("%v bytes of segments", testutil.ToFloat64(m.segmentBytes))
	}
	o.Metrics = NewMetrics(prometheus.NewRegistry())
	if report, err = Run(t.Context(), o); err != nil || !report.Already {
		t.Fatalf("again: %+v, %v", report, err)
	}
	if testutil.ToFloat64(o.Metrics.done) != 1 || testutil.ToFloat64(o.Metrics.rows) != 0 {
		t.Error("again: it is not done, or has rows")
	}
}

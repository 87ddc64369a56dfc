package events

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/schemas"
)

// What is to be told counts from its promotion until it is acknowledged; a failure is told until something goes well again.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	if m.Ready() == nil {
		t.Error("it is ready before it has looked")
	}
	m.looked(nil)
	if err := m.Ready(); err != nil || m.lag() != 0 {
		t.Errorf("nothing to tell: %v, lag %v", err, m.lag())
	}
	e := &schemas.Event{Sequence: 3, Generation: 7, Promoted: time.Now().Add(-time.Minute)}
	m.looked(e)
	if lag := m.lag(); lag < 60 || lag > 70 {
		t.Errorf("lag of an event of a minute ago: %v", lag)
	}
	m.failed(fmt.Errorf("broker: %w", schemas.ErrTransient))
	if m.Ready() == nil || m.lag() < 60 {
		t.Errorf("after a failure: %v, lag %v", m.Ready(), m.lag())
	}
	m.failed(nil) // it has ended
	m.acknowledged(e)
	if err := m.Ready(); err != nil || m.lag() != 0 {
		t.Errorf("acknowledged: %v, lag %v", err, m.lag())
	}
	for want, metric := range map[string]prometheus.Collector{"1 error": m.errors, "1 told": m.told, "7 generation": m.generation, "3 sequence": m.sequence} {
		var n float64
		if _, err := fmt.Sscan(want, &n); err != nil || testutil.ToFloat64(metric) != n {
			t.Errorf("%v, want %s", testutil.ToFloat64(metric), want)
		}
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 6 {
		t.Errorf("%d metrics, %v", n, err)
	}
}

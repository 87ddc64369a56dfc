package ingest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
	"github.com/adastream/adastream/schemas"
)

// shown is the sum of all values of a metric.
func shown(t *testing.T, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "adastream_ingestor_"+name {
			for _, m := range f.Metric {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
			return sum
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestLagGrowsWhileNothingMoves: an ingestor that cannot write says for how long it has been behind, whenever it is asked.
func TestLagGrowsWhileNothingMoves(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.edge.fail(func(string) error { return fmt.Errorf("no answer: %w", store.ErrTransient) }, nil)
	registry := prometheus.NewRegistry()
	run := r.start(func(o *Options) { o.Registry = registry })
	produced := time.Now()
	message := rowsMessage(t, 3, 0)
	r.produce(1, source.Message{Value: message})
	r.until("waiting", func() bool { return shown(t, registry, "partitions_waiting") == 1 })
	if got := shown(t, registry, "lag_offsets"); got != 1 {
		t.Errorf("%v offsets behind, want 1", got)
	}
	first := shown(t, registry, "lag_seconds")
	r.until("later", func() bool { return shown(t, registry, "lag_seconds") > first })
	if got, most := shown(t, registry, "lag_seconds"), time.Since(produced).Seconds()+1; got > most {
		t.Errorf("%v seconds behind, the record is at most %v old", got, most)
	}
	if got := shown(t, registry, "newest_record_timestamp_seconds"); got != 0 {
		t.Errorf("%v is the newest record, and none is committed", got)
	}
	r.edge.fail(nil, nil)
	r.await(0, 1)
	r.until("at the end", func() bool { return shown(t, registry, "lag_seconds") == 0 && shown(t, registry, "lag_offsets") == 0 })
	for name, want := range map[string]float64{"partitions_waiting": 0, "rows_total": 3, "messages_total": 1, "message_bytes_total": float64(len(message))} {
		if got := shown(t, registry, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := shown(t, registry, "newest_record_timestamp_seconds"); got < float64(produced.Add(-time.Second).Unix()) {
		t.Errorf("the newest record is of %v, it was produced at %v", got, produced)
	}
	run.stop(t)
}

// TestStopsAreToldApart: what an operator has to do differs.
func TestStopsAreToldApart(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry, newBoard())
	for _, err := range []error{&GapError{}, fmt.Errorf("x: %w", &PoisonError{}), fmt.Errorf("x: %w", schemas.ErrCorrupt), errors.New("another topic")} {
		m.stopped(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "adastream_ingestor_partition_stops_total" {
			continue
		}
		for _, metric := range f.Metric {
			if metric.Counter.GetValue() != 1 {
				t.Errorf("%v: want 1", metric)
			}
		}
		return
	}
	t.Error("no stops are counted")
}

// TestStoreBeginsToOverwrite: an ingestor that runs says so, and goes on.
func TestStoreBeginsToOverwrite(t *testing.T) {
	bucket := &storetest.Turncoat{Bucket: store.NewMemory()}
	r := newRig(t, 1, bucket)
	registry := prometheus.NewRegistry()
	run := r.start(func(o *Options) { o.Registry, o.ProbeEvery = registry, time.Millisecond })
	r.until("ready", func() bool { return run.Ready() == nil })
	bucket.Overwrites.Store(true)
	r.until("not ready", func() bool {
		return errors.Is(run.Ready(), store.ErrIgnoresCondition) && shown(t, registry, "store_ignores_condition") == 1 && shown(t, registry, "ready") == 0
	})
	r.produce(1, source.Message{Value: rowsMessage(t, 3, 0)})
	r.await(0, 1)
	bucket.Overwrites.Store(false)
	r.until("ready again", func() bool { return run.Ready() == nil })
	run.stop(t)
}

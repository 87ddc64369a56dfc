package events

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/adastream/adastream/schemas"
)

// Metrics are those of one line of events. Safe for concurrent use.
type Metrics struct {
	told, errors         prometheus.Counter
	generation, sequence prometheus.Gauge

	mu    sync.Mutex
	since time.Time // when that was promoted which is to be told, zero for nothing
	err   error     // why nothing is told
}

// NewMetrics registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "events", Name: name, Help: help}
	}
	m := &Metrics{err: errors.New("the topic was not read yet")}
	m.told = f.NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "events", Name: "told_total", Help: "Number of events acknowledged by the broker."})
	m.errors = f.NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "events", Name: "errors_total", Help: "Number of retries after an error of the store or the broker."})
	m.generation = f.NewGauge(gauge("told_generation", "Generation number of the newest event sent by this process. 0 before the first."))
	m.sequence = f.NewGauge(gauge("told_sequence", "Sequence number in the channel of the promotion of the newest event sent. 0 before the first."))
	f.NewGaugeFunc(gauge("lag_seconds", "Age of the oldest known promotion that has not been sent, in seconds. 0 if all have been."), m.lag)
	f.NewGaugeFunc(gauge("ready", "1 while the process is ready, as in /readyz: its last check of the channel and its last event succeeded. Else 0."), func() float64 {
		if m.Ready() != nil {
			return 0
		}
		return 1
	})
	return m
}

// Ready says why nothing is told, or nil.
func (m *Metrics) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *Metrics) lag() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since.IsZero() {
		return 0
	}
	return max(0, time.Since(m.since).Seconds())
}

func (m *Metrics) failed(err error) {
	if !errors.Is(err, schemas.ErrTransient) {
		return
	}
	m.errors.Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// looked notes what is to be told, nil for nothing.
func (m *Metrics) looked(e *schemas.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since = (time.Time{}); e != nil {
		m.since = e.Promoted
		return
	}
	m.err = nil
}

func (m *Metrics) acknowledged(e *schemas.Event) {
	m.told.Inc()
	m.generation.Set(float64(e.Generation))
	m.sequence.Set(float64(e.Sequence))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since, m.err = time.Time{}, nil
}

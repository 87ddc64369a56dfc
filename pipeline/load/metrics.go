package load

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/adastream/adastream/schemas"
)

// Metrics are those of one process that loads.
type Metrics struct {
	read, rows, deletes, quarantined prometheus.Counter
	commits, segmentBytes            prometheus.Counter
	files, filesRead, done           prometheus.Gauge
}

// NewMetrics registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "load", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "load", Name: name, Help: help})
	}
	return &Metrics{
		read:         counter("read_rows_total", "Rows of the part that were read, those that an earlier run had committed included."),
		rows:         counter("rows_total", "Upserts committed."),
		deletes:      counter("deletes_total", "Deletes committed."),
		quarantined:  counter("quarantined_rows_total", "Rows that could not be indexed and are kept in quarantine."),
		commits:      counter("commits_total", "Commit records written."),
		segmentBytes: counter("segment_bytes_total", "Bytes of the segments committed."),
		files:        gauge("files", "Files that the part reads: its own, or all where there are fewer files than parts."),
		filesRead:    gauge("files_read", "Of these files those that were read to their end."),
		done:         gauge("done", "1 when all of the part is committed, else 0."),
	}
}

func (m *Metrics) committed(c *schemas.Commit) {
	m.commits.Inc()
	m.rows.Add(float64(c.Rows))
	m.deletes.Add(float64(c.Deletes))
	for _, n := range c.Quarantined {
		m.quarantined.Add(float64(n))
	}
	if c.Segment != nil {
		m.segmentBytes.Add(float64(c.Segment.Size))
	}
}

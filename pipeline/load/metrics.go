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
		read:         counter("read_rows_total", "Number of rows of the part that were read, including those that an earlier run committed."),
		rows:         counter("rows_total", "Number of upserts committed."),
		deletes:      counter("deletes_total", "Number of deletes committed."),
		quarantined:  counter("quarantined_rows_total", "Number of rows refused and kept in quarantine."),
		commits:      counter("commits_total", "Number of commit records written."),
		segmentBytes: counter("segment_bytes_total", "Bytes of the segments committed."),
		files:        gauge("files", "Number of files that the part reads: its own, or all if there are fewer files than parts."),
		filesRead:    gauge("files_read", "Number of files of the part that were read to their end."),
		done:         gauge("done", "1 when the whole part is committed, else 0."),
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

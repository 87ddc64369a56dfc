package ingest

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/adastream/adastream/schemas"
)

type metrics struct {
	rows, deletes          prometheus.Counter
	segments, segmentBytes prometheus.Counter
	commits, fenced, gaps  prometheus.Counter
	ignored                prometheus.Counter
	quarantined, transient *prometheus.CounterVec
	commitSeconds          prometheus.Histogram
	lag                    *prometheus.GaugeVec
	owned, stopped         prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "adastream", Subsystem: "ingestor", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "ingestor", Name: name, Help: help}
	}
	return &metrics{
		rows:         f.NewCounter(counter("rows_total", "Upserts committed.")),
		deletes:      f.NewCounter(counter("deletes_total", "Deletes committed.")),
		quarantined:  f.NewCounterVec(counter("quarantined_rows_total", "Rows that could not be indexed and are kept in quarantine, by reason; a message that was refused whole counts as one."), []string{"reason"}),
		segments:     f.NewCounter(counter("segments_total", "Segments committed.")),
		segmentBytes: f.NewCounter(counter("segment_bytes_total", "Bytes of the segments committed.")),
		commits:      f.NewCounter(counter("commits_total", "Commit records written.")),
		fenced:       f.NewCounter(counter("fenced_total", "Times that another ingestor had committed first and work was dropped.")),
		gaps:         f.NewCounter(counter("gaps_total", "Commit records that say that offsets were lost to retention.")),
		ignored:      f.NewCounter(counter("ignored_columns_total", "Columns of messages that the index does not declare, each counted once for a partition.")),
		transient:    f.NewCounterVec(counter("transient_errors_total", "Times that the broker or the store did not answer and was asked again, by what was wanted."), []string{"kind"}),
		commitSeconds: f.NewHistogram(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "ingestor", Name: "commit_seconds",
			Help: "Time from the end of a cut to its commit: assigning, encoding and all puts.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 14)}),
		lag:     f.NewGaugeVec(gauge("lag_offsets", "Offsets between the end of the chain and the end of the log, for each owned partition."), []string{"partition"}),
		owned:   f.NewGauge(gauge("partitions_owned", "Partitions that the consumer group assigns to this ingestor.")),
		stopped: f.NewGauge(gauge("partitions_stopped", "Owned partitions that need an operator.")),
	}
}

// committed counts what is in the chain now.
func (m *metrics) committed(c *schemas.Commit, seconds float64) {
	m.commits.Inc()
	m.rows.Add(float64(c.Rows))
	m.deletes.Add(float64(c.Deletes))
	for reason, n := range c.Quarantined {
		m.quarantined.WithLabelValues(reason).Add(float64(n))
	}
	if c.Segment != nil {
		m.segments.Inc()
		m.segmentBytes.Add(float64(c.Segment.Size))
	}
	m.commitSeconds.Observe(seconds)
}

func (m *metrics) lagging(partition int, offsets int64) {
	m.lag.WithLabelValues(strconv.Itoa(partition)).Set(float64(max(0, offsets)))
}

// assigned begins a generation of the group.
func (m *metrics) assigned(partitions int) {
	m.owned.Set(float64(partitions))
	m.stopped.Set(0)
	m.lag.Reset()
}

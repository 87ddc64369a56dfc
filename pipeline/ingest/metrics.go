package ingest

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/adastream/adastream/schemas"
)

type metrics struct {
	rows, deletes          prometheus.Counter
	messages, messageBytes prometheus.Counter
	segments, segmentBytes prometheus.Counter
	commits, fenced, gaps  prometheus.Counter
	ignored                prometheus.Counter
	quarantined, transient *prometheus.CounterVec
	quarantinedBytes       *prometheus.CounterVec
	stops                  *prometheus.CounterVec
	commitSeconds          prometheus.Histogram
	lag, committedTo       *prometheus.GaugeVec
	lagSeconds             *lagSeconds
	owned                  prometheus.Gauge
	newest                 newest
}

// Why a partition stops, as labels of metrics.
const (
	stopGap     = "gap"
	stopFlood   = "flood"
	stopCorrupt = "corrupt"
	stopOther   = "other"
)

func newMetrics(r prometheus.Registerer, b *board) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "adastream", Subsystem: "ingestor", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "ingestor", Name: name, Help: help}
	}
	m := &metrics{
		rows:             f.NewCounter(counter("rows_total", "Number of upserts committed.")),
		deletes:          f.NewCounter(counter("deletes_total", "Number of deletes committed.")),
		messages:         f.NewCounter(counter("messages_total", "Number of messages committed in full, including those refused whole.")),
		messageBytes:     f.NewCounter(counter("message_bytes_total", "Bytes of the messages committed in full, as decompressed by the Kafka client.")),
		quarantined:      f.NewCounterVec(counter("quarantined_rows_total", "Number of rows refused and kept in quarantine, by reason. A message refused whole counts as one."), []string{"reason"}),
		quarantinedBytes: f.NewCounterVec(counter("quarantined_bytes_total", "Bytes of the refused rows and messages kept in quarantine, by reason."), []string{"reason"}),
		segments:         f.NewCounter(counter("segments_total", "Number of segments committed.")),
		segmentBytes:     f.NewCounter(counter("segment_bytes_total", "Bytes of the segments committed.")),
		commits:          f.NewCounter(counter("commits_total", "Number of commit records written.")),
		fenced:           f.NewCounter(counter("fenced_total", "Number of commit conflicts: another ingestor committed first and work was dropped. A few are normal when partitions move.")),
		gaps:             f.NewCounter(counter("gaps_total", "Number of commit records of a gap: offsets lost to retention.")),
		ignored:          f.NewCounter(counter("ignored_columns_total", "Number of message columns that the index does not declare, each counted once per partition.")),
		transient:        f.NewCounterVec(counter("transient_errors_total", "Number of retries because the broker, the store or the schema registry failed to answer, by what was requested."), []string{"kind"}),
		stops:            f.NewCounterVec(counter("partition_stops_total", "Number of times that a partition stopped and needed an operator, by reason: data was lost to retention or the topic was created anew (gap), nearly everything was refused (flood), the store contradicts itself (corrupt), other. Should be 0."), []string{"reason"}),
		commitSeconds: f.NewHistogram(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "ingestor", Name: "commit_seconds",
			Help: "Time from the end of a cut to its commit, in seconds: assigning, encoding and all puts.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 14),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour}),
		lag:         f.NewGaugeVec(gauge("lag_offsets", "Lag of an owned partition in offsets: from the end of its chain of commits to the end of the log, at the last fetch."), []string{"partition"}),
		committedTo: f.NewGaugeVec(gauge("committed_offset", "Offset up to which everything is committed, per owned partition: the end of its chain of commits."), []string{"partition"}),
		owned:       f.NewGauge(gauge("partitions_owned", "Number of partitions that the consumer group assigns to this ingestor.")),
	}
	m.lagSeconds = &lagSeconds{since: map[int]time.Time{}, GaugeVec: prometheus.NewGaugeVec(gauge("lag_seconds",
		"Age of the oldest uncommitted record of an owned partition, in seconds. 0 at the end of the log. If that record is not fetched yet, the age of the one before it."), []string{"partition"})}
	if r != nil {
		r.MustRegister(m.lagSeconds)
	}
	f.NewGaugeFunc(gauge("partitions_stopped", "Number of owned partitions that stopped and need an operator."), func() float64 { return float64(b.count(stopped)) })
	f.NewGaugeFunc(gauge("partitions_waiting", "Number of owned partitions that wait for an answer of the broker or the store."), func() float64 { return float64(b.count(retrying)) })
	f.NewGaugeFunc(gauge("newest_record_timestamp_seconds", "Largest timestamp of a committed record in the owned partitions, in Unix seconds. 0 while none is known."),
		func() float64 { return float64(m.newest.get()) / 1000 })
	f.NewGaugeFunc(gauge("ready", "1 while the ingestor is ready, as in /readyz: in its group and doing all its work. Else 0."), func() float64 {
		if b.ready() != nil {
			return 0
		}
		return 1
	})
	for _, reason := range schemas.Reasons() { // so that they are there before the first
		m.quarantined.WithLabelValues(reason)
		m.quarantinedBytes.WithLabelValues(reason)
	}
	for _, kind := range []string{"identity", "model", "head", "bounds", "fetch", "schema", "put", "append", "offsets"} {
		m.transient.WithLabelValues(kind)
	}
	for _, reason := range []string{stopGap, stopFlood, stopCorrupt, stopOther} {
		m.stops.WithLabelValues(reason)
	}
	return m
}

// committed counts what is in the chain now.
func (m *metrics) committed(r *schemas.Commit, c *cut, took time.Duration) {
	m.newest.reached(c.watermark)
	m.commits.Inc()
	m.rows.Add(float64(r.Rows))
	m.deletes.Add(float64(r.Deletes))
	m.messages.Add(float64(c.messages))
	m.messageBytes.Add(float64(c.messageBytes))
	for _, q := range c.bad {
		m.quarantined.WithLabelValues(q.Reason).Inc()
		m.quarantinedBytes.WithLabelValues(q.Reason).Add(float64(len(q.Payload)))
	}
	if r.Segment != nil {
		m.segments.Inc()
		m.segmentBytes.Add(float64(r.Segment.Size))
	}
	m.commitSeconds.Observe(took.Seconds())
}

// lagging shows how far the chain of a partition, which ends at next, is from the end of the log. The record that is next to be committed, or the one
// before if it was not fetched yet, is from a time, zero if that is not known.
func (m *metrics) lagging(partition int, next, end int64, since time.Time) {
	offsets := end - next
	m.committedTo.WithLabelValues(strconv.Itoa(partition)).Set(float64(next))
	m.lag.WithLabelValues(strconv.Itoa(partition)).Set(float64(max(0, offsets)))
	m.lagSeconds.set(partition, offsets > 0, since)
}

// stopped counts a partition that needs an operator.
func (m *metrics) stopped(why error) {
	reason := stopOther
	switch {
	case errors.As(why, new(*GapError)):
		reason = stopGap
	case errors.As(why, new(*PoisonError)):
		reason = stopFlood
	case errors.Is(why, schemas.ErrCorrupt):
		reason = stopCorrupt
	}
	m.stops.WithLabelValues(reason).Inc()
}

// assigned begins a generation of the group.
func (m *metrics) assigned(partitions int) {
	m.owned.Set(float64(partitions))
	m.newest.reset()
	m.lag.Reset()
	m.committedTo.Reset()
	m.lagSeconds.reset()
}

// newest is the largest timestamp of records, ms since the epoch.
type newest struct{ ms atomic.Int64 }

func (n *newest) get() int64 { return n.ms.Load() }

func (n *newest) reset() { n.ms.Store(0) }

func (n *newest) reached(ms int64) {
	for was := n.ms.Load(); ms > was && !n.ms.CompareAndSwap(was, ms); was = n.ms.Load() {
	}
}

// lagSeconds is told since when a partition lags, and tells for how long whenever it is asked: it grows while nothing moves.
type lagSeconds struct {
	*prometheus.GaugeVec

	mu    sync.Mutex
	since map[int]time.Time // zero: it does not lag
}

func (l *lagSeconds) set(partition int, lags bool, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !lags:
		l.since[partition] = time.Time{}
	case !since.IsZero():
		l.since[partition] = since
	}
}

func (l *lagSeconds) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.since)
	l.GaugeVec.Reset()
}

// Collect implements prometheus.Collector.
func (l *lagSeconds) Collect(to chan<- prometheus.Metric) {
	l.mu.Lock()
	for partition, since := range l.since {
		age := 0.0
		if !since.IsZero() {
			age = max(0, time.Since(since).Seconds())
		}
		l.WithLabelValues(strconv.Itoa(partition)).Set(age)
	}
	l.mu.Unlock()
	l.GaugeVec.Collect(to)
}

package build

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// health is why the builder is not doing its work, or nil. Safe for concurrent use.
type health struct {
	mu  sync.Mutex
	err error
}

func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

type metrics struct {
	rows, deletes, gaps, fenced, transient prometheus.Counter
	generation, liveRows, deadRows         prometheus.Gauge
	segments, chunks, moved                prometheus.Gauge
	recall, held, pinned                   prometheus.Gauge
	publishSeconds, freshnessSeconds       prometheus.Histogram
	jobSeconds                             *prometheus.HistogramVec
	jobsRunning                            *prometheus.GaugeVec
	strange                                prometheus.Gauge
	drift                                  *prometheus.GaugeVec
	repairs                                *prometheus.CounterVec
	collections, collectFailures           prometheus.Counter
	collectedObjects, collectedBytes       prometheus.Counter
	storeBytes                             prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "builder", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "builder", Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "builder", Name: name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		rows:       counter("folded_rows_total", "Upserts folded into generations."),
		deletes:    counter("folded_deletes_total", "Deletes folded into generations."),
		gaps:       counter("gaps_total", "Commits folded that say that data was lost to retention."),
		fenced:     counter("fenced_total", "Times that another builder published first."),
		transient:  counter("transient_errors_total", "Times that the store failed and the builder began again."),
		generation: gauge("generation", "Newest generation published."),
		liveRows:   gauge("live_rows", "Rows that a query can find in the newest generation."),
		deadRows:   gauge("dead_rows", "Rows of the newest generation that were replaced or deleted and not merged away yet."),
		segments:   gauge("segments", "Delta segments of the newest generation."),
		chunks:     gauge("chunks", "Chunks of the newest generation."),
		moved:      gauge("moved_rows", "Versions that came from another partition than the version before: a producer does not partition by id."),
		recall:     gauge("recall_ratio", "Recall@10 of the default plan, measured against exact search at the last rewrite."),
		held:       gauge("held_back", "1 while the newest generation is not promoted because of the gate's verdict, else 0."),
		pinned:     gauge("pinned", "1 while an operator has pinned the channel, so that nothing is promoted, else 0."),
		publishSeconds: histogram("publish_seconds", "Time to write a generation.",
			prometheus.ExponentialBuckets(0.005, 2, 12)),
		freshnessSeconds: histogram("publish_delay_seconds", "From the timestamp of the newest record to its publication, for each generation that brought newer ones.",
			prometheus.ExponentialBuckets(0.1, 1.5, 16)),
		jobSeconds: f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "builder", Name: "job_seconds",
			Help: "Time of background jobs that ended well.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 16)}, []string{"kind"}),
		jobsRunning: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "builder", Name: "jobs_running",
			Help: "Background jobs that run now."}, []string{"kind"}),
	}
	m.strange = gauge("strange_ratio", "How unlike those of the model the newest rows are: 0 like them, 1 like chance. From 0.5 on nothing is promoted.")
	m.drift = f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "builder", Name: "drift_ratio",
		Help: "Error of rows that came after the model, over that when it was made, for the prefix of a level: what centroids leave (coarse), and codes. Beyond 1.07 and noise it is repaired."}, []string{"of", "level"})
	m.repairs = f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "builder", Name: "repairs_total",
		Help: "Models made, by what was made anew: codes, lists or all (full)."}, []string{"repair"})
	m.collections = counter("collections_total", "Collections of garbage that ended well.")
	m.collectFailures = counter("collection_failures_total", "Collections of garbage that did not end; nothing that is in use is gone.")
	m.collectedObjects = counter("collected_objects_total", "Data objects that were removed from the store because nothing names them any more.")
	m.collectedBytes = counter("collected_bytes_total", "Bytes of these objects.")
	m.storeBytes = gauge("store_bytes", "Data objects in the store that the last collection kept, in bytes.")
	for _, kind := range []jobKind{compaction, rewrite, recode} { // so that they are there before the first job
		m.jobsRunning.WithLabelValues(string(kind)).Set(0)
	}
	return m
}

// holds shows the newest generation, loaded or published.
func (m *metrics) holds(g *schemas.Manifest) {
	m.generation.Set(float64(g.Generation))
	m.liveRows.Set(float64(g.LiveRows))
	m.deadRows.Set(float64(g.DeadRows))
	m.segments.Set(float64(len(g.Segments)))
	m.chunks.Set(float64(len(g.Chunks)))
	m.moved.Set(float64(g.Moved))
	if g.Quality != nil {
		m.recall.Set(g.Quality.Recall)
	}
	if g.Newest != nil {
		m.strange.Set(g.Newest.Strange)
	}
}

// collected counts a collection of garbage.
func (m *metrics) collected(c *commit.Collected) {
	m.collections.Inc()
	m.collectedObjects.Add(float64(c.Objects))
	m.collectedBytes.Add(float64(c.Bytes))
	m.storeBytes.Set(float64(c.KeptBytes))
}

// published counts a generation; newer says whether it holds newer records than the one before.
func (m *metrics) published(g *schemas.Manifest, newer bool, took time.Duration) {
	m.holds(g)
	m.publishSeconds.Observe(took.Seconds())
	if newer {
		m.freshnessSeconds.Observe(time.Since(time.UnixMilli(g.Produced)).Seconds())
	}
}

// drifted shows what a rewrite found of a model that fitted as well as was when it was made.
func (m *metrics) drifted(ladder []int, d *schemas.Drift, was *schemas.Fit) {
	for l, width := range ladder {
		m.drift.WithLabelValues("coarse", strconv.Itoa(width)).Set(d.Coarse[l] / was.Coarse[l])
		m.drift.WithLabelValues("codes", strconv.Itoa(width)).Set(d.Codes[l] / was.Codes[l])
	}
}

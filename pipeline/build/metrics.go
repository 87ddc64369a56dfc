package build

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// health is why the builder is not doing its work, or nil. Safe for concurrent use.
type health struct {
	mu    sync.Mutex
	err   error
	store error // why it should not be trusted, whatever the builder does
}

func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

// doubt notes what is wrong with the store; nil clears it.
func (h *health) doubt(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store = err
}

// shown is 1 for healthy.
func (h *health) shown() float64 { return gauge(h.get() == nil) }

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.err, h.store)
}

type metrics struct {
	rows, deletes, gaps, fenced      prometheus.Counter
	transient                        *prometheus.CounterVec
	generation, liveRows, deadRows   prometheus.Gauge
	segments, chunks, moved          prometheus.Gauge
	recall, held, pinned             prometheus.Gauge
	publishSeconds, freshnessSeconds prometheus.Histogram
	jobSeconds                       *prometheus.HistogramVec
	jobsRunning                      *prometheus.GaugeVec
	strange                          prometheus.Gauge
	drift                            *prometheus.GaugeVec
	repairs                          *prometheus.CounterVec
	generationTime, newestTime       prometheus.Gauge
	objective                        prometheus.Gauge
	promoted, promotedTime, epoch    prometheus.Gauge
	promotions                       prometheus.Counter
	publishedBytes                   *prometheus.CounterVec
	jobFailures                      *prometheus.CounterVec
	listRows                         *prometheus.GaugeVec
	collections, collectFailures     prometheus.Counter
	collectedObjects, collectedBytes prometheus.Counter
	storeBytes, loadSeconds          prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, h *health) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "builder", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "builder", Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "builder", Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour})
	}
	m := &metrics{
		rows:    counter("folded_rows_total", "Number of upserts folded into generations."),
		deletes: counter("folded_deletes_total", "Number of deletes folded into generations."),
		gaps:    counter("gaps_total", "Number of folded commits that record a gap: data lost to retention."),
		fenced:  counter("fenced_total", "Number of publish conflicts: another builder published first."),
		transient: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "builder", Name: "transient_errors_total",
			Help: "Number of retries of the builder or one of its jobs, by reason: no space on the disk (disk_full) or in the cache (cache_full), no permission (denied), a passing error of store or disk (transient)."}, []string{"reason"}),
		generation: gauge("generation", "Generation number of the newest published generation."),
		liveRows:   gauge("live_rows", "Number of live rows in the newest generation: those that a query can find."),
		deadRows:   gauge("dead_rows", "Number of dead rows in the newest generation: replaced or deleted, but not merged away yet."),
		segments:   gauge("segments", "Number of delta segments in the newest generation."),
		chunks:     gauge("chunks", "Number of chunks in the newest generation."),
		moved:      gauge("moved_rows", "Number of versions that came from another partition than the previous version of their ID, in the life of the index. If not 0, a producer does not partition by ID. NaN before the index is loaded."),
		recall:     gauge("recall_ratio", "Recall@10 of the default plan, measured against exact search at the last rewrite. NaN before the first."),
		held:       gauge("held_back", "1 while the quality gate holds the newest generation back, else 0."),
		pinned:     gauge("pinned", "1 while an operator has pinned the channel and nothing is promoted, else 0."),
		publishSeconds: histogram("publish_seconds", "Time to write a generation, in seconds.",
			prometheus.ExponentialBuckets(0.005, 2, 12)),
		freshnessSeconds: histogram("publish_delay_seconds", "Time from the timestamp of the newest record to its publication, in seconds. Generations without newer records are not counted.",
			prometheus.ExponentialBuckets(0.1, 1.5, 16)),
		jobSeconds: f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "builder", Name: "job_seconds",
			Help: "Duration of successful background jobs, in seconds.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 16),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour}, []string{"kind"}),
		jobsRunning: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "builder", Name: "jobs_running",
			Help: "Number of running background jobs."}, []string{"kind"}),
	}
	m.strange = gauge("strange_ratio", "Dissimilarity of the newest rows to those of the model, from 0 (alike) to 1 (random). Nothing is promoted from 0.5 on.")
	m.drift = f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "builder", Name: "drift_ratio",
		Help: "Quantisation error of rows newer than the model, relative to the error at training, per level: of centroids (coarse) and of codes (codes). The model is repaired when it exceeds 1.07 plus noise."}, []string{"of", "level"})
	m.repairs = f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "builder", Name: "repairs_total",
		Help: "Number of models trained, by what was trained anew: codes, lists or everything (full)."}, []string{"repair"})
	m.generationTime = gauge("generation_timestamp_seconds", "Publication time of the newest generation, in Unix seconds. NaN before the first.")
	m.newestTime = gauge("newest_record_timestamp_seconds", "Largest record timestamp in the newest generation, in Unix seconds. 0 without records.")
	m.objective = gauge("recall_objective_ratio", "Target recall of the index spec, for queries that ask for nothing else. The quality gate requires it of generations.")
	m.promoted = gauge("promoted_generation", "Generation number of the promoted generation. 0 before the first, and while queries follow an epoch.")
	m.promotedTime = gauge("promoted_timestamp_seconds", "Promotion time of the promoted generation, in Unix seconds. NaN before the first.")
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "builder", Name: "ready",
		Help: "1 while the builder is ready, as in /readyz: its last round succeeded. Else 0."}, h.shown)
	m.promotions = counter("promotions_total", "Number of generations that this builder promoted.")
	m.epoch = gauge("epoch_followed", "1 while queries follow an epoch and nothing of this builder is promoted, else 0.")
	m.publishedBytes = f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "builder", Name: "published_bytes_total",
		Help: "Bytes of data objects written by this builder, by kind. Manifests are not counted."}, []string{"kind"})
	m.jobFailures = f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "builder", Name: "job_failures_total",
		Help: "Number of failed background jobs. Jobs cancelled because the builder began again are not counted."}, []string{"kind"})
	m.listRows = f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "builder", Name: "list_rows",
		Help: "Length of the inverted lists of the newest generation in rows, dead ones included, as quantiles over the lists; 1 is the longest. Absent without a model."}, []string{"quantile"})
	m.collections = counter("collections_total", "Number of successful garbage collections.")
	m.collectFailures = counter("collection_failures_total", "Number of failed garbage collections. Nothing in use is lost by one.")
	m.collectedObjects = counter("collected_objects_total", "Number of data objects removed from the store because nothing refers to them.")
	m.collectedBytes = counter("collected_bytes_total", "Bytes of data objects removed from the store because nothing refers to them.")
	m.loadSeconds = gauge("load_seconds", "Time of the last load of a generation, at the start or after another builder published, in seconds.")
	m.storeBytes = gauge("store_bytes", "Bytes of data objects in the store that the last garbage collection kept.")
	for _, kind := range []jobKind{compaction, rewrite, recode} { // so that they are there before the first job
		m.jobsRunning.WithLabelValues(string(kind)).Set(0)
		m.jobFailures.WithLabelValues(string(kind))
		m.jobSeconds.WithLabelValues(string(kind))
	}
	for _, repair := range []model.Repair{model.Codes, model.Lists, model.Everything} {
		m.repairs.WithLabelValues(string(repair))
	}
	for _, kind := range []string{"segments", "chunks", "models", "dead", "tombstones"} {
		m.publishedBytes.WithLabelValues(kind)
	}
	for _, c := range causes {
		m.transient.WithLabelValues(c.reason)
	}
	m.recall.Set(math.NaN())
	m.moved.Set(math.NaN()) // not 0, or a builder that starts would show all of them as new
	m.generationTime.Set(math.NaN())
	m.promotedTime.Set(math.NaN())
	return m
}

// listQuantiles are those of the lengths of lists that are shown.
var listQuantiles = []float64{0.5, 0.9, 0.99, 1}

// put counts an object that was written. Its kind is the folder that it is in.
func (m *metrics) put(o schemas.Object) {
	kind, _, _ := strings.Cut(o.Key, "/")
	m.publishedBytes.WithLabelValues(kind).Add(float64(o.Size))
}

// lists shows the lengths of all lists, which it sorts.
func (m *metrics) lists(rows []int) {
	if len(rows) == 0 {
		m.listRows.Reset()
		return
	}
	rows = slices.Clone(rows)
	slices.Sort(rows)
	for _, q := range listQuantiles {
		at := int(math.Ceil(q*float64(len(rows)))) - 1
		m.listRows.WithLabelValues(strconv.FormatFloat(q, 'g', -1, 64)).Set(float64(rows[max(0, at)]))
	}
}

// follows shows the newest record of the channel.
func (m *metrics) follows(c *schemas.Channel) {
	m.promoted.Set(float64(c.Generation))
	m.promotedTime.Set(seconds(c.Created))
	m.pinned.Set(gauge(c.Pinned))
	m.epoch.Set(gauge(c.Epoch != ""))
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// holds shows the newest generation, loaded or published.
func (m *metrics) holds(g *schemas.Manifest) {
	m.generation.Set(float64(g.Generation))
	m.generationTime.Set(seconds(g.Created))
	m.newestTime.Set(float64(g.Produced) / 1000)
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

// causes are why a builder begins again. The first class that the error wraps counts.
var causes = []struct {
	reason string
	class  error
}{
	{"disk_full", store.ErrDiskFull},
	{"cache_full", store.ErrCacheFull},
	{"denied", store.ErrDenied},
	{"transient", schemas.ErrTransient},
}

// causeOf is "" of an error that the builder does not begin again after.
func causeOf(err error) string {
	for _, c := range causes {
		if errors.Is(err, c.class) {
			return c.reason
		}
	}
	return ""
}

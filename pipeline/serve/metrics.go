package serve

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/procfs"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type metrics struct {
	requests, degraded, shed             *prometheus.CounterVec
	searchSeconds                        [len(planLabels)]prometheus.Histogram
	requestSeconds                       *prometheus.HistogramVec
	waitSeconds                          prometheus.Histogram
	nearSwap, steady                     prometheus.Observer // of late searches
	swaps, memoryRefusals                prometheus.Counter
	loadFailures                         *prometheus.CounterVec
	memory, memoryLimit                  prometheus.Gauge
	generation, liveRows, produced       prometheus.Gauge
	generationTime, objective            prometheus.Gauge
	offsets                              *prometheus.GaugeVec
	encoder                              *prometheus.GaugeVec
	swapSeconds, freshnessSeconds        prometheus.Histogram
	listsProbed, codesScanned, refinedTo prometheus.Counter
	liveRecall, liveLow, liveHigh        prometheus.Gauge
	measured                             prometheus.Counter
	originalsFetched, originalsReads     prometheus.Counter
	originalsBytes                       prometheus.Counter
	originalsSeconds                     prometheus.Histogram
	originalsLacking                     *prometheus.CounterVec
}

// planKind is how a search was to be done, as a label of metrics.
type planKind int

const (
	askedPlanned  planKind = iota // by what was measured, for a recall, a budget or an effort
	askedExplicit                 // by the plan of the request
	askedExact
	askedFiltered // any of these, among the rows that a filter selects
)

var planLabels = [...]string{askedPlanned: "planned", askedExplicit: "explicit", askedExact: "exact", askedFiltered: "filtered"}

func (k planKind) String() string { return planLabels[k] }

func (o *searchOptions) kind() planKind {
	switch {
	case o.Filter != nil:
		return askedFiltered
	case o.Exact:
		return askedExact
	case o.Plan != nil:
		return askedExplicit
	}
	return askedPlanned
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour})
	}
	histograms := func(name, help, label string, buckets []float64) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour}, []string{label})
	}
	late := f.NewSummaryVec(prometheus.SummaryOpts{Namespace: "adastream", Subsystem: "query", Name: "late_search_seconds",
		Help:       "Duration of a search over the last 10 minutes, in seconds, as search_seconds. Searches that ended during a swap or within a second after it are separate.",
		Objectives: map[float64]float64{0.5: 0.01, tail: 0.001}, MaxAge: 10 * time.Minute}, []string{"near_swap"})
	m := &metrics{
		nearSwap: late.WithLabelValues("true"), steady: late.WithLabelValues("false"),
		requests: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "requests_total",
			Help: "Number of requests to the query API, by route and status code."}, []string{"route", "code"}),
		degraded: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "degraded_total",
			Help: "Number of requests answered with less than they asked for, by reason."}, []string{"reason"}),
		encoder: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: "encoder_info",
			Help: "1, with the encoder of the served index and its epoch as labels. The epoch is empty for the root."}, []string{"encoder", "epoch"}),
		shed: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "shed_total",
			Help: "Number of requests shed, by reason: the queue was full or no slot became free in time (overloaded), the timeout expired (timeout), no generation was loaded (not_ready)."}, []string{"reason"}),
		requestSeconds: histograms("request_seconds", "Duration of a request to the query API, in seconds: from reading its headers to having the answer, with the time in the queue, without writing to the connection.", "route",
			prometheus.ExponentialBuckets(100e-6, 2, 16)),
		waitSeconds: histogram("wait_seconds", "Time that a search waited for a slot, in seconds.", prometheus.ExponentialBuckets(100e-6, 2, 16)),
		loadFailures: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "load_failures_total",
			Help: "Number of failures to follow the channel or load the newest generation, by reason; the old one stays in service. Reasons: no memory for it (memory), no space in the cache (cache_full) or on its disk (disk_full), an object is damaged (corrupt) or gone (not_found), the index was removed or created anew (replaced), no permission (denied), a passing error of store or disk (transient), other."}, []string{"reason"}),
		memoryRefusals: counter("memory_refusals_total", "Number of refusals to load a generation that does not fit into the memory limit beside the served one. Each attempt counts."),
		memory:         gauge("memory_bytes", "Memory that the served generation needs, in bytes, estimated from its manifest: files that every query reads, and heap."),
		memoryLimit:    gauge("memory_limit_bytes", "Memory limit for the served generation and the next one together, in bytes. 0 is unlimited."),
		swaps:          counter("swaps_total", "Number of generations taken into service."),
		generation:     gauge("generation", "Generation number of the served generation. 0 before the first."),
		liveRows:       gauge("live_rows", "Number of live rows: those that a query can find."),
		generationTime: gauge("generation_timestamp_seconds", "Publication time of the served generation, in Unix seconds. NaN before the first."),
		objective:      gauge("recall_objective_ratio", "Target recall of the served index's spec, for queries that ask for nothing else. NaN before the first generation."),
		offsets: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: "searchable_offset",
			Help: "Offset up to which all records of a partition are searchable on this node."}, []string{"partition"}),
		produced:         gauge("newest_record_timestamp_seconds", "Timestamp of the newest searchable record, in Unix seconds."),
		swapSeconds:      histogram("swap_seconds", "Time to fetch, verify, map and swap in a generation, in seconds.", prometheus.ExponentialBuckets(0.002, 2, 14)),
		freshnessSeconds: histogram("freshness_seconds", "Time from the timestamp of the newest record until it is searchable on this node, in seconds. The first swap, and swaps without newer records, are not counted.", prometheus.ExponentialBuckets(0.1, 1.5, 16)),
		listsProbed:      counter("lists_probed_total", "Number of lists probed."),
		codesScanned:     counter("codes_scanned_total", "Number of codes scanned."),
		refinedTo:        counter("rows_refined_total", "Number of rows scored on their int8 vectors."),
		liveRecall:       gauge("live_recall_ratio", "Recall of recent approximate answers, against exact search on the same snapshot. NaN if none was measured."),
		liveLow:          gauge("live_recall_low_ratio", "Lower bound of the 95 % confidence interval of live_recall_ratio."),
		liveHigh:         gauge("live_recall_high_ratio", "Upper bound of the 95 % confidence interval of live_recall_ratio."),
		measured:         counter("measured_queries_total", "Number of answers compared with exact search."),
		originalsFetched: counter("originals_fetched_total", "Number of originals read from the object store that matched their int8 rows."),
		originalsReads:   counter("originals_reads_total", "Number of range reads of the object store for originals. One may fetch several."),
		originalsBytes:   counter("originals_read_bytes_total", "Bytes read from the object store for originals."),
		originalsSeconds: histogram("originals_seconds", "Time that a query waited for originals of the object store and got them, in seconds.", prometheus.ExponentialBuckets(0.001, 2, 10)),
		originalsLacking: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "originals_lacking_total",
			Help: "Number of times that originals of the object store were missing and int8 rows decided instead, by reason: the read took too long (slow), a passing error of the store or the network (transient), such an error less than a second before (away), " +
				"their object is gone (not_found), one does not match its int8 row (corrupt, should be 0), no permission (denied), too many for one query (many), other."}, []string{"reason"}),
	}
	searches := histograms("search_seconds", "Duration of a search in seconds, without reading the request and writing the answer, by kind of plan: measured, for a recall, budget or effort (planned), given in the request (explicit), exact, or any of these with a filter (filtered). The queries of one request count with their mean.", "plan",
		prometheus.ExponentialBuckets(25e-6, 2, 16))
	for kind, label := range planLabels {
		m.searchSeconds[kind] = searches.WithLabelValues(label).(prometheus.Histogram)
	}
	for _, reason := range []string{codeOverloaded, codeTimeout, codeNotReady} { // so that they are there before the first
		m.shed.WithLabelValues(reason)
	}
	for _, reason := range []string{degradedOverload, recall.ShortBudget, recall.ShortDims, recall.ShortInt8} {
		m.degraded.WithLabelValues(reason)
	}
	for _, l := range loadFaults {
		m.loadFailures.WithLabelValues(l.reason)
	}
	m.loadFailures.WithLabelValues(otherwise)
	for _, reason := range []string{"slow", "transient", "away", "not_found", "corrupt", "denied", "many", otherwise} {
		m.originalsLacking.WithLabelValues(reason)
	}
	m.generationTime.Set(math.NaN())
	m.objective.Set(math.NaN())
	m.live(nil)
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: "swap_p99_ratio",
		Help: "Cost of swaps: 99th percentile of the duration of searches near a swap, divided by that of the others, over the last 10 minutes. NaN without searches of both kinds."},
		func() float64 { return tailOf(m.nearSwap) / tailOf(m.steady) })
	return m
}

// watch shows what a node is doing at the moment.
func (m *metrics) watch(n *Node) {
	f := promauto.With(n.o.Registry)
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help}, value)
	}
	gauge("ready", "1 while the node is ready for queries, as in /readyz, else 0.", func() float64 { return flag(n.Ready() == nil) })
	gauge("stale", "1 while the newest generation could not be loaded and an older one, or none, is served, else 0.", func() float64 { return flag(n.Stale() != nil) })
	gauge("places_taken", "Number of slots for running searches that are in use.", func() float64 { return float64(len(n.running)) })
	gauge("places", "Number of slots for running searches.", func() float64 { return float64(cap(n.running)) })
	gauge("resident_bytes", "Bytes of mapped files that are resident in memory. NaN if the system does not say.", residentFiles)
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// residentFiles asks the kernel.
func residentFiles() float64 {
	p, err := procfs.Self()
	if err != nil {
		return math.NaN()
	}
	status, err := p.NewStatus()
	if err != nil {
		return math.NaN()
	}
	return float64(status.RssFile)
}

// loadFaults are the reasons for which a generation is not loaded. The first class that the error wraps counts.
var loadFaults = []struct {
	reason string
	class  error
}{
	{"replaced", commit.ErrReplaced},
	{"memory", ErrMemory},
	{"cache_full", store.ErrCacheFull},
	{"corrupt", schemas.ErrCorrupt},
	{"denied", store.ErrDenied},
	{"disk_full", store.ErrDiskFull},
	{"transient", schemas.ErrTransient},
	{"not_found", store.ErrNotFound},
}

const otherwise = "other"

func faultOf(err error) string {
	for _, l := range loadFaults {
		if errors.Is(err, l.class) {
			return l.reason
		}
	}
	return otherwise
}

// loadFailed counts a generation that could not be loaded.
func (m *metrics) loadFailed(err error) { m.loadFailures.WithLabelValues(faultOf(err)).Inc() }

// route shows one before its first request.
func (m *metrics) route(name string) {
	m.requestSeconds.WithLabelValues(name)
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
		m.requests.WithLabelValues(name, strconv.Itoa(status))
	}
}

// answered counts a request.
func (m *metrics) answered(route string, status int, began time.Time) {
	code := "200"
	if status != http.StatusOK {
		code = strconv.Itoa(status) // which allocates
	}
	m.requests.WithLabelValues(route, code).Inc()
	m.requestSeconds.WithLabelValues(route).Observe(time.Since(began).Seconds())
}

// refused counts one that was answered with a problem.
func (m *metrics) refused(route string, p *problem, began time.Time) {
	m.answered(route, p.Status, began)
	switch p.Code {
	case codeOverloaded, codeNotReady:
		m.shed.WithLabelValues(p.Code).Inc()
	case codeTimeout:
		if p.Status != statusGone {
			m.shed.WithLabelValues(p.Code).Inc()
		}
	}
}

// tail is the quantile by which swaps are judged.
const tail = 0.99

// tailOf reads that quantile of a summary, NaN of none.
func tailOf(summary prometheus.Observer) float64 {
	var now dto.Metric
	if err := summary.(prometheus.Summary).Write(&now); err != nil {
		return math.NaN()
	}
	for _, q := range now.Summary.Quantile {
		if q.GetQuantile() == tail {
			return q.GetValue()
		}
	}
	return math.NaN()
}

// live shows the recall of late answers, nil when none was measured.
func (m *metrics) live(e *schemas.Estimate) {
	if e == nil {
		e = &schemas.Estimate{Recall: math.NaN(), Low: math.NaN(), High: math.NaN()}
	}
	m.liveRecall.Set(e.Recall)
	m.liveLow.Set(e.Low)
	m.liveHigh.Set(e.High)
}

// swapped counts a swap; freshness is 0 when it was the first or brought no newer record.
func (m *metrics) swapped(to *commit.Served, g *schemas.Manifest, freshness, took time.Duration) {
	m.swaps.Inc()
	m.encoder.Reset()
	m.encoder.WithLabelValues(to.Index.Spec().Encoder, to.Record.Epoch).Set(1)
	m.generation.Set(float64(g.Generation))
	m.generationTime.Set(float64(g.Created.UnixMilli()) / 1000)
	m.objective.Set(to.Index.Spec().Defaults.TargetRecall)
	m.offsets.Reset()
	for partition, next := range g.Checkpoint {
		m.offsets.WithLabelValues(partition).Set(float64(next))
	}
	m.liveRows.Set(float64(g.LiveRows))
	m.swapSeconds.Observe(took.Seconds())
	m.produced.Set(float64(g.Produced) / 1000)
	if freshness > 0 {
		m.freshnessSeconds.Observe(freshness.Seconds())
	}
}

// searched counts queries that one searcher answered in a time, each with its mean, near a swap or not.
func (m *metrics) searched(kind planKind, u search.Usage, queries int, took time.Duration, nearSwap bool) {
	late := m.steady
	if nearSwap {
		late = m.nearSwap
	}
	mean, seconds := took.Seconds()/float64(max(1, queries)), m.searchSeconds[kind]
	for range queries {
		seconds.Observe(mean)
		late.Observe(mean)
	}
	m.listsProbed.Add(float64(u.Lists))
	m.codesScanned.Add(float64(u.Codes))
	m.refinedTo.Add(float64(u.Refined))
	m.originalsLacking.WithLabelValues("many").Add(float64(u.Many))
}

// searches is how many searches there were and how long one took on average.
func (m *metrics) searches() (n uint64, mean time.Duration) {
	seconds := 0.0
	for _, h := range m.searchSeconds {
		var now dto.Metric
		if err := h.Write(&now); err != nil {
			continue
		}
		n += now.Histogram.GetSampleCount()
		seconds += now.Histogram.GetSampleSum()
	}
	if n == 0 {
		return 0, 0
	}
	return n, time.Duration(seconds / float64(n) * float64(time.Second)).Round(time.Microsecond)
}

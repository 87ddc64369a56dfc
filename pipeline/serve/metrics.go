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
		Help:       "Time of a search, as search_seconds, of the last ten minutes, apart for searches that ended during a swap or in the second after it.",
		Objectives: map[float64]float64{0.5: 0.01, tail: 0.001}, MaxAge: 10 * time.Minute}, []string{"near_swap"})
	m := &metrics{
		nearSwap: late.WithLabelValues("true"), steady: late.WithLabelValues("false"),
		requests: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "requests_total",
			Help: "Requests of the query API by route and status code."}, []string{"route", "code"}),
		degraded: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "degraded_total",
			Help: "Requests that were answered with less than they asked for, by reason: overload, budget, dims, int8."}, []string{"reason"}),
		encoder: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: "encoder_info",
			Help: "1 for the encoder whose queries are answered, and the epoch that is served, empty for the root."}, []string{"encoder", "epoch"}),
		shed: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "shed_total",
			Help: "Requests that were given up so that others get answers, or for want of a generation: no place became free in time (overloaded), it took too long (timeout), no generation is loaded (not_ready)."}, []string{"reason"}),
		requestSeconds: histograms("request_seconds", "Time of a request of the query API from its headers to its answer, waiting and reading included, writing to the connection not.", "route",
			prometheus.ExponentialBuckets(100e-6, 2, 16)),
		waitSeconds: histogram("wait_seconds", "Time that a search waited for a place.", prometheus.ExponentialBuckets(100e-6, 2, 16)),
		loadFailures: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "load_failures_total",
			Help: "Times that the channel could not be followed or the newest generation not be loaded, by why, and the old one went on serving: no memory for it (memory), no room in the cache (cache_full) or on its disk (disk_full), an object is damaged (corrupt) or gone (not_found), the index was removed or made anew (replaced), no right to it (denied), store or disk did not do it now (transient), other."}, []string{"reason"}),
		memoryRefusals: counter("memory_refusals_total", "Times that a generation was not taken because it wants more memory beside the one that is served than is allowed; counted at each try."),
		memory:         gauge("memory_bytes", "Memory that the generation that is served wants, as told from its manifest: files that every query reads, and heap."),
		memoryLimit:    gauge("memory_limit_bytes", "Memory that the generation that is served and the next one may want together; 0 is no limit."),
		swaps:          counter("swaps_total", "Generations taken into service."),
		generation:     gauge("generation", "Generation that is served, by its number; 0 before the first."),
		liveRows:       gauge("live_rows", "Rows that a query can find."),
		generationTime: gauge("generation_timestamp_seconds", "When the generation that is served was published, seconds since the epoch; NaN before the first."),
		objective:      gauge("recall_objective_ratio", "Recall that queries get which ask for nothing else, by the spec of what is served; NaN before the first generation."),
		offsets: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: "searchable_offset",
			Help: "Offset of each partition up to which all records are searchable here."}, []string{"partition"}),
		produced:         gauge("newest_record_timestamp_seconds", "Timestamp of the newest record that is searchable, seconds since the epoch."),
		swapSeconds:      histogram("swap_seconds", "Time to fetch, verify, map and swap in a generation.", prometheus.ExponentialBuckets(0.002, 2, 14)),
		freshnessSeconds: histogram("freshness_seconds", "From the timestamp of the newest record to its being searchable here, for each swap but the first that brought newer ones.", prometheus.ExponentialBuckets(0.1, 1.5, 16)),
		listsProbed:      counter("lists_probed_total", "Lists probed."),
		codesScanned:     counter("codes_scanned_total", "Codes scanned."),
		refinedTo:        counter("rows_refined_total", "Rows scored on their int8 vectors."),
		liveRecall:       gauge("live_recall_ratio", "Recall of late answers by a plan, against exact search on the same snapshot; NaN when none was measured."),
		liveLow:          gauge("live_recall_low_ratio", "Lower bound of the 95 % confidence interval of live_recall_ratio."),
		liveHigh:         gauge("live_recall_high_ratio", "Upper bound of the 95 % confidence interval of live_recall_ratio."),
		measured:         counter("measured_queries_total", "Answers that were compared with exact search."),
		originalsFetched: counter("originals_fetched_total", "Originals that were read from the object store and found to be what their int8 rows were made of."),
		originalsReads:   counter("originals_reads_total", "Reads of the object store for single originals; one may bring several."),
		originalsBytes:   counter("originals_read_bytes_total", "Bytes of these reads."),
		originalsSeconds: histogram("originals_seconds", "Time that queries waited for originals of the object store and got them.", prometheus.ExponentialBuckets(0.001, 2, 10)),
		originalsLacking: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "originals_lacking_total",
			Help: "Times that originals of the object store should have decided and were not there, so that int8 rows did, by why: it took too long (slow), the store or the line did not do it now (transient), it had not done it less than a second before (away), " +
				"their object is gone (not_found), one is not what its int8 row was made of (corrupt, should never happen), no right to it (denied), too many for one query (many), other."}, []string{"reason"}),
	}
	searches := histograms("search_seconds", "Time of a search, without reading the request and writing the answer, by how it was to be done: by a measured plan for a recall, budget or effort (planned), by the plan of the request (explicit), exact, or any of these among rows that a filter selects (filtered). The queries of one request count with their mean.", "plan",
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
		Help: "What swaps cost queries: the 99th percentile of searches near a swap over that of the others, both of the last ten minutes; NaN while there are none of either."},
		func() float64 { return tailOf(m.nearSwap) / tailOf(m.steady) })
	return m
}

// watch shows what a node is doing at the moment.
func (m *metrics) watch(n *Node) {
	f := promauto.With(n.o.Registry)
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help}, value)
	}
	gauge("ready", "1 while queries should come here, as /readyz says, else 0.", func() float64 { return flag(n.Ready() == nil) })
	gauge("stale", "1 while the newest generation could not be taken and an older one, or none, is served, else 0.", func() float64 { return flag(n.Stale() != nil) })
	gauge("places_taken", "Places for running searches that are taken now.", func() float64 { return float64(len(n.running)) })
	gauge("places", "Places for running searches.", func() float64 { return float64(cap(n.running)) })
	gauge("resident_bytes", "Bytes of files that the process has in memory, of all that it has mapped; NaN where the system does not tell.", residentFiles)
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

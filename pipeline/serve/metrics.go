package serve

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	dto "github.com/prometheus/client_model/go"

	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

type metrics struct {
	requests, degraded                   *prometheus.CounterVec
	searchSeconds                        prometheus.Histogram
	nearSwap, steady                     prometheus.Observer // of late searches
	loadFailures, swaps, memoryRefusals  prometheus.Counter
	memory, memoryLimit                  prometheus.Gauge
	generation, liveRows, produced       prometheus.Gauge
	encoder                              *prometheus.GaugeVec
	swapSeconds, freshnessSeconds        prometheus.Histogram
	listsProbed, codesScanned, refinedTo prometheus.Counter
	liveRecall, liveLow, liveHigh        prometheus.Gauge
	measured                             prometheus.Counter
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
		return f.NewHistogram(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help, Buckets: buckets})
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
		searchSeconds:    histogram("search_seconds", "Time of a search, without reading the request and writing the answer; the queries of one request count with their mean.", prometheus.ExponentialBuckets(25e-6, 2, 16)),
		loadFailures:     counter("load_failures_total", "Times that the newest generation could not be loaded; the old one went on serving."),
		memoryRefusals:   counter("memory_refusals_total", "Times that a generation was not taken because it wants more memory beside the one that is served than is allowed; counted at each try."),
		memory:           gauge("memory_bytes", "Memory that the generation that is served wants, as told from its manifest: files that every query reads, and heap."),
		memoryLimit:      gauge("memory_limit_bytes", "Memory that the generation that is served and the next one may want together; 0 is no limit."),
		swaps:            counter("swaps_total", "Generations taken into service."),
		generation:       gauge("generation", "Generation that is served."),
		liveRows:         gauge("live_rows", "Rows that a query can find."),
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
	}
	m.live(nil)
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: "swap_p99_ratio",
		Help: "What swaps cost queries: the 99th percentile of searches near a swap over that of the others, both of the last ten minutes; NaN while there are none of either."},
		func() float64 { return tailOf(m.nearSwap) / tailOf(m.steady) })
	return m
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
	m.liveRows.Set(float64(g.LiveRows))
	m.swapSeconds.Observe(took.Seconds())
	m.produced.Set(float64(g.Produced) / 1000)
	if freshness > 0 {
		m.freshnessSeconds.Observe(freshness.Seconds())
	}
}

// searched counts queries that one searcher answered in a time, each with its mean, near a swap or not.
func (m *metrics) searched(u search.Usage, queries int, took time.Duration, nearSwap bool) {
	late := m.steady
	if nearSwap {
		late = m.nearSwap
	}
	mean := took.Seconds() / float64(max(1, queries))
	for range queries {
		m.searchSeconds.Observe(mean)
		late.Observe(mean)
	}
	m.listsProbed.Add(float64(u.Lists))
	m.codesScanned.Add(float64(u.Codes))
	m.refinedTo.Add(float64(u.Refined))
}

// searches is how many searches there were and how long one took on average.
func (m *metrics) searches() (n uint64, mean time.Duration) {
	var now dto.Metric
	if err := m.searchSeconds.Write(&now); err != nil || now.Histogram.GetSampleCount() == 0 {
		return 0, 0
	}
	n = now.Histogram.GetSampleCount()
	return n, time.Duration(now.Histogram.GetSampleSum() / float64(n) * float64(time.Second)).Round(time.Microsecond)
}

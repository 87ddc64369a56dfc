package ui

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/adastream/adastream/pipeline/serve"
)

const (
	sampleEvery = 5 * time.Second
	sampleCount = 720 // an hour
	lateSamples = 12  // a minute
)

// Names of the metrics that samples are made of.
const (
	searchSeconds = "adastream_query_search_seconds"
	shedTotal     = "adastream_query_shed_total"

	// Of an ingestor in the same process.
	lagOffsets        = "adastream_ingestor_lag_offsets"
	partitionsStopped = "adastream_ingestor_partitions_stopped"
	stopsTotal        = "adastream_ingestor_partition_stops_total"
)

// sample is what a node was like for sampleEvery. What is not known is NaN.
type sample struct {
	at       int64   // Unix time in s, of its end
	fresh    float64 // s from the newest record's timestamp to its being searchable, of the last swap
	searches float64 // a second
	p50, p99 float64 // of a search, ms
	recall   float64 // of late answers
	shed     float64 // requests that were given up
}

// history keeps the samples of the last hour. Safe for concurrent use.
type history struct {
	node    *serve.Node
	metrics prometheus.Gatherer

	mu      sync.Mutex
	samples []sample
	last    *buckets      // at the last sample
	shed    float64       // likewise
	lags    map[int]int64 // how many offsets partitions are behind the log, as an ingestor in this process has said
	stops   stops         // likewise
	before  time.Time
}

// stops is what an ingestor says of its partitions that need an operator. The zero value is none.
type stops struct {
	partitions int
	why        []string // all that any partition has stopped for since the process began
}

func newHistory(node *serve.Node, metrics prometheus.Gatherer) *history {
	return &history{node: node, metrics: metrics}
}

func (h *history) run(ctx context.Context) error {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		h.take(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// take adds a sample of the time since the one before.
func (h *history) take(now time.Time) {
	v := h.node.View()
	families, _ := h.metrics.Gather() // what could be gathered is there beside an error
	searched, shed := bucketsOf(familyOf(families, searchSeconds)), shedOf(familyOf(families, shedTotal))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lags = lagsOf(familyOf(families, lagOffsets))
	h.stops = stopsOf(familyOf(families, partitionsStopped), familyOf(families, stopsTotal))
	s := sample{at: now.Unix(), fresh: math.NaN(), searches: math.NaN(), p50: math.NaN(), p99: math.NaN(), recall: math.NaN()}
	for _, swap := range v.Swaps {
		if swap.Freshness > 0 {
			s.fresh = swap.Freshness.Seconds()
			break
		}
	}
	if v.Live != nil {
		s.recall = v.Live.Recall
	}
	if h.last != nil {
		late := searched.since(h.last)
		s.searches = late.count() / now.Sub(h.before).Seconds()
		s.p50, s.p99 = 1000*late.quantile(0.5), 1000*late.quantile(0.99)
		s.shed = shed - h.shed
	}
	h.last, h.shed, h.before = searched, shed, now
	h.samples = append(h.samples, s)
	if len(h.samples) > sampleCount {
		h.samples = h.samples[1:]
	}
}

// late is the mean of the last minute, weighted by searches where it is about these, and all that was given up in it.
func (h *history) late() sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	late := h.samples[max(0, len(h.samples)-lateSamples):]
	mean := sample{p50: math.NaN(), p99: math.NaN(), searches: math.NaN()}
	var n, searches, p50, p99 float64
	for _, s := range late {
		if math.IsNaN(s.searches) {
			continue
		}
		n++
		mean.shed += s.shed
		searches += s.searches
		if s.searches > 0 {
			p50 += s.p50 * s.searches
			p99 = max(p99, s.p99)
		}
	}
	if n > 0 {
		mean.searches = searches / n
	}
	if searches > 0 {
		mean.p50, mean.p99 = p50/searches, p99
	}
	return mean
}

// since returns the samples after a time, as columns for a chart: null where nothing is known.
func (h *history) since(after int64) map[string][]*float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	columns := map[string][]*float64{}
	for _, name := range []string{"at", "fresh", "searches", "p50", "p99", "recall"} {
		columns[name] = []*float64{}
	}
	for _, s := range h.samples {
		if s.at <= after {
			continue
		}
		for name, x := range map[string]float64{"at": float64(s.at), "fresh": s.fresh, "searches": s.searches, "p50": s.p50, "p99": s.p99, "recall": s.recall} {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				columns[name] = append(columns[name], nil)
			} else {
				columns[name] = append(columns[name], &x)
			}
		}
	}
	return columns
}

// series answers with the samples after ?after, for the live charts.
func (u *UI) series(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if err != nil {
		after = 0
	}
	secure(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(u.history.since(after)) // the client is gone if this fails
}

// behind is how many offsets each partition is behind the log; nil if no ingestor runs in this process. It must not be changed.
func (h *history) behind() map[int]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lags
}

// stopped is which partitions need an operator, as an ingestor in this process has said.
func (h *history) stopped() stops {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stops
}

func stopsOf(now, total *dto.MetricFamily) (s stops) {
	for _, m := range now.GetMetric() {
		s.partitions += int(m.GetGauge().GetValue())
	}
	for _, m := range total.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "reason" && m.GetCounter().GetValue() > 0 {
				s.why = append(s.why, l.GetValue())
			}
		}
	}
	return s
}

// shedOf counts the requests that were given up under load.
func shedOf(f *dto.MetricFamily) (n float64) {
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetValue() == "overloaded" || l.GetValue() == "timeout" {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func lagsOf(f *dto.MetricFamily) map[int]int64 {
	lags := map[int]int64{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if p, err := strconv.Atoi(l.GetValue()); err == nil && l.GetName() == "partition" {
				lags[p] = int64(m.GetGauge().GetValue())
			}
		}
	}
	return lags
}

// familyOf is the metrics of a name, nil if there are none.
func familyOf(families []*dto.MetricFamily, name string) *dto.MetricFamily {
	for _, f := range families {
		if f.GetName() == name {
			return f
		}
	}
	return nil
}

// buckets is how many observations were at most so large, by upper bounds; the last one is infinite.
type buckets struct {
	bounds []float64
	counts []float64
}

// bucketsOf adds up the histograms of a family, which have the same bounds.
func bucketsOf(f *dto.MetricFamily) *buckets {
	b := &buckets{}
	for _, m := range f.GetMetric() {
		h := m.GetHistogram()
		n := len(h.GetBucket())
		if n > 0 && math.IsInf(h.GetBucket()[n-1].GetUpperBound(), 1) {
			n--
		}
		if b.bounds == nil {
			for _, k := range h.GetBucket()[:n] {
				b.bounds = append(b.bounds, k.GetUpperBound())
			}
			b.bounds = append(b.bounds, math.Inf(1))
			b.counts = make([]float64, n+1)
		}
		if len(b.counts) != n+1 {
			continue
		}
		for i, k := range h.GetBucket()[:n] {
			b.counts[i] += float64(k.GetCumulativeCount())
		}
		b.counts[n] += float64(h.GetSampleCount())
	}
	return b
}

// since is b without what was counted before.
func (b *buckets) since(before *buckets) *buckets {
	if len(before.counts) != len(b.counts) {
		return b
	}
	d := &buckets{b.bounds, slices.Clone(b.counts)}
	for i := range d.counts {
		d.counts[i] -= before.counts[i]
	}
	return d
}

func (b *buckets) count() float64 {
	if len(b.counts) == 0 {
		return 0
	}
	return b.counts[len(b.counts)-1]
}

// quantile interpolates within the bucket that has it, NaN of none.
func (b *buckets) quantile(q float64) float64 {
	total := b.count()
	if total == 0 {
		return math.NaN()
	}
	rank, below, low := q*total, 0.0, 0.0
	for i, c := range b.counts {
		if c >= rank && c > below {
			if math.IsInf(b.bounds[i], 1) {
				return low
			}
			return low + (b.bounds[i]-low)*(rank-below)/(c-below)
		}
		below, low = c, b.bounds[i]
	}
	return low
}

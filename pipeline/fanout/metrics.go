package fanout

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	shardSeconds   *prometheus.HistogramVec
	failures       *prometheus.CounterVec
	doubled        prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	histograms := func(name, help, label string) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(100e-6, 2, 16),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour}, []string{label})
	}
	return &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "merged_requests_total",
			Help: "Number of requests answered for all shards of an index, by route and status code. The resulting requests to shards are in requests_total of their nodes."}, []string{"route", "code"}),
		requestSeconds: histograms("merged_request_seconds", "Duration of a request for all shards, in seconds: from reading its headers to having the answer, without writing it to the connection.", "route"),
		shardSeconds:   histograms("shard_request_seconds", "Duration of a request to one replica of a shard, local or a peer, until it is answered or given up, in seconds, by shard.", "shard"),
		failures: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "shard_failures_total",
			Help: "Number of times that a replica of a shard, local or a peer, failed to answer and the next one was tried, by shard."}, []string{"shard"}),
		doubled: f.NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "doubled_ids_total",
			Help: "Number of hits left out of merged answers because another shard has their ID too. Should be 0, else a producer does not partition by ID."}),
	}
}

// route shows one before its first request.
func (m *metrics) route(name string) {
	m.requestSeconds.WithLabelValues(name)
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		m.requests.WithLabelValues(name, strconv.Itoa(status))
	}
}

// shard shows one before it is asked.
func (m *metrics) shard(label string) {
	m.shardSeconds.WithLabelValues(label)
	m.failures.WithLabelValues(label)
}

func (m *metrics) answered(route string, status int, began time.Time) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.requestSeconds.WithLabelValues(route).Observe(time.Since(began).Seconds())
}

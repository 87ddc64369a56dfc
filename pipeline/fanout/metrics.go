package fanout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	failures *prometheus.CounterVec
	doubled  prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		failures: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "shard_failures_total",
			Help: "Times that a node of a shard, of this process or a peer, did not answer and the next one was asked, by shard."}, []string{"shard"}),
		doubled: f.NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "doubled_ids_total",
			Help: "Hits that were left out of merged answers because another shard has the id too. Should never happen: a producer does not partition by id."}),
	}
}

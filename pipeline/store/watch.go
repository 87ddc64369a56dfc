package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// WatchEvery is the time between two probes of a Watch. Each is 26 PUTs, 23 GETs and 4 DELETEs.
const WatchEvery = time.Hour

// WatchOptions are of a Watch.
type WatchOptions struct {
	Every time.Duration // between two probes; 0 is WatchEvery
	Tell  func(error)   // hears after each probe that was answered whether the store ignores put-if-absent: ErrIgnoresCondition, or nil

	Logger   *slog.Logger
	Registry prometheus.Registerer
	Role     string // of the metric
}

// Watch probes a bucket again and again. A daemon has seen at its start that the store honours put-if-absent; a server that is upgraded,
// restored or put behind another proxy may cease to under it, and nothing else would say so before two writers have met.
type Watch struct {
	o       WatchOptions
	bucket  Bucket
	ignores prometheus.Gauge
}

// NewWatch returns a Watch. It asks nothing until Run.
func NewWatch(b Bucket, o WatchOptions) *Watch {
	if o.Every == 0 {
		o.Every = WatchEvery
	}
	return &Watch{o: o, bucket: b, ignores: promauto.With(o.Registry).NewGauge(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: o.Role, Name: "store_ignores_condition",
		Help: "1 since a probe found that the object store ignores put-if-absent, until one finds that it does not, else 0. It is probed each hour. " +
			"Should never happen: two writers could both believe that they published."})}
}

// Run probes until ctx ends, for the first time when Every has gone by.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(w.o.Every)
	defer tick.Stop()
	for ignored := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := Probe(ctx, w.bucket)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrIgnoresCondition):
			w.o.Logger.Error("the store no longer honours put-if-absent", "error", err)
		case err != nil:
			w.o.Logger.Warn("the store could not be probed, the result of the last probe stands", "error", err)
			continue
		case ignored:
			w.o.Logger.Info("the store honours put-if-absent again")
		}
		ignored = err != nil
		w.ignores.Set(0)
		if ignored {
			w.ignores.Set(1)
		}
		w.o.Tell(err)
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Ops is a daemon's port for /livez, /readyz and /metrics. It answers from the first moment, so that a daemon that waits
// for its store can be asked why: until Use, /readyz is 503 with the reason of the last Waiting.
type Ops struct {
	listener net.Listener
	handler  atomic.Pointer[http.Handler]
	waiting  atomic.Pointer[string]
	ended    chan error // of serving
}

// OpenOps binds address and begins to answer, until ctx ends.
func OpenOps(ctx context.Context, address string) (*Ops, error) {
	return openOps(ctx, address, serving{grace: time.Second}, func(h http.Handler) http.Handler { return h })
}

func openOps(ctx context.Context, address string, s serving, guard func(http.Handler) http.Handler) (*Ops, error) {
	l, err := Listen(ctx, address)
	if err != nil {
		return nil, err
	}
	o := &Ops{listener: l, ended: make(chan error, 1)}
	o.Waiting(errors.New("starting"))
	var pages http.Handler = o
	if loopback(l.Addr().String()) {
		pages = withProfiles(o)
	}
	go func() { o.ended <- serveOn(ctx, l, guard(pages), s) }()
	return o, nil
}

// withProfiles adds the profiles of the Go runtime below /debug/pprof/, for ports that only this machine can reach. The command
// line is not among them, as it may have a password in it.
func withProfiles(pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("/", pages)
	return mux
}

// Addr is where it listens.
func (o *Ops) Addr() net.Addr { return o.listener.Addr() }

// Waiting says what the daemon waits for.
func (o *Ops) Waiting(reason error) {
	text := reason.Error()
	o.waiting.Store(&text)
}

// Use takes over with the pages of the daemon, which has started.
func (o *Ops) Use(handler http.Handler) { o.handler.Store(&handler) }

// Wait returns why the port has stopped answering, or nil when ctx ends first.
func (o *Ops) Wait(ctx context.Context) error {
	select {
	case err := <-o.ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// ServeHTTP answers with what Use gave, before that by itself.
func (o *Ops) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := o.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	if r.URL.Path == "/livez" {
		fmt.Fprintln(w, "ok")
		return
	}
	http.Error(w, *o.waiting.Load(), http.StatusServiceUnavailable)
}

// OpsHandler answers /livez, /readyz and /metrics for a daemon that has no page of its own.
func OpsHandler(r *prometheus.Registry, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	return mux
}

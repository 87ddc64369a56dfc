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
// for its store can be asked why: until Use, /readyz is 503 with the reason of the last Waiting. Once the daemon is told to stop it is
// 503 as well, for as long as that takes.
type Ops struct {
	listener net.Listener
	handler  atomic.Pointer[http.Handler]
	waiting  atomic.Pointer[string]
	stopping <-chan struct{} // closed when the daemon is told to
	cancel   func()
	failed   chan error // why it does not answer any more
	closed   chan struct{}
}

// OpenOps binds address and begins to answer, until Close. The end of ctx is what tells the daemon to stop.
func OpenOps(ctx context.Context, address string) (*Ops, error) {
	return openOps(ctx, address, serving{grace: time.Second}, func(h http.Handler) http.Handler { return h })
}

func openOps(ctx context.Context, address string, s serving, guard func(http.Handler) http.Handler) (*Ops, error) {
	l, err := Listen(ctx, "--ops-listen", address)
	if err != nil {
		return nil, err
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o := &Ops{listener: l, stopping: ctx.Done(), cancel: cancel, failed: make(chan error, 1), closed: make(chan struct{})}
	o.Waiting(errors.New("starting"))
	var pages http.Handler = o
	if loopback(l.Addr().String()) {
		pages = withProfiles(o)
	}
	go func() {
		defer close(o.closed)
		if err := serveOn(serving, l, guard(pages), s); err != nil {
			o.failed <- err
		}
	}()
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
	case err := <-o.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// Close ends it, when nothing is left to tell.
func (o *Ops) Close() {
	o.cancel()
	<-o.closed
}

// ServeHTTP answers with what Use gave, before that by itself.
func (o *Ops) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/readyz" && o.told() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
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

// told reports whether the daemon was told to stop.
func (o *Ops) told() bool {
	select {
	case <-o.stopping:
		return true
	default:
		return false
	}
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

package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Listen binds the address that a flag names. A fault is one of the call.
func Listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err == nil {
		return l, nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	advice := "use host:port of this machine, port 0 for any"
	if errors.Is(err, syscall.EADDRINUSE) {
		advice = "choose another port, or 0 for any"
	}
	return nil, Usage(fmt.Errorf("%s %s: %w: %s", flag, address, err, advice))
}

// serving is how a port is served.
type serving struct {
	grace time.Duration // for running requests to end
	tls   *tls.Config   // nil is plain HTTP
	log   *slog.Logger  // of what clients do wrong, at debug; nil discards
}

// newServer bounds what a client can cost that sends nothing, or little at a time: a connection, and these times. Headers may be
// large, as filters of Arrow requests are in the URL.
func (s serving) newServer(handler http.Handler) *http.Server {
	faults := slog.DiscardHandler
	if s.log != nil {
		faults = s.log.Handler()
	}
	return &http.Server{
		Handler: handler, TLSConfig: s.tls, ErrorLog: slog.NewLogLogger(faults, slog.LevelDebug),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 1 << 20,
	}
}

// serveOn answers on l until ctx ends, then lets running requests end within the grace, and cuts off those that do not.
func serveOn(ctx context.Context, l net.Listener, handler http.Handler, s serving) error {
	server := s.newServer(handler)
	failed := make(chan error, 1)
	go func() {
		if s.tls != nil {
			failed <- server.ServeTLS(l, "", "")
			return
		}
		failed <- server.Serve(l)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}

// NewRegistry is a registry with the metrics of the build, the process and the Go runtime.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(ThisBuild().collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

package access

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is the shortest time between two looks of Authorities at their file.
const lookEvery = time.Second

// Authorities are whom to trust, as a PEM file was when it was last good.
type Authorities struct {
	file    source
	log     *slog.Logger
	mu      sync.Mutex // of Look
	looked  time.Time
	current atomic.Pointer[x509.CertPool]
}

// OpenAuthorities reads the file. What Pool finds wrong with it later goes to log, if that is not nil.
func OpenAuthorities(path string, log *slog.Logger) (*Authorities, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &Authorities{file: source{paths: []string{path}}, log: log}
	if _, err := a.Look(); err != nil {
		return nil, err
	}
	return a, nil
}

// String names the file.
func (a *Authorities) String() string { return "file of authorities " + a.file.String() }

// Look reads the file again if its bytes have changed, and tells whether that changes whom new connections trust. A file that holds no
// certificate leaves everything as it was.
func (a *Authorities) Look() (changed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.look()
}

func (a *Authorities) look() (changed bool, err error) {
	a.looked = time.Now()
	contents, changed, err := a.file.read()
	if err != nil || !changed {
		return false, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(contents[0]) {
		return false, fmt.Errorf("%s: holds no PEM certificate", a.file.String())
	}
	a.current.Store(pool)
	return true, nil
}

// Current is what was last read.
func (a *Authorities) Current() *x509.CertPool { return a.current.Load() }

// Pool is Current after a look, unless there was one within the last second: for connections of processes that have no Reloader.
func (a *Authorities) Pool() *x509.CertPool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.looked) >= lookEvery {
		switch changed, err := a.look(); {
		case err != nil:
			a.log.Error("a file that changed cannot be used, what was read before stays in force", "file", a.String(), "error", err)
		case changed:
			a.log.Info("read again", "file", a.String())
		}
	}
	return a.Current()
}

// Trusting is like transport, but trusts what pool says when a request begins: once that is another one, requests go over new connections, and
// those that are under way end on their own. transport itself is not used, and must not be changed.
func Trusting(transport *http.Transport, pool func() *x509.CertPool) http.RoundTripper {
	return &trusting{like: transport, pool: pool}
}

type trusting struct {
	like *http.Transport
	pool func() *x509.CertPool

	mu      sync.Mutex
	trusted *x509.CertPool
	current *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t *trusting) RoundTrip(r *http.Request) (*http.Response, error) { return t.now().RoundTrip(r) }

func (t *trusting) now() *http.Transport {
	pool := t.pool()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil || pool != t.trusted {
		if t.current != nil {
			t.current.CloseIdleConnections() // and others once they are idle
		}
		t.trusted, t.current = pool, t.like.Clone()
		t.current.TLSClientConfig.RootCAs = pool
	}
	return t.current
}

// CloseIdleConnections is for http.Client.
func (t *trusting) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
}

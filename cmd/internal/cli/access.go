package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/adastream/adastream/pipeline/access"
)

// Access are the flags that say who may ask a node what.
type Access struct {
	TokensFile     string `help:"File of the tokens that requests must carry, made with 'adastream token new'. Reloaded when it changes. Without it the API needs no token." type:"existingfile" placeholder:"FILE"`
	OpsTokens      bool   `help:"Require a token of scope metrics on the ops port too. /livez and /readyz never need one."`
	Admin          bool   `help:"Enable promote, pin, unpin and rollback in the API and on the page: with a token of scope admin, or, without --tokens-file, if the API listens on loopback or requires client certificates. The node needs write access to channels/ in the store."`
	TLSCert        string `help:"PEM file of the certificate of the query API. Needs --tls-key; both are reloaded when they change." name:"tls-cert" type:"existingfile" placeholder:"FILE"`
	TLSKey         string `help:"PEM file of the private key of --tls-cert." name:"tls-key" type:"existingfile" placeholder:"FILE"`
	TLSClientCA    string `help:"PEM file of certificate authorities. Clients of the query API must show a certificate of one of them. Reloaded when it changes." name:"tls-client-ca" type:"existingfile" placeholder:"FILE"`
	MaxConnections int    `help:"Maximum number of open connections to the query API; further ones wait. 0 is unlimited." default:"8192"`
	OpsTLS         bool   `help:"Serve the ops port over TLS too, with the same certificate. It requires no client certificate, as probes have none." name:"ops-tls"`
}

// Validate joins all faults of a; the parser of flags asks it.
func (a Access) Validate() error {
	var faults []error
	if (a.TLSCert == "") != (a.TLSKey == "") {
		faults = append(faults, errors.New("--tls-cert and --tls-key: each needs the other"))
	}
	if a.TLSClientCA != "" && a.TLSCert == "" {
		faults = append(faults, errors.New("--tls-client-ca: needs --tls-cert"))
	}
	if a.OpsTLS && a.TLSCert == "" {
		faults = append(faults, errors.New("--ops-tls: needs --tls-cert"))
	}
	if a.MaxConnections < 0 {
		faults = append(faults, fmt.Errorf("--max-connections %d: must not be negative", a.MaxConnections))
	}
	if a.OpsTokens && a.TokensFile == "" {
		faults = append(faults, errors.New("--ops-tokens: needs --tokens-file"))
	}
	return errors.Join(faults...)
}

// Gate is what the ports of a node let through.
type Gate struct {
	flags       Access
	log         *slog.Logger
	guard       *access.Guard
	certificate *access.Certificate // nil without TLS
	reloader    *access.Reloader
}

// Open reads the files. listen is the address of the query API: whether others than this machine can reach it decides what needs
// no token, and what is worth a warning. Run follows other files too.
func (a Access) Open(listen string, log *slog.Logger, registry prometheus.Registerer, others ...access.Reloaded) (*Gate, error) {
	if err := a.Validate(); err != nil {
		return nil, Usage(err)
	}
	g := &Gate{flags: a, log: log}
	files := others
	var tokens *access.Tokens
	var err error
	if a.TokensFile != "" {
		if tokens, err = access.OpenTokens(a.TokensFile); err != nil {
			return nil, Usage(fmt.Errorf("--tokens-file: %w", err))
		}
		files = append(files, tokens)
	}
	if a.TLSCert != "" {
		if g.certificate, err = access.OpenCertificate(a.TLSCert, a.TLSKey, a.TLSClientCA); err != nil {
			return nil, Usage(fmt.Errorf("--tls-cert, --tls-key, --tls-client-ca: %w", err))
		}
		files = append(files, g.certificate)
	}
	local := loopback(listen)
	switch {
	case local:
	case tokens == nil && a.TLSClientCA == "":
		log.Warn("anyone who can reach the query API may search: set --tokens-file or --tls-client-ca, or listen on 127.0.0.1", "listen", listen)
	case tokens != nil && a.TLSCert == "":
		log.Warn("tokens are sent in clear text: set --tls-cert, unless a proxy in front of this node encrypts", "listen", listen)
	}
	g.guard = access.New(access.Options{Tokens: tokens, OpenAdmin: local || a.TLSClientCA != "", Logger: log, Registry: registry})
	g.reloader = access.NewReloader(log, registry, files...)
	return g, nil
}

// Run follows the files until ctx ends: each second, and at once when the process is told to by SIGHUP.
func (g *Gate) Run(ctx context.Context) {
	hangups, stop := notifyHangups()
	defer stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		case <-tick.C:
		}
		g.reloader.Look()
	}
}

func (g *Gate) api(handler http.Handler) http.Handler {
	return g.guard.Protect(handler, access.APIScope)
}

// ServeAPI answers on l as ServeOn does.
func (g *Gate) ServeAPI(ctx context.Context, l net.Listener, handler http.Handler, grace time.Duration) error {
	var config *tls.Config
	if g.certificate != nil {
		config = g.certificate.Config()
	}
	if g.flags.MaxConnections > 0 {
		l = netutil.LimitListener(l, g.flags.MaxConnections)
	}
	return serveOn(ctx, l, g.api(handler), serving{grace: grace, tls: config, log: g.log})
}

// OpenOps is OpenOps behind the gate.
func (g *Gate) OpenOps(ctx context.Context, address string) (*Ops, error) {
	s := serving{grace: time.Second, log: g.log}
	if g.flags.OpsTLS {
		s.tls = g.certificate.Anyone()
	}
	return openOps(ctx, address, s, func(h http.Handler) http.Handler {
		if !g.flags.OpsTokens {
			return h
		}
		return g.guard.Protect(h, access.OpsScope)
	})
}

// loopback reports whether nobody but this machine can reach an address. Of a name other than localhost it is not known.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || host == "localhost"
}

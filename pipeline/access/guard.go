package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Options of a Guard. The zero value lets everybody search, and nobody change anything.
type Options struct {
	// Tokens that requests have to bring; nil asks for none.
	Tokens *Tokens
	// OpenAdmin lets requests without a token change things, where none is asked for: they come from this machine, or from
	// whoever has a client certificate.
	OpenAdmin bool
	Logger    *slog.Logger          // nil discards
	Registry  prometheus.Registerer // nil makes a new one
}

// Guard lets requests through to handlers, or answers why not.
type Guard struct {
	o       Options
	browser http.CrossOriginProtection
	refused *prometheus.CounterVec // by reason
}

// New returns a Guard.
func New(o Options) *Guard {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	f := promauto.With(o.Registry)
	g := &Guard{o: o, refused: f.NewCounterVec(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query", Name: "access_refused_total",
		Help: "Number of requests refused before they were read, by reason."}, []string{"reason"})}
	if o.Tokens != nil {
		o.Registry.MustRegister(o.Tokens)
	}
	for _, reason := range []string{byIdentity, byScope, byRate, byConcurrency, byEncoding} {
		g.refused.WithLabelValues(reason)
	}
	return g
}

// adminPath is where everything lives that changes something.
const adminPath = "/v1/admin"

// APIScope is what a request to the query API needs. A path that another handler takes for one of adminPath is one here too: the
// prefix counts, before and after dots and double slashes are resolved.
func APIScope(r *http.Request) Scope {
	if strings.HasPrefix(r.URL.Path, adminPath) || strings.HasPrefix(path.Clean("/"+r.URL.Path), adminPath) {
		return Admin
	}
	return Search
}

// OpsScope is what a request to the operator's port needs; health is for everybody, as those who probe it have no token.
func OpsScope(r *http.Request) Scope {
	if r.URL.Path == "/livez" || r.URL.Path == "/readyz" {
		return ""
	}
	return Metrics
}

// Protect wraps a handler. need says what a request needs, "" is nothing.
func (g *Guard) Protect(next http.Handler, need func(*http.Request) Scope) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope := need(r)
		if scope == "" {
			next.ServeHTTP(w, r)
			return
		}
		h, refusal := g.admit(r, scope)
		if scope == Admin {
			recorder := &statusRecorder{ResponseWriter: w}
			w = recorder
			defer func() { // also when a handler panics
				g.audit(r, h, recorder.status)
			}()
		}
		if refusal != nil {
			g.refused.WithLabelValues(refusal.reason).Inc()
			refusal.write(w)
			return
		}
		if h != nil {
			defer h.use.running.Add(-1)
			h.use.passed.Add(1)
			if scope == Admin {
				r = r.WithContext(context.WithValue(r.Context(), callerKey{}, h.Name))
			}
		}
		next.ServeHTTP(w, r)
	})
}

type callerKey struct{}

// Caller is the name of the token that a request of an administrator came with, "" if none was asked for.
func Caller(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}

// admit returns the holder of the request's token, nil if none is asked for, and why the request is refused or nil. A request that
// is not refused counts as running.
func (g *Guard) admit(r *http.Request, scope Scope) (*holder, *refusal) {
	if err := g.browser.Check(r); err != nil {
		return nil, forbidden("another site's page sent this request: "+err.Error(), "requests of programs, and of pages of this node")
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, encoded(coding)
	}
	if g.o.Tokens == nil {
		return nil, g.admitAnyone(r, scope)
	}
	token, err := tokenOf(r, scope)
	if err != nil {
		return nil, unauthenticated(scope, err.Error())
	}
	h := g.o.Tokens.find(token)
	if h == nil {
		return nil, unauthenticated(scope, "the token is not one of this node's")
	}
	if !h.may(scope) {
		return h, forbidden(fmt.Sprintf("token %s may not be used for this", h.Name), fmt.Sprintf("tokens of scope %s", scope))
	}
	if n := h.use.running.Add(1); h.Concurrent > 0 && n > int64(h.Concurrent) {
		h.use.running.Add(-1)
		return h, tooMany(byConcurrency, fmt.Sprintf("token %s has %d requests running", h.Name, h.Concurrent),
			fmt.Sprintf("%d at a time", h.Concurrent), time.Second)
	}
	if l := h.use.limiter; !l.Allow() {
		h.use.running.Add(-1)
		wait := time.Duration((1 - l.Tokens()) / float64(l.Limit()) * float64(time.Second))
		return h, tooMany(byRate, fmt.Sprintf("token %s asks too often", h.Name), fmt.Sprintf("%v requests a second", h.Rate), max(wait, 1))
	}
	return h, nil
}

// admitAnyone guards what changes things where no token is asked for.
func (g *Guard) admitAnyone(r *http.Request, scope Scope) *refusal {
	switch {
	case scope != Admin:
		return nil
	case !g.o.OpenAdmin:
		return forbidden("this node changes nothing for those who show no token, as others than this machine can reach it", "a token of scope admin, from a node with --tokens-file")
	case fromBrowser(r) && !here(r.Host):
		// A page of a name that its owner has made to mean this machine.
		return forbidden("the page that sent this request is not of this machine", "pages of localhost or an IP address")
	}
	return nil
}

func fromBrowser(r *http.Request) bool {
	return r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != ""
}

// here reports whether a host with or without port is an address, or the name of this machine's own.
func here(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}

// tokenOf takes the token out of a request's header. Of a password's name nothing is asked. A browser sends passwords by itself
// once it has been given one, so what changes things wants the other form.
func tokenOf(r *http.Request, scope Scope) (string, error) {
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) == 0:
		return "", errors.New("the request has no token")
	case len(headers) > 1:
		return "", errors.New("the request has more than one Authorization header")
	}
	scheme, rest, _ := strings.Cut(headers[0], " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest), nil
	}
	_, password, ok := r.BasicAuth()
	switch {
	case ok && scope == Admin:
		return "", errors.New("a password is not enough for what changes things")
	case ok:
		return password, nil
	}
	return "", errors.New("the Authorization header is not of a form that is known here")
}

// audit writes down who has tried to change what. A status of 0 is that of a handler that has written nothing: it failed, or it
// left it to the server to say 200.
func (g *Guard) audit(r *http.Request, h *holder, status int) {
	args := []any{"audit", true, "method", r.Method, "path", fmt.Sprintf("%.1024s", r.URL.Path), "status", status, "remote", r.RemoteAddr}
	if h != nil {
		args = append(args, "token", h.Name)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		args = append(args, "certificate", r.TLS.PeerCertificates[0].Subject.String())
	}
	g.o.Logger.InfoContext(r.Context(), "admin request", args...)
}

// statusRecorder remembers what a handler answered.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	if s.status == 0 && status >= 200 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusRecorder) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// seconds rounds up, as Retry-After has whole seconds.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Faults of a store, as its clients see them.
const (
	faultRefuse  = "refuse"   // an answer of status 500, 503, 409 or, to a conditional put, 412; the request is not forwarded
	faultQuota   = "quota"    // puts are answered with 403, 400 or 507, as where there is no room left
	faultLost    = "lost"     // the request is carried out, its answer never comes
	faultCut     = "cut"      // the answer ends in the middle
	faultFlip    = "flip"     // a bit of a data object is another one on its way
	faultSlow    = "slow"     // the answer comes late
	faultList    = "slowlist" // listings come late
	faultSilence = "silence"  // nothing comes, neither answer nor end
)

// injector is a reverse proxy in front of a store that does to requests what the campaign asks for.
type injector struct {
	proxy  *httputil.ReverseProxy
	server *http.Server
	addr   string

	mu     sync.Mutex
	rng    *rand.Rand
	active map[int]injection
	next   int
	counts map[string]int
	last   map[string]time.Time // when a read of an object was damaged last, by path
	traps  []*trap
}

// flipEvery keeps damage on the way from looking like damage in the store, which is read a few times before it is believed.
const flipEvery = 3 * time.Second

// injection is a fault that hits a share of requests.
type injection struct {
	kind  string
	share float64
}

// newInjector serves the store at target on a free port of loopback. Signatures cover the Host header, so that stays.
func newInjector(target string, seed uint64) (*injector, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &injector{addr: l.Addr().String(), rng: rand.New(rand.NewPCG(seed, 7)), active: map[int]injection{}, counts: map[string]int{},
		last: map[string]time.Time{}}
	i.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = u.Scheme, u.Host, r.In.Host
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Transport:    &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	i.server = &http.Server{Handler: i, ReadHeaderTimeout: time.Minute}
	go func() { _ = i.server.Serve(l) }() // ends with close
	return i, nil
}

func (i *injector) close() { i.server.Close() }

// inject makes requests fail until the function that it returns is called.
func (i *injector) inject(f injection) (heal func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.next
	i.next++
	i.active[n] = f
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.active, n)
	}
}

// injected counts by kind.
func (i *injector) injected() map[string]int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return maps.Clone(i.counts)
}

// fate draws what becomes of a request, and a random number for its details.
func (i *injector) fate(r *http.Request) (string, uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := range i.next { // in the order in which they began
		f, ok := i.active[n]
		if ok && applies(f.kind, r) && i.rng.Float64() < f.share {
			if f.kind == faultFlip {
				if time.Since(i.last[r.URL.Path]) < flipEvery {
					continue
				}
				i.last[r.URL.Path] = time.Now()
			}
			i.counts[f.kind]++
			return f.kind, i.rng.Uint64()
		}
	}
	return "", 0
}

// applies says whether a fault is one that can befall a request.
func applies(kind string, r *http.Request) bool {
	switch kind {
	case faultFlip:
		return r.Method == http.MethodGet && isData(r.URL.Path)
	case faultCut:
		return r.Method == http.MethodGet
	case faultQuota:
		return r.Method == http.MethodPut
	case faultList:
		return r.URL.Query().Has("list-type")
	}
	return true
}

// isData says whether an object is one that is named with its checksum.
func isData(path string) bool {
	for _, folder := range []string{"/segments/", "/tombstones/", "/models/", "/chunks/", "/dead/"} {
		if strings.Contains(path, folder) {
			return true
		}
	}
	return false
}

func (i *injector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if t := i.caught(r); t != nil {
		i.spring(t, w, r)
		return
	}
	kind, random := i.fate(r)
	switch kind {
	case faultRefuse:
		refuse(w, r, random)
	case faultQuota:
		answerFault(w, r, []fault{{403, "QuotaExceeded"}, {400, "XMinioAdminBucketQuotaExceeded"}, {507, "XMinioStorageFull"}}[random%3])
	case faultLost:
		i.proxy.ServeHTTP(discard{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case faultCut, faultFlip:
		i.damage(w, r, kind, random)
	case faultSlow:
		pause(r.Context(), time.Duration(50+random%450)*time.Millisecond)
		i.proxy.ServeHTTP(w, r)
	case faultList:
		pause(r.Context(), time.Duration(500+random%2500)*time.Millisecond)
		i.proxy.ServeHTTP(w, r)
	case faultSilence:
		_, _ = io.Copy(io.Discard, r.Body) // until the client gives up; so its end is noticed
		pause(r.Context(), 20*time.Second)
		panic(http.ErrAbortHandler)
	default:
		i.proxy.ServeHTTP(w, r)
	}
}

// refuse answers as a store does that is overloaded, or that lost a race.
func refuse(w http.ResponseWriter, r *http.Request, random uint64) {
	answers := []fault{{500, "InternalError"}, {503, "SlowDown"}, {409, "ConditionalRequestConflict"}, {412, "PreconditionFailed"}}
	conditional := r.Method == http.MethodPut && r.Header.Get("If-None-Match") != ""
	if !conditional {
		answers = answers[:2]
	}
	answerFault(w, r, answers[random%uint64(len(answers))])
}

// fault is an answer that S3 has for one.
type fault struct {
	status int
	code   string
}

func answerFault(w http.ResponseWriter, r *http.Request, f fault) {
	_, _ = io.Copy(io.Discard, r.Body) // a refusal before the body was read would look like a reset
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(f.status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message></Error>`, f.code)
}

// damage passes the answer with one bit changed, or half of it.
func (i *injector) damage(w http.ResponseWriter, r *http.Request, kind string, random uint64) {
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	i.proxy.ServeHTTP(answer, r)
	body := answer.body.Bytes()
	maps.Copy(w.Header(), answer.header)
	if kind == faultFlip && answer.status == http.StatusOK && len(body) > 0 {
		bit := random % uint64(8*len(body))
		body[bit/8] ^= 1 << (bit % 8)
	}
	w.WriteHeader(answer.status)
	if kind == faultCut {
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// discard loses an answer.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

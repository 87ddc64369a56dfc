package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// logTo is a log to look at.
func logTo() (*slog.Logger, *bytes.Buffer) {
	out := &bytes.Buffer{}
	return slog.New(slog.NewJSONHandler(out, nil)), out
}

// mux stands for a node: it tells which of its handlers was reached.
func mux() *http.ServeMux {
	m := http.NewServeMux()
	for _, pattern := range []string{"/v1/search", "/v1/vectors/{id...}", "/ui/", "POST /v1/admin/promote", "/v1/admin/", "/"} {
		m.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Reached", pattern) })
	}
	return m
}

func bearer(token string) string { return "Bearer " + token }

func basic(token string) string {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth("anyone", token)
	return r.Header.Get("Authorization")
}

func ask(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func codeOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" ||
		p.Status != w.Code || p.Type != "urn:adastream:problem:"+p.Code || p.Title == "" || p.Detail == "" {
		t.Errorf("%d is no problem: %v %s", w.Code, err, w.Body)
	}
	return p.Code
}

func TestGuard(t *testing.T) {
	search, searchLine := newLine(t, Token{Name: "web", Scopes: []Scope{Search}})
	admin, adminLine := newLine(t, Token{Name: "root", Scopes: []Scope{Admin}})
	metrics, metricsLine := newLine(t, Token{Name: "prom", Scopes: []Scope{Metrics}})
	log, out := logTo()
	registry := prometheus.NewRegistry()
	g := New(Options{Tokens: openTokens(t, searchLine, adminLine, metricsLine), OpenAdmin: true, Logger: log, Registry: registry})
	api, ops := g.Protect(mux(), APIScope), g.Protect(mux(), OpsScope)
	for _, c := range []struct {
		h              http.Handler
		method, target string
		authorization  string
		status         int
		code           string
	}{
		{api, "POST", "/v1/search", "", 401, "unauthenticated"},
		{api, "POST", "/v1/search", bearer(search), 200, ""},
		{api, "POST", "/v1/search", "bearer  " + search, 200, ""},
		{api, "POST", "/v1/search", basic(search), 200, ""},
		{api, "POST", "/v1/search", bearer(search + "x"), 401, "unauthenticated"},
		{api, "POST", "/v1/search", search, 401, "unauthenticated"},
		{api, "POST", "/v1/search", "Digest " + search, 401, "unauthenticated"},
		{api, "POST", "/v1/search", "Basic !", 401, "unauthenticated"},
		{api, "POST", "/v1/search", "Bearer", 401, "unauthenticated"},
		{api, "POST", "/v1/search", bearer(admin), 403, "forbidden"},
		{api, "GET", "/ui/", basic(search), 200, ""},
		{api, "GET", "/ui/assets/x.js", "", 401, "unauthenticated"},
		{api, "GET", "/nothing", "", 401, "unauthenticated"},
		{api, "POST", "/v1/admin/promote", bearer(search), 403, "forbidden"},
		{api, "POST", "/v1/admin/promote", basic(admin), 401, "unauthenticated"},
		{api, "POST", "/v1/admin/promote", bearer(admin), 200, ""},
		{api, "GET", "/v1/admin/promote", bearer(search), 403, "forbidden"},
		{ops, "GET", "/livez", "", 200, ""},
		{ops, "GET", "/readyz", "", 200, ""},
		{ops, "GET", "/metrics", "", 401, "unauthenticated"},
		{ops, "GET", "/metrics", basic(metrics), 200, ""},
		{ops, "GET", "/metrics", bearer(search), 403, "forbidden"},
		{ops, "GET", "/debug/pprof/heap", "", 401, "unauthenticated"},
	} {
		headers := []string{}
		if c.authorization != "" {
			headers = append(headers, "Authorization", c.authorization)
		}
		w := ask(c.h, c.method, c.target, headers...)
		if w.Code != c.status {
			t.Errorf("%s %s with %q: %d, want %d: %s", c.method, c.target, c.authorization, w.Code, c.status, w.Body)
		}
		if reached := w.Header().Get("Reached") != ""; reached != (c.status == 200) {
			t.Errorf("%s %s with %q: reached the handler: %v", c.method, c.target, c.authorization, reached)
		}
		if c.status != 200 {
			if code := codeOf(t, w); code != c.code {
				t.Errorf("%s %s with %q: code %q, want %q", c.method, c.target, c.authorization, code, c.code)
			}
		}
		if challenges := w.Header().Values("WWW-Authenticate"); (len(challenges) > 0) != (c.status == 401) || strings.Contains(c.target, "admin") && len(challenges) > 1 {
			t.Errorf("%s %s: challenges %q", c.method, c.target, challenges)
		}
		for _, secret := range []string{search, admin, metrics} {
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("the answer has the token: %s", w.Body)
			}
		}
	}
	if w := ask(api, "POST", "/v1/search", "Authorization", bearer(search), "Authorization", bearer(admin)); w.Code != 401 {
		t.Errorf("two headers: %d", w.Code)
	}
	for _, secret := range []string{search, admin, metrics} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the log has a token: %s", out)
		}
	}
	gathered, err := testutil.GatherAndLint(registry)
	if err != nil || len(gathered) > 0 {
		t.Errorf("%v %v", gathered, err)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP adastream_query_access_passed_total Number of requests admitted, by the name of their token. A tokens file has at most 1,000.
# TYPE adastream_query_access_passed_total counter
adastream_query_access_passed_total{token="prom"} 1
adastream_query_access_passed_total{token="root"} 1
adastream_query_access_passed_total{token="web"} 4
# HELP adastream_query_access_refused_total Number of requests refused before they were read, by reason.
# TYPE adastream_query_access_refused_total counter
adastream_query_access_refused_total{reason="concurrency"} 0
adastream_query_access_refused_total{reason="encoding"} 0
adastream_query_access_refused_total{reason="forbidden"} 4
adastream_query_access_refused_total{reason="rate"} 0
adastream_query_access_refused_total{reason="unauthenticated"} 12
`)); err != nil {
		t.Error(err)
	}
}

// However its path is written, what changes something is never reached by a token of another scope.
func TestNoSpellingReachesAdmin(t *testing.T) {
	search, line := newLine(t, Token{Name: "web", Scopes: []Scope{Search}})
	server := httptest.NewServer(New(Options{Tokens: openTokens(t, line)}).Protect(mux(), APIScope))
	defer server.Close()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, method := range []string{"GET", "POST", "CONNECT"} {
		for _, target := range []string{
			"/v1/admin/promote", "/v1/admin", "//v1/admin/promote", "/v1//admin/promote", "/v1/./admin/promote", "/v1/vectors/../admin/promote",
			"/v1/%61dmin/promote", "/%76%31/admin/promote", "/v1%2Fadmin/promote", "/v1/admin%2Fpromote", "/v1/x/%2e%2e/admin/promote", "/v1/vectors/..%2Fadmin/promote",
			"/v1/admin/../admin/promote", "/ui/../v1/admin/promote", "/v1/admin;x/promote", "/v1/admin/promote?x=/v1/search", "/v1/%2561dmin/promote",
		} {
			r, err := http.NewRequest(method, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.Opaque = "//" + r.URL.Host + target
			r.Header.Set("Authorization", bearer(search))
			answer, err := client.Do(r)
			if err != nil {
				t.Errorf("%s %s: %v", method, target, err)
				continue
			}
			answer.Body.Close()
			if reached := answer.Header.Get("Reached"); strings.Contains(reached, "admin") {
				t.Errorf("%s %s: %d from %s", method, target, answer.StatusCode, reached)
			}
		}
	}
}

// Without tokens everybody may search. Changing things is for this machine, and not for pages of other sites that its user looks at.
func TestGuardWithoutTokens(t *testing.T) {
	closed := New(Options{}).Protect(mux(), APIScope)
	open := New(Options{OpenAdmin: true}).Protect(mux(), APIScope)
	for _, c := range []struct {
		h       http.Handler
		target  string
		status  int
		headers []string
	}{
		{closed, "http://node:8080/v1/search", 200, nil},
		{closed, "http://localhost:8080/v1/admin/promote", 403, nil},
		{open, "http://localhost:8080/v1/admin/promote", 200, nil},
		{open, "http://node:8080/v1/admin/promote", 200, nil},
		{open, "http://localhost:8080/v1/admin/promote", 200, []string{"Origin", "http://localhost:8080"}},
		{open, "http://[::1]:8080/v1/admin/promote", 200, []string{"Sec-Fetch-Site", "same-origin"}},
		{open, "http://localhost:8080/v1/admin/promote", 403, []string{"Origin", "http://evil.example"}},
		{open, "http://localhost:8080/v1/admin/promote", 403, []string{"Sec-Fetch-Site", "cross-site"}},
		{open, "http://localhost:8080/v1/admin/promote", 403, []string{"Origin", "null"}},
		{open, "http://evil.example:8080/v1/admin/promote", 403, []string{"Origin", "http://evil.example:8080"}}, // whose name means 127.0.0.1 today
		{open, "http://evil.example:8080/v1/admin/promote", 403, []string{"Sec-Fetch-Site", "same-origin"}},
		{open, "http://localhost:8080/v1/search", 403, []string{"Origin", "http://evil.example"}},
	} {
		if w := ask(c.h, "POST", c.target, c.headers...); w.Code != c.status {
			t.Errorf("%s %v: %d, want %d: %s", c.target, c.headers, w.Code, c.status, w.Body)
		} else if w.Code == 403 && codeOf(t, w) != "forbidden" {
			t.Errorf("%s %v: %s", c.target, c.headers, w.Body)
		}
	}
}

func TestRateLimit(t *testing.T) {
	secret, line := newLine(t, Token{Name: "web", Scopes: []Scope{Search}, Rate: 0.1, Burst: 3})
	other, otherLine := newLine(t, Token{Name: "other", Scopes: []Scope{Search}})
	api := New(Options{Tokens: openTokens(t, line, otherLine)}).Protect(mux(), APIScope)
	for i := range 3 {
		if w := ask(api, "GET", "/", "Authorization", bearer(secret)); w.Code != 200 {
			t.Errorf("request %d: %d", i, w.Code)
		}
	}
	for range 50 { // refused requests do not push the next one back
		w := ask(api, "GET", "/", "Authorization", bearer(secret))
		after, err := strconv.Atoi(w.Header().Get("Retry-After"))
		if w.Code != 429 || codeOf(t, w) != "rate_limited" || err != nil || after < 1 || after > 10 {
			t.Fatalf("over the limit: %d, Retry-After %d %v: %s", w.Code, after, err, w.Body)
		}
	}
	if w := ask(api, "GET", "/", "Authorization", bearer(other)); w.Code != 200 {
		t.Errorf("the other token: %d", w.Code)
	}
}

func TestConcurrencyLimit(t *testing.T) {
	secret, line := newLine(t, Token{Name: "web", Scopes: []Scope{Search}, Concurrent: 2})
	inside, leave := make(chan struct{}), make(chan struct{})
	api := New(Options{Tokens: openTokens(t, line)}).Protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic(http.ErrAbortHandler)
		}
		if r.URL.Path == "/slow" {
			inside <- struct{}{}
			<-leave
		}
	}), APIScope)
	for range 5 { // who fails has left
		func() {
			defer func() { _ = recover() }()
			ask(api, "GET", "/panic", "Authorization", bearer(secret))
		}()
	}
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() { ask(api, "GET", "/slow", "Authorization", bearer(secret)) })
		<-inside
	}
	w := ask(api, "GET", "/", "Authorization", bearer(secret))
	if w.Code != 429 || codeOf(t, w) != "rate_limited" || w.Header().Get("Retry-After") != "1" {
		t.Errorf("a third one: %d %s", w.Code, w.Body)
	}
	close(leave)
	running.Wait()
	if w := ask(api, "GET", "/", "Authorization", bearer(secret)); w.Code != 200 {
		t.Errorf("after they have left: %d", w.Code)
	}
}

// Each attempt to change something is written down with who made it, and nothing else is.
func TestAudit(t *testing.T) {
	admin, line := newLine(t, Token{Name: "root", Scopes: []Scope{Admin, Search}})
	log, out := logTo()
	api := New(Options{Tokens: openTokens(t, line), Logger: log}).Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/admin/conflict":
			w.WriteHeader(http.StatusConflict)
		case "/v1/admin/implicit":
			_, _ = io.WriteString(w, "ok")
		}
	}), APIScope)
	ask(api, "POST", "/v1/search", "Authorization", bearer(admin))
	if out.String() != "" {
		t.Errorf("a search is written down: %s", out)
	}
	for _, c := range []struct {
		target, authorization, token string
		status                       int
	}{
		{"/v1/admin/conflict", bearer(admin), "root", 409},
		{"/v1/admin/implicit", bearer(admin), "root", 200},
		{"/v1/admin/implicit", bearer("adst_wrong"), "", 401},
		{"/v1/admin/a%0Ab", "", "", 401},
	} {
		before := len(out.String())
		ask(api, "POST", c.target, "Authorization", c.authorization)
		var record struct {
			Audit                              bool
			Level, Token, Method, Path, Remote string
			Status                             int
		}
		if err := json.Unmarshal([]byte(out.String()[before:]), &record); err != nil {
			t.Fatalf("%s: not one record: %v: %s", c.target, err, out.String()[before:])
		}
		if !record.Audit || record.Level != "INFO" || record.Token != c.token || record.Method != "POST" || record.Status != c.status || record.Remote == "" || !strings.HasPrefix(record.Path, "/v1/admin/") {
			t.Errorf("%s: %+v", c.target, record)
		}
	}
	if strings.Contains(out.String(), admin) || strings.Contains(out.String(), "adst_wrong") {
		t.Errorf("a token is written down: %s", out)
	}
}

// Requests go on while the file changes: a token that stays never fails, one that leaves fails from then on.
func TestReloadDropsNoRequest(t *testing.T) {
	stays, staysLine := newLine(t, Token{Name: "stays", Scopes: []Scope{Search}})
	leaves, leavesLine := newLine(t, Token{Name: "leaves", Scopes: []Scope{Search}})
	path := tokensFile(t, staysLine, leavesLine)
	tokens, err := OpenTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	api := New(Options{Tokens: tokens}).Protect(mux(), APIScope)
	stop := make(chan struct{})
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if w := ask(api, "GET", "/", "Authorization", bearer(stays)); w.Code != 200 {
					t.Errorf("%d %s", w.Code, w.Body)
					return
				}
			}
		})
	}
	for i := range 50 {
		write(t, path, fmt.Sprintf("%s\n# %d\n%s\n", staysLine, i, leavesLine))
		if changed, err := tokens.Look(); !changed || err != nil {
			t.Errorf("%v %v", changed, err)
		}
	}
	write(t, path, staysLine)
	if _, err := tokens.Look(); err != nil {
		t.Error(err)
	}
	if w := ask(api, "GET", "/", "Authorization", bearer(leaves)); w.Code != 401 {
		t.Errorf("a token that has left: %d", w.Code)
	}
	close(stop)
	askers.Wait()
}

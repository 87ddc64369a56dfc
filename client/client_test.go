package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A request is tried again when that can help, and only then.
func TestRetries(t *testing.T) {
	const problem = `{"type":"urn:adastream:problem:%[1]s","title":"no","status":%[2]d,"detail":"why","code":"%[1]s","allowed":"what"}`
	for _, c := range []struct {
		name   string
		fail   func(w http.ResponseWriter)
		fails  int64
		want   string // of the error, "" for none
		served int64
	}{
		{"first answer", nil, 0, "", 1},
		{"overloaded", func(w http.ResponseWriter) { refuse(w, 429, fmt.Sprintf(problem, "overloaded", 429)) }, 2, "", 3},
		{"not ready", func(w http.ResponseWriter) { refuse(w, 503, fmt.Sprintf(problem, "not_ready", 503)) }, 3, "", 4},
		{"not ready for long", func(w http.ResponseWriter) { refuse(w, 503, fmt.Sprintf(problem, "not_ready", 503)) }, 9, "503 why, allowed: what", 4},
		{"too slow", func(w http.ResponseWriter) { refuse(w, 503, fmt.Sprintf(problem, "timeout", 503)) }, 9, "503 why", 1},
		{"refused", func(w http.ResponseWriter) { refuse(w, 400, fmt.Sprintf(problem, "invalid", 400)) }, 9, "400 why", 1},
		{"a fault of the node", func(w http.ResponseWriter) { refuse(w, 500, fmt.Sprintf(problem, "internal", 500)) }, 9, "500 why", 1},
		{"a proxy without nodes", func(w http.ResponseWriter) { http.Error(w, "nobody here", http.StatusBadGateway) }, 1, "", 2},
		{"not a problem", func(w http.ResponseWriter) { http.Error(w, "nobody here", 404) }, 1, "404 404 Not Found: nobody here", 1},
		{"connection lost", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 2, "", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var served atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if !strings.Contains(string(body), `"like":"x"`) || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("%s, %v", body, r.Header)
				}
				if served.Add(1) <= c.fails {
					c.fail(w)
					return
				}
				fmt.Fprint(w, `{"hits":[{"id":"y","score":0.5}],"new_field":1}`)
			}))
			defer server.Close()
			client, err := New(server.URL+"/", Options{Token: "secret"})
			if err != nil {
				t.Fatal(err)
			}
			a, err := client.Search(t.Context(), Query{Like: "x"})
			switch {
			case c.want == "" && (err != nil || a.Hits[0].ID != "y"):
				t.Errorf("%+v, %v", a, err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
				t.Errorf("%v, want %s", err, c.want)
			}
			if got := served.Load(); got != c.served {
				t.Errorf("%d requests, want %d", got, c.served)
			}
			var p *Problem
			if c.want != "" && !errors.As(err, &p) {
				t.Errorf("%v is no Problem", err)
			}
		})
	}
}

func refuse(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

// handled is a node that answers without a network, so that its time can be that of a bubble.
type handled http.HandlerFunc

func (h handled) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h(w, r)
	return w.Result(), nil
}

// The node says how long to wait, and a context ends the wait.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, retryAfter)
}

func retryAfter(t *testing.T) {
	var served atomic.Int64
	client, err := New("http://node", Options{HTTP: &http.Client{Transport: handled(func(w http.ResponseWriter, _ *http.Request) {
		if served.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			refuse(w, 429, `{"code":"overloaded","detail":"busy"}`)
			return
		}
		fmt.Fprint(w, `{"hits":[]}`)
	})}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Search(ctx, Query{Like: "x"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "busy") {
		t.Errorf("%v", err)
	}
	served.Store(0)
	began := time.Now()
	_, err = client.Search(t.Context(), Query{Like: "x"})
	if took := time.Since(began); err != nil || took < time.Second || took >= 2*time.Second || served.Load() != 2 {
		t.Errorf("%v after %v, %d requests", err, took, served.Load())
	}
}

// However long is asked for, a wait ends in this hour.
func TestRetryAfter_isBounded(t *testing.T) {
	for header, want := range map[string]time.Duration{"2": 2 * time.Second, "3600": longestWait * time.Second, "9223372036854775807": longestWait * time.Second, "-5": -5 * time.Second, "Sat, 28 Nov 2026 07:00:00 GMT": 0} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			refuse(w, 503, `{}`)
		}))
		client, err := New(server.URL, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var p *Problem
		if _, err := client.once(t.Context(), http.MethodGet, "/", "", "", nil); !errors.As(err, &p) || p.wait != want {
			t.Errorf("Retry-After %s: %v, want a wait of %v", header, p, want)
		}
		server.Close()
	}
}

func TestNew(t *testing.T) {
	for _, address := range []string{"", "localhost:8080", "ftp://a", "http://", "http://[", "/v1"} {
		if _, err := New(address, Options{}); err == nil || !strings.Contains(err.Error(), "must be http://") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestParameters(t *testing.T) {
	wait, score := 0.0, -0.25
	h := How{K: 7, Budget: &Budget{Lists: 1e7}, Plan: &Plan{NProbe: 3, Margin: 0.125}, Filter: []byte(`{"year":{"$gte":1900},"year":1911}`), MinScore: &score,
		Freshness: Freshness{MinOffsets: map[string]int64{"0": 9007199254740993}, Wait: &wait}}
	values, err := h.parameters([]string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"k": "7", "budget.lists": "10000000", "plan.nprobe": "3", "plan.margin": "0.125", "filter": `{"year":{"$gte":1900},"year":1911}`, // for the node to refuse

		"min_score": "-0.25", "min_offsets": `{"0":9007199254740993}`, "wait_seconds": "0", "fields": "a,b"}
	for name := range values {
		if values.Get(name) != want[name] {
			t.Errorf("%s=%s, want %q", name, values.Get(name), want[name])
		}
	}
	if len(values) != len(want) {
		t.Errorf("%v", values)
	}
}

func TestBatchShape(t *testing.T) {
	client, err := New("http://127.0.0.1:1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ values, dim int }{{0, 4}, {6, 4}, {4, 0}} {
		if _, err := client.SearchBatch(t.Context(), make([]float32, c.values), c.dim, How{}); err == nil || !strings.Contains(err.Error(), "vectors:") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// What is allowed is said once, also where the detail says it.
func TestProblemText(t *testing.T) {
	for want, p := range map[string]*Problem{
		"400 k: 0, allowed: 1 to 1000":                         {Status: 400, Detail: "k: 0", Allowed: "1 to 1000"},
		"400 vector: 3 values, allowed: 8 values of encoder e": {Status: 400, Detail: "vector: 3 values, allowed: 8 values of encoder e", Allowed: "8 values of encoder e"},
		"404 like: no live row has the id \"x\"":               {Status: 404, Detail: `like: no live row has the id "x"`},
	} {
		if got := p.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// An id is one, also if it means another place in a path.
func TestVectorOfDots(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/vectors/{id...}", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(Vector{ID: r.PathValue("id")})
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	client, err := New(server.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{".", "..", "a/../b", "a//b", "1.5", "%2E", "é ?#"} {
		if v, err := client.Vector(t.Context(), id); err != nil || v.ID != id {
			t.Errorf("%q: %+v, %v", id, v, err)
		}
	}
}

// A number of an attribute is the one that the index has, all of its digits.
func TestNumbersOfAttributes(t *testing.T) {
	const hit = `{"id":"y","score":0.5,"attributes":{"n":9007199254740993,"price":0.1}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"hits":[%s],"groups":[{"value":9007199254740993,"hits":[%s]}],"attributes":{"n":9007199254740993}}`, hit, hit)
	}))
	defer server.Close()
	client, err := New(server.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.Search(t.Context(), Query{Like: "x"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := client.Vector(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	h := a.Hits[0].Attributes
	if got := fmt.Sprintf("%v %v %v %v", h["n"], h["price"], a.Groups[0].Value, v.Attributes["n"]); got != "9007199254740993 0.1 9007199254740993 9007199254740993" {
		t.Errorf("read %s", got)
	}
}

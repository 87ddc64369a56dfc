package fanout_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/pipeline/serve"
)

// TestNodesThatFail: another node of the shard is asked; where there is none nothing is left out in silence.
func TestNodesThatFail(t *testing.T) {
	rows := someRows(300)
	spec, nodes := build(t, 2, rows)
	query := `{"exact":true,"vector":` + text(rows[0].vector) + `}`
	good := peer(t, spec, map[int]http.Handler{1: nodes[1]})
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	answering := func(h http.HandlerFunc) *url.URL {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		u, _ := url.Parse(s.URL)
		return u
	}
	away, _ := url.Parse(gone.URL)
	other := *spec
	other.Encoder = "another"
	for name, test := range map[string]struct {
		bad    *url.URL
		detail string // where the other one is not there
	}{
		"gone":          {away, "none of its 1 nodes answers"},
		"no node":       {answering(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }), ""},
		"a proxy's 502": {answering(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) }), "none of its 1 nodes answers"},
		"not ready": {answering(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			fmt.Fprint(w, `{"status":503,"code":"not_ready","detail":"no generation is loaded yet"}`)
		}), "no generation is loaded yet"},
		"another shard": {peer(t, spec, map[int]http.Handler{0: nodes[0]}), `none of its 1 nodes answers: shard: \"1\" is not one of this node's`},
		"another index": {peer(t, &other, map[int]http.Handler{1: nodes[1]}), "this node is of index words"},
		"silent": {answering(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client leaves
			<-r.Context().Done()
		}), "did not end within"},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			both := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0]}, Peers: map[int][]*url.URL{1: {test.bad, good}}, Timeout: 2 * time.Second, Registry: registry})
			if name != "no node" { // it answers, and the answer is no JSON: that is the fault of who named it as a peer
				var failures map[string]float64
				for i := 0; i < 200 && failures["1"] == 0; i++ { // the first to be asked is drawn by lot
					if w := call(both, "POST", "/v1/search", query); w.Code != 200 {
						t.Fatalf("%d: %s", w.Code, w.Body)
					}
					failures = failuresOf(t, registry)
				}
				if failures["0"] != 0 || failures["1"] == 0 {
					t.Errorf("failures by shard are shown as %v", failures)
				}
			}
			alone := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0]}, Peers: map[int][]*url.URL{1: {test.bad}}, Timeout: time.Second})
			w := call(alone, "POST", "/v1/search", query)
			if w.Code < 400 || !strings.Contains(w.Body.String(), test.detail) {
				t.Errorf("%d: %s, want %q", w.Code, w.Body, test.detail)
			}
		})
	}
	w := call(router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0]}}), "POST", "/v1/search", query)
	if w.Code != 503 || !strings.Contains(w.Body.String(), "shard 1: this node has none and knows no other") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

// TestRefusalBeforeWhatItEnds: what one shard refuses ends the question to the others, and their word for that is not the answer.
func TestRefusalBeforeWhatItEnds(t *testing.T) {
	spec, nodes := build(t, 2, someRows(30))
	asked := make(chan struct{})
	waiting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		w.WriteHeader(499)
		fmt.Fprint(w, `{"status":499,"code":"timeout","detail":"the client went away"}`)
	})
	refusing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-asked
		nodes[1].ServeHTTP(w, r)
	})
	all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: waiting, 1: refusing}})
	if w := call(all, "POST", "/v1/search", `{"wait_seconds":null,"vector":`+text(someRows(1)[0].vector)+`}`); w.Code != 400 || !strings.Contains(w.Body.String(), "shard 1: wait_seconds") {
		t.Errorf("%d: %s, want what shard 1 refuses", w.Code, w.Body)
	}
}

// TestNodesThatLag: where one node of a shard is not fresh enough another one is asked, and no longer waited than was asked for.
func TestNodesThatLag(t *testing.T) {
	rows := someRows(300)
	spec, nodes := build(t, 2, rows)
	var waits atomic.Int64
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Wait *float64 `json:"wait_seconds"`
		}
		if !serve.SendsArrow(r) {
			_ = json.NewDecoder(r.Body).Decode(&asked)
		} else if text := r.URL.Query().Get("wait_seconds"); text != "" {
			wait, _ := strconv.ParseFloat(text, 64)
			asked.Wait = &wait
		}
		if asked.Wait == nil || *asked.Wait != 0 {
			waits.Add(1)
		}
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"status":409,"code":"not_fresh","detail":"searchable is what is before 1"}`)
	}))
	defer behind.Close()
	lags, _ := url.Parse(behind.URL)
	fresh := peer(t, spec, map[int]http.Handler{1: nodes[1]})
	query := `{"exact":true,"max_staleness_seconds":60,"vector":` + text(rows[0].vector) + `}`
	both := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0]}, Peers: map[int][]*url.URL{1: {lags, fresh}}})
	for range 40 { // who is asked first is drawn by lot
		if w := call(both, "POST", "/v1/search", query); w.Code != 200 {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
		if w := send(both, "/v1/search?max_staleness_seconds=60", arrowType, "", queriesOf(t, rows[0].vector)); w.Code != 200 {
			t.Fatalf("in Arrow: %d: %s", w.Code, w.Body)
		}
		if w := call(both, "POST", "/v1/vectors:batchGet", `{"ids":["id-1"],"max_staleness_seconds":60}`); w.Code != 200 {
			t.Fatalf("by id: %d: %s", w.Code, w.Body)
		}
	}
	if waits.Load() == 0 {
		t.Error("the node that lags was never asked first")
	}
	waits.Store(0)
	neither := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: nodes[0]}, Peers: map[int][]*url.URL{1: {lags, lags, lags}}})
	if w := call(neither, "POST", "/v1/search", query); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "shard 1: searchable is what is before 1") || waits.Load() != 1 {
		t.Errorf("%d: %s, waited %d times, want once", w.Code, w.Body, waits.Load())
	}
}

func failuresOf(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	failures := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "adastream_query_shard_failures_total" {
			for _, m := range f.GetMetric() {
				failures[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return failures
}

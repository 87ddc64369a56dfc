package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A trap kills at its point: the store has what it is to have by then, the process what it is to have heard, and only the first request
// of the process that fits is hit.
func TestTraps(t *testing.T) {
	const body = "0123456789"
	for _, tt := range []struct {
		point        point
		method, path string
		stored       bool
		heard        string
	}{
		{point{at: pointPut, folder: "chunks"}, http.MethodPut, "/b/chunks/x", false, ""},
		{point{at: pointDone, folder: "chunks"}, http.MethodPut, "/b/chunks/x", true, ""},
		{point{at: pointDone}, http.MethodPut, "/b/manifests/x", true, ""},
		{point{at: pointDownload, share: 0.35}, http.MethodGet, "/b/segments/x", true, body[:3]},
		{point{at: pointDownloaded}, http.MethodGet, "/b/segments/x", true, body},
	} {
		t.Run(tt.point.String(), func(t *testing.T) {
			var mu sync.Mutex
			var events []string
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, what)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				note("store")
				_, _ = io.WriteString(w, body)
			}))
			defer server.Close()
			i, err := newInjector(server.URL, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer i.close()
			do := func(host, path string) (string, error) {
				r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+i.addr+path, strings.NewReader("sent"))
				if err != nil {
					t.Fatal(err)
				}
				r.Host = host + ":1"
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					return "", err
				}
				defer answer.Body.Close()
				heard, err := io.ReadAll(answer.Body)
				return string(heard), err
			}
			trapped := &trap{point: tt.point, host: loopback, kill: func() { note("kill") }, sprung: make(chan struct{})}
			lift := i.lay(trapped)
			for host, path := range map[string]string{"localhost": tt.path, loopback: "/b/index.json"} {
				if host == loopback && tt.point.at == pointDone && tt.point.folder == "" {
					continue // any put would do
				}
				if heard, err := do(host, path); err != nil || heard != body {
					t.Fatalf("%s of %s: %q, %v: not the trap's", path, host, heard, err)
				}
			}
			mu.Lock()
			events = nil
			mu.Unlock()
			if heard, err := do(loopback, tt.path); heard != tt.heard || err == nil && tt.heard != body {
				t.Errorf("heard %q, %v, want %q and a broken line", heard, err, tt.heard)
			}
			select {
			case <-trapped.sprung:
			case <-time.After(10 * time.Second):
				t.Fatal("not sprung")
			}
			want := []string{"kill"}
			if tt.stored {
				want = []string{"store", "kill"}
			}
			mu.Lock()
			if !slices.Equal(events, want) {
				t.Errorf("%v, want %v", events, want)
			}
			mu.Unlock()
			if lift() {
				t.Error("still waits after it was sprung")
			}
			if heard, err := do(loopback, tt.path); err != nil || heard != body {
				t.Errorf("afterwards: %q, %v", heard, err)
			}
		})
	}
}

package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/pipeline/access"
)

func TestAccessRefusesWhatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	for _, c := range []struct {
		a    Access
		want string
	}{
		{Access{TLSCert: cert}, "each needs the other"},
		{Access{TLSKey: key}, "each needs the other"},
		{Access{TLSClientCA: cert}, "--tls-client-ca: needs"},
		{Access{OpsTLS: true}, "--ops-tls: needs"},
		{Access{OpsTokens: true}, "--ops-tokens: needs"},
		{Access{MaxConnections: -1}, "--max-connections -1"},
		{Access{TokensFile: key}, "--tokens-file: tokens file"},
		{Access{TLSCert: key, TLSKey: key}, "--tls-cert"},
	} {
		_, err := c.a.Open("127.0.0.1:0", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, new(usageError)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// A node that others can reach and that asks for nothing says so when it starts.
func TestOpenNodesWarn(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	_, line, err := access.NewToken(access.Token{Name: "web", Scopes: []access.Scope{access.Search}})
	if err != nil {
		t.Fatal(err)
	}
	tokens := writeFile(t, dir, "tokens", []byte(line))
	for _, c := range []struct {
		listen string
		a      Access
		want   string // "" is no warning
	}{
		{"127.0.0.1:8080", Access{}, ""},
		{"localhost:8080", Access{}, ""},
		{"[::1]:8080", Access{}, ""},
		{":8080", Access{}, "may search"},
		{"0.0.0.0:8080", Access{}, "may search"},
		{"10.0.0.1:8080", Access{TLSCert: cert, TLSKey: key}, "may search"},
		{"node.example:8080", Access{}, "may search"},
		{":8080", Access{TokensFile: tokens}, "clear text"},
		{"127.0.0.1:8080", Access{TokensFile: tokens}, ""},
		{":8080", Access{TokensFile: tokens, TLSCert: cert, TLSKey: key}, ""},
		{":8080", Access{TLSCert: cert, TLSKey: key, TLSClientCA: cert}, ""},
	} {
		var out bytes.Buffer
		if _, err := c.a.Open(c.listen, slog.New(slog.NewTextHandler(&out, nil)), prometheus.NewRegistry()); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s %+v: %q, want %q", c.listen, c.a, got, c.want)
		}
	}
}

// node serves a gate with its files until the test ends.
func node(t *testing.T, a Access, api http.Handler) (apiAddress, opsAddress string) {
	t.Helper()
	g, err := a.Open("127.0.0.1:0", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l, err := Listen(ctx, "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ops, err := g.OpenOps(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ops.Use(OpsHandler(NewRegistry(), func() error { return nil }))
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	running.Go(func() {
		if err := g.ServeAPI(ctx, l, api, time.Second); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		ops.Close()
		running.Wait()
	})
	return l.Addr().String(), ops.Addr().String()
}

func status(t *testing.T, c *http.Client, url, token string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// Both ports with all that they can ask for; a token that is added to the file is good within the time between two looks.
func TestGateOfBothPorts(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	search, line, err := access.NewToken(access.Token{Name: "web", Scopes: []access.Scope{access.Search}})
	if err != nil {
		t.Fatal(err)
	}
	metrics, more, err := access.NewToken(access.Token{Name: "prom", Scopes: []access.Scope{access.Metrics}})
	if err != nil {
		t.Fatal(err)
	}
	tokens := writeFile(t, dir, "tokens", []byte(line))
	api, ops := node(t, Access{TokensFile: tokens, OpsTokens: true, TLSCert: cert, TLSKey: key, OpsTLS: true},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, c := range []struct {
		url, token string
		want       int
	}{
		{"https://" + api + "/v1/search", "", 401},
		{"https://" + api + "/v1/search", search, 200},
		{"https://" + api + "/v1/admin/promote", search, 403},
		{"http://" + api + "/v1/search", search, 400},
		{"https://" + ops + "/livez", "", 200},
		{"https://" + ops + "/readyz", "", 200},
		{"https://" + ops + "/metrics", "", 401},
		{"https://" + ops + "/metrics", search, 403},
		{"https://" + ops + "/debug/pprof/goroutine", "", 401},
	} {
		if got := status(t, client, c.url, c.token); got != c.want {
			t.Errorf("%s: %d, want %d", c.url, got, c.want)
		}
	}
	if err := os.WriteFile(tokens, []byte(line+"\n"+more), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); status(t, client, "https://"+ops+"/metrics", metrics) != 200; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new token is not known within a minute")
		}
	}
}

// Profiles are for this machine; and the command line, which may have a password in it, is not among them.
func TestProfilesAreLocal(t *testing.T) {
	var outside string
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			outside = ip.IP.String()
		}
	}
	for address, want := range map[string]int{"127.0.0.1:0": 200, "0.0.0.0:0": 404, outside + ":0": 404} {
		if address == ":0" {
			continue // this machine has loopback only
		}
		o, err := OpenOps(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		o.Use(OpsHandler(NewRegistry(), func() error { return nil }))
		for path, want := range map[string]int{"/debug/pprof/goroutine": want, "/debug/pprof/heap": want, "/debug/pprof/cmdline": 404, "/metrics": 200} {
			if got := status(t, http.DefaultClient, "http://"+o.Addr().String()+path, ""); got != want {
				t.Errorf("%s on %s: %d, want %d", path, address, got, want)
			}
		}
		o.Close()
	}
}

// A connection over the limit waits for another one to end; it is not refused.
func TestConnectionsAreBounded(t *testing.T) {
	api, _ := node(t, Access{MaxConnections: 2}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	idle := []net.Conn{dial(t, api), dial(t, api)}
	for _, c := range idle {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan error, 1)
	third := dial(t, api)
	go func() {
		fmt.Fprint(third, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err := http.ReadResponse(bufio.NewReader(third), nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a third one is answered (%v) beside two that are open", err)
	case <-time.After(100 * time.Millisecond): // it would have been by now, mostly: this test cannot fail by chance
	}
	idle[0].Close()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

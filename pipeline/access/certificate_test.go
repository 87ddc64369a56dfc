package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// authority makes certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t testing.TB, name string) *authority {
	a := &authority{t: t, last: time.Now().UnixNano()}
	a.key = a.newKey()
	template := &x509.Certificate{SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert = a.sign(template, template, a.key.Public(), a.key)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// issue makes a pair for 127.0.0.1 that is good until a time, in PEM.
func (a *authority) issue(name string, until time.Time) (cert, key string) {
	a.last++
	k := a.newKey()
	c := a.sign(&x509.Certificate{SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name}, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}},
		a.cert, k.Public(), a.key)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return pemOf(c), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// client trusts an authority, and shows a pair if there is one.
func client(t testing.TB, trust *authority, pair ...string) *http.Client {
	config := &tls.Config{RootCAs: x509.NewCertPool(), ClientSessionCache: tls.NewLRUClientSessionCache(10)}
	config.RootCAs.AddCert(trust.cert)
	if len(pair) == 2 {
		c, err := tls.X509KeyPair([]byte(pair[0]), []byte(pair[1]))
		if err != nil {
			t.Fatal(err)
		}
		// Whatever the server says it accepts: a client that would be refused shows its certificate all the same.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// tlsFiles are in a directory of their own.
type tlsFiles struct{ cert, key, ca string }

func newFiles(t testing.TB) tlsFiles {
	dir := t.TempDir()
	return tlsFiles{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
}

func (f tlsFiles) write(t testing.TB, cert, key string) {
	write(t, f.cert, cert)
	write(t, f.key, key)
}

func (f tlsFiles) issue(t testing.TB, by *authority, name string) {
	cert, key := by.issue(name, time.Now().Add(time.Hour))
	f.write(t, cert, key)
}

// serve answers with the subject of the client's certificate.
func serve(t testing.TB, config *tls.Config) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s by %s resumed %v", name, r.Proto, r.TLS.DidResume)
	}))
	server.Config.TLSConfig, server.Config.ErrorLog = config, discard()
	l := server.Listener
	go func() { _ = server.Config.ServeTLS(l, "", "") }() // it ends with Close
	t.Cleanup(func() { server.Config.Close() })
	return "https://" + l.Addr().String()
}

// discard is for what servers say of handshakes that are meant to fail.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }

func get(c *http.Client, url string) (body string, serial *big.Int, err error) {
	answer, err := c.Get(url)
	if err != nil {
		return "", nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	return string(raw), answer.TLS.PeerCertificates[0].SerialNumber, err
}

// A new certificate is shown to new connections; those that live go on, and files that do not fit change nothing.
func TestCertificateRotates(t *testing.T) {
	ca, f := newAuthority(t, "ca"), newFiles(t)
	f.issue(t, ca, "one")
	c, err := OpenCertificate(f.cert, f.key, "")
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, c.Config())
	old := client(t, ca)
	body, before, err := get(old, url)
	if err != nil || body != "nobody by HTTP/2.0 resumed false" {
		t.Fatalf("%q %v", body, err)
	}
	cert, key := ca.issue("two", time.Now().Add(time.Hour))
	write(t, f.cert, cert) // as one file after the other is replaced
	if changed, err := c.Look(); changed || err == nil || !strings.Contains(err.Error(), f.cert) {
		t.Errorf("a certificate of another key: changed %v, %v", changed, err)
	}
	if _, serial, err := get(client(t, ca), url); err != nil || serial.Cmp(before) != 0 {
		t.Errorf("after half of a change: %v %v", serial, err)
	}
	write(t, f.key, key)
	if changed, err := c.Look(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if _, serial, err := get(old, url); err != nil || serial.Cmp(before) != 0 {
		t.Errorf("a connection that lives: %v %v", serial, err)
	}
	if _, serial, err := get(client(t, ca), url); err != nil || serial.Cmp(before) == 0 {
		t.Errorf("a new connection meets %v, %v", serial, err)
	}
}

func TestClientCertificates(t *testing.T) {
	servers, clients, strangers, f := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "clients"), newFiles(t)
	f.issue(t, servers, "server")
	write(t, f.ca, pemOf(clients.cert))
	c, err := OpenCertificate(f.cert, f.key, f.ca)
	if err != nil {
		t.Fatal(err)
	}
	url, ops := serve(t, c.Config()), serve(t, c.Anyone())
	refused := func(what string, c *http.Client) {
		t.Helper()
		if body, _, err := get(c, url); err == nil {
			t.Errorf("%s: %s", what, body)
		}
		c.CloseIdleConnections()
	}
	goodCert, goodKey := clients.issue("ada", time.Now().Add(time.Hour))
	strangeCert, strangeKey := strangers.issue("ada", time.Now().Add(time.Hour))
	oldCert, oldKey := clients.issue("ada", time.Now().Add(-time.Minute))
	good, strange := client(t, servers, goodCert, goodKey), client(t, servers, strangeCert, strangeKey)
	if body, _, err := get(good, url); err != nil || body != "ada by HTTP/2.0 resumed false" {
		t.Errorf("%q %v", body, err)
	}
	good.CloseIdleConnections()
	if body, _, err := get(good, url); err != nil || body != "ada by HTTP/2.0 resumed true" {
		t.Errorf("again: %q %v", body, err)
	}
	good.CloseIdleConnections()
	refused("no certificate", client(t, servers))
	refused("one of another authority of that name", strange)
	refused("one that has expired", client(t, servers, oldCert, oldKey))
	if body, _, err := get(client(t, servers), ops); err != nil || !strings.HasPrefix(body, "nobody") {
		t.Errorf("where none is asked for: %q %v", body, err)
	}

	write(t, f.ca, "none")
	if changed, err := c.Look(); changed || err == nil {
		t.Errorf("authorities without any: changed %v, %v", changed, err)
	}
	if body, _, err := get(client(t, servers, goodCert, goodKey), url); err != nil {
		t.Errorf("%q %v", body, err)
	}
	write(t, f.ca, pemOf(strangers.cert))
	if changed, err := c.Look(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	refused("one of an authority that was taken away, which could resume its session", good)
	if body, _, err := get(client(t, servers, strangeCert, strangeKey), url); err != nil {
		t.Errorf("one of the new authority: %q %v", body, err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca, f := newAuthority(t, "ca"), newFiles(t)
	f.issue(t, ca, "one")
	c, err := OpenCertificate(f.cert, f.key, "")
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, c.Config())
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		old := client(t, ca)
		transport := old.Transport.(*http.Transport)
		transport.ForceAttemptHTTP2 = false // it would refuse them first
		config := transport.TLSClientConfig
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
		if _, _, err := get(old, url); (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

func TestCertificateIsChecked(t *testing.T) {
	ca, f := newAuthority(t, "ca"), newFiles(t)
	cert, key := ca.issue("one", time.Now().Add(time.Hour))
	_, other := ca.issue("two", time.Now().Add(time.Hour))
	for _, c := range []struct{ cert, key, ca, want string }{
		{cert, other, pemOf(ca.cert), "private key does not match"},
		{"none", key, pemOf(ca.cert), "failed to find"},
		{cert, key, key, "client authorities"},
	} {
		f.write(t, c.cert, c.key)
		write(t, f.ca, c.ca)
		_, err := OpenCertificate(f.cert, f.key, f.ca)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), f.key) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if err != nil && bytes.Contains([]byte(err.Error()), []byte("PRIVATE KEY")) {
			t.Errorf("the key is in the error: %v", err)
		}
	}
	if _, err := OpenCertificate(f.cert+"x", f.key, ""); err == nil || !strings.Contains(err.Error(), f.cert+"x") {
		t.Errorf("a missing file: %v", err)
	}
}

// Whoever renews a certificate forgets one: clients alone would notice when it expires, and no metric of the node.
func TestExpiryIsShown(t *testing.T) {
	a := newAuthority(t, "servers")
	soon, later := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(2*time.Hour).Truncate(time.Second)
	open := func(until time.Time) (*Certificate, tlsFiles) {
		f := newFiles(t)
		cert, key := a.issue("127.0.0.1", until)
		write(t, f.cert, cert)
		write(t, f.key, key)
		c, err := OpenCertificate(f.cert, f.key, "")
		if err != nil {
			t.Fatal(err)
		}
		return c, f
	}
	c, f := open(soon)
	other, _ := open(later)
	registry := prometheus.NewRegistry()
	r := NewReloader(slog.New(slog.DiscardHandler), registry, other, c)
	const expiry, lifetime = "adastream_query_access_certificate_expiry_timestamp_seconds", "adastream_query_access_certificate_lifetime_seconds"
	if got := gathered(t, registry)[expiry]; got != float64(soon.Unix()) {
		t.Errorf("it expires at %v, want the first of both, %v", got, soon.Unix())
	}
	if got := gathered(t, registry)[lifetime]; got < time.Hour.Seconds() {
		t.Errorf("it is good for %v s", got)
	}
	cert, key := a.issue("127.0.0.1", later.Add(time.Hour))
	write(t, f.cert, cert)
	write(t, f.key, key)
	r.Look()
	if got := gathered(t, registry)[expiry]; got != float64(later.Unix()) {
		t.Errorf("one is renewed: %v, want the other one's, %v", got, later.Unix())
	}
	plain := prometheus.NewRegistry()
	NewReloader(slog.New(slog.DiscardHandler), plain)
	if got := gathered(t, plain)[expiry]; !math.IsNaN(got) {
		t.Errorf("without TLS: %v", got)
	}
}

// gathered is the gauges of a registry.
func gathered(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if g := f.GetMetric()[0].GetGauge(); g != nil {
			values[f.GetName()] = g.GetValue()
		}
	}
	return values
}

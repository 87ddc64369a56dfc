package access

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever changes the authority of a server has both in the file for a while, and takes the old one out: neither wants a restart, and a
// file that cannot be used changes nothing.
func TestAuthoritiesAreReadAgain(t *testing.T) {
	before, after, f := newAuthority(t, "before"), newAuthority(t, "after"), newFiles(t)
	f.issue(t, before, "server")
	server, err := OpenCertificate(f.cert, f.key, "")
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, server.Config())
	write(t, f.ca, pemOf(before.cert))
	a, err := OpenAuthorities(f.ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: Trusting(&http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}, a.Current), Timeout: 10 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	is := func(when string, trusted bool) {
		t.Helper()
		if body, _, err := get(c, url); (err == nil) != trusted {
			t.Errorf("%s: %q, %v", when, body, err)
		}
	}
	is("its authority", true)
	for _, bad := range []string{"none", ""} {
		write(t, f.ca, bad)
		if changed, err := a.Look(); changed || err == nil || !strings.Contains(err.Error(), f.ca) {
			t.Errorf("a file of %q: changed %v, %v", bad, changed, err)
		}
		is("a file that holds none", true)
	}
	write(t, f.ca, pemOf(after.cert))
	if changed, err := a.Look(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	is("another authority, over a connection that lives", false)
	f.issue(t, after, "server")
	if changed, err := server.Look(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	is("the server has a certificate of it", true)
	write(t, f.ca, pemOf(before.cert)+pemOf(after.cert))
	if changed, err := a.Look(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	is("both", true)
}

// Pool looks by itself, once a second, and says once what is wrong.
func TestPoolLooks(t *testing.T) {
	one, two, f := newAuthority(t, "one"), newAuthority(t, "two"), newFiles(t)
	synctest.Test(t, func(t *testing.T) {
		pool := func(of *authority) *x509.CertPool {
			p := x509.NewCertPool()
			p.AddCert(of.cert)
			return p
		}
		write(t, f.ca, pemOf(one.cert))
		log := &bytes.Buffer{}
		a, err := OpenAuthorities(f.ca, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		write(t, f.ca, pemOf(two.cert))
		if !a.Pool().Equal(pool(one)) {
			t.Error("it has looked within the second")
		}
		time.Sleep(lookEvery)
		if !a.Pool().Equal(pool(two)) || strings.Count(log.String(), "level=INFO") != 1 {
			t.Errorf("it has not looked after a second: %s", log)
		}
		write(t, f.ca, "none")
		for range 3 {
			time.Sleep(lookEvery)
			if !a.Pool().Equal(pool(two)) {
				t.Error("a file that holds none counts")
			}
		}
		if strings.Count(log.String(), "level=ERROR") != 1 {
			t.Errorf("log: %s", log)
		}
	})
}

package source_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// scramOf is a SCRAM mechanism of the user of the secure broker.
func scramOf(t *testing.T, algorithm scram.Algorithm, password string) sasl.Mechanism {
	t.Helper()
	m, err := scram.Mechanism(algorithm, "ada", password)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// readRoots are the authorities of a PEM file.
func readRoots(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", file)
	}
	return roots
}

// Every way in that Kafka has: all that this package does works through it, the consumer group with a connection of its
// own too.
func TestSecureListeners(t *testing.T) {
	dir := sourcetest.Secure(t)
	roots := readRoots(t, filepath.Join(dir, "ca.pem"))
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, listener string
		sasl           sasl.Mechanism
		tls            *tls.Config
	}{
		{"plain", "sasl", plain.Mechanism{Username: "ada", Password: "s3cr3t-of-ada"}, nil},
		{"scram-256", "sasl", scramOf(t, scram.SHA256, "s3cr3t-of-ada"), nil},
		{"scram-512", "sasl", scramOf(t, scram.SHA512, "s3cr3t-of-ada"), nil},
		{"plain over tls", "sasltls", plain.Mechanism{Username: "ada", Password: "s3cr3t-of-ada"}, &tls.Config{RootCAs: roots}},
		{"scram-256 over tls", "sasltls", scramOf(t, scram.SHA256, "s3cr3t-of-ada"), &tls.Config{RootCAs: roots}},
		{"scram-512 over tls", "sasltls", scramOf(t, scram.SHA512, "s3cr3t-of-ada"), &tls.Config{RootCAs: roots}},
		{"tls", "tls", nil, &tls.Config{RootCAs: roots}},
		{"mtls", "mtls", nil, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := sourcetest.TopicOn(t, source.Options{Brokers: sourcetest.SecureBrokers(t, tc.listener), SASL: tc.sasl, TLS: tc.tls}, 1, nil)
			produce(t, c, "a", "b")
			if got := show(drain(t, c, 0, 2)); got != "0=a 1=b" {
				t.Errorf("got %s", got)
			}
			for name, call := range calls(c) {
				if err := call(testContext(t)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			l := newLedger(t)
			l.join("x", c.Options().Topic, c.Options())
			l.settle(1, 1)
			l.leave("x")
		})
	}
}

// A mistake in what secures a connection is told as such by every call, with what to look at, and never with the password.
func TestSecureListenersRefuse(t *testing.T) {
	dir := sourcetest.Secure(t)
	roots := readRoots(t, filepath.Join(dir, "ca.pem"))
	strange, others := certificate(t)
	for _, tc := range []struct {
		name, listener string
		sasl           sasl.Mechanism
		tls            *tls.Config
		want           string
	}{
		{"password of plain", "sasl", plain.Mechanism{Username: "ada", Password: "wr0ng"}, nil, "user or password is wrong"},
		{"password of scram-256", "sasl", scramOf(t, scram.SHA256, "wr0ng"), nil, "user or password is wrong"},
		{"password of scram-512", "sasl", scramOf(t, scram.SHA512, "wr0ng"), nil, "user or password is wrong"},
		{"password over tls", "sasltls", scramOf(t, scram.SHA512, "wr0ng"), &tls.Config{RootCAs: roots}, "user or password is wrong"},
		{"authority", "tls", nil, &tls.Config{RootCAs: others}, "certificate authority"},
		{"authority below sasl", "sasltls", scramOf(t, scram.SHA512, "s3cr3t-of-ada"), &tls.Config{RootCAs: others}, "certificate authority"},
		{"host name", "tls", nil, &tls.Config{RootCAs: roots, ServerName: "elsewhere"}, "not valid for any names"},
		{"no client certificate", "mtls", nil, &tls.Config{RootCAs: roots}, "client certificate"},
		{"client certificate of another authority", "mtls", nil, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{strange}}, "client certificate"},
		{"sasl to a listener without", "tls", plain.Mechanism{Username: "ada", Password: "wr0ng"}, &tls.Config{RootCAs: roots}, "has no SASL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := source.Options{Brokers: sourcetest.SecureBrokers(t, tc.listener), SASL: tc.sasl, TLS: tc.tls}
			for name, call := range calls(client(t, o)) {
				err := call(testContext(t))
				if !errors.Is(err, source.ErrDenied) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: got %v, want %q", name, err, tc.want)
				}
				if err != nil && strings.Contains(err.Error(), "wr0ng") {
					t.Errorf("%s: the password is in the error: %v", name, err)
				}
			}
		})
	}
}

// Where the broker only hangs up, as it does when it goes away, the error cannot be sure, but says what it may be.
func TestListenersThatHangUp(t *testing.T) {
	roots := readRoots(t, filepath.Join(sourcetest.Secure(t), "ca.pem"))
	for _, tc := range []struct {
		name, listener string
		tls            *tls.Config
	}{
		{"nothing where sasl is", "sasl", nil},
		{"nothing where tls is", "tls", nil},
		{"tls where it is not", "sasl", &tls.Config{RootCAs: roots}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			expectAll(t, source.Options{Brokers: sourcetest.SecureBrokers(t, tc.listener), TLS: tc.tls}, source.ErrTransient, "TLS or SASL are not those of its listener")
		})
	}
}

package cli

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The authority of brokers, store and peers is another one one day. Whoever writes it to the file of the flag wants no restart for it.
func TestAuthoritiesOfFlagsAreReadAgain(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	dir := t.TempDir()
	cert, key := writePair(t, dir, "server")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS, server.Config.ErrorLog = &tls.Config{Certificates: []tls.Certificate{pair}}, log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	quiet := slog.New(slog.DiscardHandler)
	trusts := func(pool *x509.CertPool) bool {
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{RootCAs: pool})
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	for name, open := range map[string]func(ca string) (trusted func() bool, err error){
		"kafka": func(ca string) (func() bool, error) {
			o, err := Kafka{Brokers: []string{"a:1"}, KafkaAccess: KafkaAccess{KafkaTLS: true, KafkaCA: ca}}.Options("t", quiet)
			return func() bool { return trusts(o.Authorities()) }, err
		},
		"store": func(ca string) (func() bool, error) {
			b, err := Store{Store: "s3://bucket?endpoint=" + server.URL, StoreCA: ca}.Bucket(t.Context(), quiet)
			return func() bool {
				_, err := b.Get(t.Context(), "a")
				return !strings.Contains(err.Error(), "unknown authority")
			}, err
		},
		"peers": func(ca string) (func() bool, error) {
			_, trusted, files, err := Query{PeersCA: ca}.PeersTLS()
			if err != nil {
				return nil, err
			}
			gate, err := Access{}.Open("127.0.0.1:0", quiet, prometheus.NewRegistry(), files...)
			if err != nil {
				return nil, err
			}
			go gate.Run(t.Context())
			return func() bool { return trusts(trusted()) }, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			ca, _ := writePair(t, t.TempDir(), "ca")
			trusted, err := open(ca)
			if err != nil {
				t.Fatal(err)
			}
			if trusted() {
				t.Fatal("a server of another authority is trusted")
			}
			good, err := os.ReadFile(cert)
			if err == nil {
				err = os.WriteFile(ca, good, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); !trusted(); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the new authority is not trusted within a minute")
				}
			}
		})
	}
}

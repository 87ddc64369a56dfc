package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/adastream/adastream/pipeline/source"
)

// writePair writes a certificate and its key.
func writePair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, dir, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		writeFile(t, dir, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func writeFile(t *testing.T, dir, name string, body []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKafkaRefusesWhatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	_, other := writePair(t, dir, "b")
	secret := writeFile(t, dir, "password", []byte("s3cret\n"))
	for _, tc := range []struct {
		k    Kafka
		want string
	}{
		{Kafka{KafkaAccess: KafkaAccess{KafkaCA: cert}}, "--kafka-ca: needs --kafka-tls"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaCert: cert, KafkaKey: key}}, "--kafka-cert: needs --kafka-tls"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaTLS: true, KafkaCert: cert}}, "each needs the other"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaTLS: true, KafkaKey: key}}, "each needs the other"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaTLS: true, KafkaCert: cert, KafkaKey: other}}, "private key does not match"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaTLS: true, KafkaCA: key}}, "holds no PEM certificate"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaUser: "ada"}}, "need --kafka-sasl"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaSASL: "plain", KafkaPassword: "s3cret"}}, "needs --kafka-user"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaSASL: "plain", KafkaUser: "ada", KafkaPassword: "s3cret", KafkaPasswordFile: secret}}, "set only one of them"},
		{Kafka{KafkaAccess: KafkaAccess{KafkaSASL: "scram-sha-512", KafkaUser: "ada", KafkaPassword: "s3cret\x00"}}, "characters that SCRAM does not allow"},
	} {
		tc.k.Brokers = []string{"a:1"}
		_, err := tc.k.Options("t", nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.As(err, new(usageError)) {
			t.Errorf("got %v, want %q", err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

func TestKafkaPasswordOfFile(t *testing.T) {
	secret := writeFile(t, t.TempDir(), "password", []byte(" s3cret \r\n"))
	o, err := Kafka{Brokers: []string{"a:1"}, KafkaAccess: KafkaAccess{KafkaSASL: "plain", KafkaUser: "ada", KafkaPasswordFile: secret}}.Options("t", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, first, err := o.SASL.Start(context.Background())
	if err != nil || string(first) != "\x00ada\x00 s3cret " {
		t.Errorf("PLAIN sends %q, %v", first, err)
	}
}

// A renewed certificate counts for the next connection.
func TestKafkaCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	o, err := Kafka{Brokers: []string{"a:1"}, KafkaAccess: KafkaAccess{KafkaTLS: true, KafkaCert: cert, KafkaKey: key}}.Options("t", nil)
	if err != nil {
		t.Fatal(err)
	}
	before, err := o.TLS.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, dir, "a")
	after, err := o.TLS.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(before.Certificate[0], after.Certificate[0]) {
		t.Error("the old certificate is still shown")
	}
}

// Of a pair that is being renewed one file may be there before the other: the partition that connects just then tries again.
func TestKafkaCertificateIsHalfRenewed(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	o, err := Kafka{Brokers: []string{"a:1"}, KafkaAccess: KafkaAccess{KafkaTLS: true, KafkaCert: cert, KafkaKey: key}}.Options("t", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, other := writePair(t, dir, "b")
	if err := os.Rename(other, key); err != nil {
		t.Fatal(err)
	}
	if _, err := o.TLS.GetClientCertificate(nil); !errors.Is(err, source.ErrTransient) || !strings.Contains(err.Error(), "private key does not match") {
		t.Errorf("got %v", err)
	}
}

// A password that was changed counts for the next connection; a file that is being written, or is away, passes.
func TestKafkaPasswordIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	secret := writeFile(t, dir, "password", []byte("old"))
	for _, mechanism := range []string{"plain", "scram-sha-256"} {
		writeFile(t, dir, "password", []byte("old"))
		o, err := Kafka{Brokers: []string{"a:1"}, KafkaAccess: KafkaAccess{KafkaSASL: mechanism, KafkaUser: "ada", KafkaPasswordFile: secret}}.Options("t", nil)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, "password", []byte("new"))
		if _, first, err := o.SASL.Start(t.Context()); err != nil || mechanism == "plain" && string(first) != "\x00ada\x00new" {
			t.Errorf("%s sends %q, %v", mechanism, first, err)
		}
		if err := os.Remove(secret); err != nil {
			t.Fatal(err)
		}
		if _, _, err := o.SASL.Start(t.Context()); !errors.Is(err, source.ErrTransient) {
			t.Errorf("%s without the file: %v", mechanism, err)
		}
	}
}

// The help says where the password can come from, and not what it is.
func TestSecretIsNotInHelpOrLog(t *testing.T) {
	t.Setenv("ADASTREAM_KAFKA_PASSWORD", "s3cret")
	var out, log bytes.Buffer
	var k Kafka
	parser, err := kong.New(&k, kong.Name("test"), kong.DefaultEnvars("ADASTREAM"), kong.Writers(&out, &out), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--brokers=a:1", "--kafka-sasl=plain", "--kafka-user=ada"}
	if _, err := parser.Parse(args); err != nil || k.KafkaPassword != "s3cret" {
		t.Fatalf("password %q, %v", k.KafkaPassword, err)
	}
	slog.New(slog.NewTextHandler(&log, nil)).Info("flags", "kafka", k)
	fmt.Fprintf(&log, "%v %+v", k, k)
	_, _ = parser.Parse(append(args, "--help")) // goes on after the help, as Exit does nothing
	if !strings.Contains(out.String(), "ADASTREAM_KAFKA_PASSWORD") || strings.Contains(out.String(), "s3cret") {
		t.Errorf("help: %s", out.String())
	}
	if strings.Contains(log.String(), "s3cret") {
		t.Errorf("log: %s", log.String())
	}
}

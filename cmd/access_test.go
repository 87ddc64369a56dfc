package cmd

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/bench/fleet"
)

// The commands themselves: a node in one process with tokens and TLS on both ports, and a tool that has a token for it. Nothing that
// any of them prints has the token.
func TestTokensAndTLSOfProcesses(t *testing.T) {
	bin := fleet.In(t.TempDir())
	if err := bin.Compile(t.Context(), nil, "adastream"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	lent := httptest.NewTLSServer(nil) // for its certificate
	defer lent.Close()
	key, err := x509.MarshalPKCS8PrivateKey(lent.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: lent.Certificate().Raw}, "tls.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path(name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	token, err := bin.Run(t.Context(), "adastream", "token", "new", "tool", "--scope=search", "--tokens-file", path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	token = strings.TrimSpace(token)
	if err := os.WriteFile(path("token"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var ports [3]string
	for i := range ports {
		if ports[i], err = fleet.Address(); err != nil {
			t.Fatal(err)
		}
	}
	_, kafkaPort, _ := strings.Cut(ports[2], ":")
	node, err := bin.Start("adastream", nil, "standalone", "--dir", path("data"), "--ladder=4,8", "--encoder=e", "--listen", ports[0], "--ops-listen", ports[1], "--kafka-port", kafkaPort,
		"--tokens-file", path("tokens"), "--ops-tokens", "--tls-cert", path("tls.crt"), "--tls-key", path("tls.key"), "--ops-tls", "--log-level=debug")
	if err != nil {
		t.Fatal(err)
	}
	defer node.Kill()
	search := func(args ...string) string {
		t.Helper()
		out, err := bin.Run(t.Context(), "adastream", append([]string{"search", "--like=a", "--url=https://" + ports[0], "--node-ca", path("tls.crt")}, args...)...)
		if err == nil {
			t.Errorf("an empty index has an answer: %s", out)
		}
		return out
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // until it listens
		out := search("--token-file", path("token"))
		if strings.Contains(out, "404 like: no live row has the id") {
			break
		}
		if over, err := node.Ended(); over || time.Now().After(deadline) {
			t.Fatalf("%s\nended %v (%v), log:\n%s", out, over, err, node.Log())
		}
	}
	if out := search(); !strings.Contains(out, "401") || !strings.Contains(out, "Bearer TOKEN") {
		t.Errorf("without a token: %s", out)
	}
	if out := search("--token=adst_wrong"); !strings.Contains(out, "401") || strings.Contains(out, "adst_wrong") {
		t.Errorf("with another token: %s", out)
	}
	if err := node.Stop(time.Minute); err != nil {
		t.Error(err)
	}
	if log := node.Log(); strings.Contains(log, token) || strings.Contains(log, "adst_wrong") {
		t.Errorf("a token is in the log:\n%s", log)
	}
}

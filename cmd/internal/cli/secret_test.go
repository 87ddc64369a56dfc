package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// However flags are printed, their secrets are not.
func TestSecretsAreHidden(t *testing.T) {
	flags := struct {
		Kafka Kafka
		Node  *Node
		List  []Secret
		Map   map[string]Secret
	}{Kafka{KafkaAccess: KafkaAccess{KafkaPassword: "s3cret"}}, &Node{Token: "s3cret"}, []Secret{"s3cret"}, map[string]Secret{"a": "s3cret"}}
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("flags", "all", flags, "kafka", flags.Kafka, "one", flags.Node.Token, "list", flags.List)
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		fmt.Fprintf(&out, verb+"\n", flags)
		fmt.Fprintf(&out, verb+"\n", *flags.Node)
	}
	for _, verb := range []string{"%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb+"\n", flags.Node.Token)
	}
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		body, err := marshal(flags)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(body)
	}
	fmt.Fprintln(&out, fmt.Errorf("flag: %v: %w", flags.List, Usage(fmt.Errorf("of %s", flags.Node.Token))))
	for _, secret := range []string{"s3cret", fmt.Sprintf("%x", "s3cret"), fmt.Sprintf("%X", "s3cret")} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s is in\n%s", secret, out.String())
		}
	}
	if strings.Count(out.String(), hidden) < 20 {
		t.Errorf("something is missing:\n%s", out.String())
	}
}

// A client shows its token to the node, and to nobody whom the node names.
func TestTokenStaysWithTheNode(t *testing.T) {
	var elsewhere, here string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere += r.Header.Get("Authorization") + "," }))
	defer other.Close()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		here = r.Header.Get("Authorization")
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer node.Close()
	c, err := Node{URL: node.URL, TokenFile: writeFile(t, t.TempDir(), "token", []byte("s3cret\n"))}.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Vector(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("%v", err)
	}
	if here != "Bearer s3cret" || elsewhere != "" {
		t.Errorf("the node saw %q, another one %q", here, elsewhere)
	}
	for _, n := range []Node{{Token: "a", TokenFile: writeFile(t, t.TempDir(), "token", []byte("b"))}, {TokenFile: writeFile(t, t.TempDir(), "token", []byte("\n"))}, {NodeCert: "x"}} {
		if _, err := n.Client(); err == nil {
			t.Errorf("%+v: no error", n)
		}
	}
}

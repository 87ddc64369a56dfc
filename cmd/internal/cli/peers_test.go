package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/pipeline/commit"
)

func TestPeersTLSRefusesWhatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	_, other := writePair(t, dir, "b")
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{PeersCert: cert}, "--peers-cert and --peers-key: each needs the other"},
		{Query{PeersKey: key}, "--peers-cert and --peers-key: each needs the other"},
		{Query{PeersCert: cert, PeersKey: other}, "--peers-cert, --peers-key: TLS files"},
		{Query{PeersCA: key}, "--peers-ca: " + key + ": holds no PEM certificate"},
	} {
		if _, _, _, err := c.q.PeersTLS(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.q, err, c.want)
		}
	}
}

func TestNodeThatOnlyMerges(t *testing.T) {
	one, three := make([]*commit.Log, 1), make([]*commit.Log, 3)
	for _, c := range []struct {
		q      Query
		all    []*commit.Log
		served int
		want   string
	}{
		{Query{}, one, 1, ""},
		{Query{}, three, 3, ""},
		{Query{Shards: Shards{[]int{0, 2}}}, three, 2, ""},
		{Query{MergeOnly: true}, three, 0, ""},
		{Query{MergeOnly: true}, one, 0, "--merge-only: the index has one shard"},
		{Query{MergeOnly: true, Shards: Shards{[]int{1}}}, three, 0, "--merge-only and --shard: set only one of them"},
	} {
		served, err := c.q.Served(c.all)
		if len(served) != c.served || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v of %d: %d, %v", c.q, len(c.all), len(served), err)
		}
	}
}

func answerOf(c *http.Client, url string) (string, error) {
	answer, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// A peer that demands a certificate gets the one of the files, and the next one when they are renewed.
func TestCertificateForPeers(t *testing.T) {
	dir := t.TempDir()
	server, serverKey := writePair(t, dir, "server")
	shown, shownKey := writePair(t, dir, "shown")
	renewed, renewedKey := writePair(t, dir, "renewed")
	authorities := ""
	for _, path := range []string{shown, renewed} {
		pem, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		authorities += string(pem)
	}
	peer, _ := node(t, Access{TLSCert: server, TLSKey: serverKey, TLSClientCA: writeFile(t, dir, "clients.pem", []byte(authorities))},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close") // so that the next request shakes hands anew
			fmt.Fprintf(w, "%x", r.TLS.PeerCertificates[0].Signature)
		}))
	ask := func(q Query) (string, error) {
		config, _, _, err := q.PeersTLS()
		if err != nil {
			t.Fatal(err)
		}
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		return answerOf(c, "https://"+peer)
	}
	if answer, err := ask(Query{PeersCA: server}); err == nil {
		t.Errorf("a client that shows nothing is answered: %s", answer)
	}
	q := Query{PeersCA: server, PeersCert: shown, PeersKey: shownKey}
	config, _, files, err := q.PeersTLS()
	if err != nil {
		t.Fatal(err)
	}
	gate, err := Access{}.Open("127.0.0.1:0", slog.New(slog.DiscardHandler), prometheus.NewRegistry(), files...)
	if err != nil {
		t.Fatal(err)
	}
	go gate.Run(t.Context())
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	before, err := answerOf(c, "https://"+peer)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{renewed: shown, renewedKey: shownKey} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		after, err := answerOf(c, "https://"+peer)
		if err != nil {
			t.Fatal(err)
		}
		if after != before {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the renewed certificate is not shown within a minute")
		}
	}
}

// Package nodes is the query side of a process: a node for each shard that it serves, their pages, and, where the index has several
// shards, what merges them and those of peers.
package nodes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/ui"
	"github.com/adastream/adastream/schemas"
)

// Options of Nodes.
type Options struct {
	Spec   *schemas.Spec // of the index
	Scopes []cli.Scope   // of the shards that are served here; none merges only
	Node   serve.Options // of each node, but for what is in its scope

	Peers    []string    // where shards are served too, each as N=URL
	PeersTLS *tls.Config // nil trusts what the system does

	PeersAuthorities func() *x509.CertPool // whom to trust, asked for each request; nil: those of PeersTLS

	Logger   *slog.Logger
	Registry *prometheus.Registry // of the process
}

// Nodes are those of a process.
type Nodes struct {
	o      Options
	nodes  []*serve.Node
	pages  []*ui.UI
	router *fanout.Router // nil where the index has one shard
}

// New returns the nodes. They load nothing until Run.
func New(o Options) (*Nodes, error) {
	n := &Nodes{o: o}
	own := map[int]http.Handler{}
	var shards []int
	for _, s := range o.Scopes {
		options := o.Node
		options.Log, options.Cache, options.Logger, options.Registry = s.Index, s.Cache, s.Logger, s.Registry
		node, err := serve.New(options)
		if err != nil {
			return nil, cli.Usage(err)
		}
		n.nodes = append(n.nodes, node)
		own[s.Index.Shard()] = node.API()
		if o.Spec.Shards > 1 {
			shards = append(shards, s.Index.Shard())
		}
	}
	for i, s := range o.Scopes {
		pages, err := ui.New(ui.Options{Node: n.nodes[i], Log: s.Index, Metrics: s.Registry, Logger: s.Logger, Shards: shards})
		if err != nil {
			return nil, err
		}
		n.pages = append(n.pages, pages)
	}
	peers, err := peersOf(o.Peers)
	if err != nil {
		return nil, cli.Usage(err)
	}
	if o.Spec.Shards == 1 {
		if len(peers) > 0 {
			return nil, cli.Usage(errors.New("--peers: the index has one shard and no peers"))
		}
		return n, nil
	}
	n.router, err = fanout.New(fanout.Options{Spec: o.Spec, Own: own, Peers: peers, TLS: o.PeersTLS, Authorities: o.PeersAuthorities, MaxBody: o.Node.MaxBody,
		Timeout: o.Node.Timeout, Logger: o.Logger, Registry: o.Registry, Tracer: o.Node.Tracer})
	if err != nil {
		return nil, cli.Usage(err)
	}
	return n, nil
}

func peersOf(flags []string) (map[int][]*url.URL, error) {
	peers := map[int][]*url.URL{}
	for _, flag := range flags {
		text, address, ok := strings.Cut(flag, "=")
		shard, err := strconv.Atoi(text)
		if !ok || err != nil {
			return nil, fmt.Errorf("--peers %s: allowed: a shard and the URL of a node that serves it, such as 0=http://host:8080", flag)
		}
		u, err := url.Parse(address)
		if err != nil {
			return nil, fmt.Errorf("--peers: %w", err)
		}
		peers[shard] = append(peers[shard], u)
	}
	return peers, nil
}

// API answers queries, and the pages.
func (n *Nodes) API() http.Handler {
	if n.router == nil {
		return n.pages[0].Handler(n.nodes[0].API())
	}
	mux := http.NewServeMux()
	none := http.NotFoundHandler()
	for i, s := range n.o.Scopes {
		base := fmt.Sprintf("/shards/%d", s.Index.Shard())
		mux.Handle(base+"/ui/", http.StripPrefix(base, n.pages[i].Handler(none)))
		mux.Handle(base+"/ui", http.StripPrefix(base, n.pages[i].Handler(none)))
	}
	mux.Handle("/", n.router.API())
	if len(n.pages) > 0 {
		mux.HandleFunc("GET /ui", n.toPages)
		mux.HandleFunc("GET /ui/", n.toPages)
	}
	return mux
}

// toPages sends people to the pages of the first shard here.
func (n *Nodes) toPages(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, fmt.Sprintf("/shards/%d/ui/", n.o.Scopes[0].Index.Shard()), http.StatusSeeOther)
}

// opsText is what the operator's port of a process with several nodes says of itself.
const opsText = `/livez    whether the process answers
/readyz   whether queries should come here, or which shards are not ready and why
/metrics  for Prometheus, with a label shard

The pages for people are /ui on the port of the query API.
`

// Ops is the handler of the operator's port.
func (n *Nodes) Ops() http.Handler {
	if n.router == nil {
		return n.nodes[0].Ops()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", n.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.o.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, opsText) // the client is gone if this fails
	})
	return mux
}

func (n *Nodes) ready(w http.ResponseWriter, _ *http.Request) {
	if err := n.Ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err := n.each((*serve.Node).Stale); err != nil {
		fmt.Fprintf(w, "ok, but stale: %v\n", err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Ready says why no query should come here, or nil, for all shards that are served here: those of peers are theirs to tell.
func (n *Nodes) Ready() error { return n.each((*serve.Node).Ready) }

func (n *Nodes) each(ask func(*serve.Node) error) error {
	var faults []error
	for i, node := range n.nodes {
		if err := ask(node); err != nil {
			faults = append(faults, fmt.Errorf("shard %d: %w", n.o.Scopes[i].Index.Shard(), err))
		}
	}
	return errors.Join(faults...)
}

// Run follows the channels until ctx ends, and returns nil then.
func (n *Nodes) Run(ctx context.Context) error {
	var runs []func(context.Context) error
	for i := range n.nodes {
		runs = append(runs, n.nodes[i].Run, n.pages[i].Run)
	}
	return cli.RunAll(ctx, runs)
}

// Close drops what the nodes hold, once Run has returned.
func (n *Nodes) Close() {
	for _, node := range n.nodes {
		node.Close()
	}
}

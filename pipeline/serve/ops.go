package serve

import (
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// opsText is what the operator's port says of itself.
const opsText = `/livez    whether the process answers
/readyz   whether queries should come here, or why not, and what is wrong all the same
/metrics  for Prometheus

The page for people is /ui on the port of the query API.
`

// Ops is the handler of the operator's port: GET /livez, /readyz and /metrics. It only reads.
func (n *Node) Ops() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := n.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if err := n.Stale(); err != nil {
			fmt.Fprintf(w, "ok, but stale: %v\n", err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.o.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, opsText) // the client is gone if this fails
	})
	return mux
}

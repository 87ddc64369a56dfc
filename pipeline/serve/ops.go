package serve

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/adastream/adastream/schemas"
)

// Ops is the handler of the operator's port: GET /livez, /readyz, /metrics and a page at /. It only reads.
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
	mux.HandleFunc("GET /{$}", n.page)
	return mux
}

//go:embed page.html
var pageFile embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"percent": func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) },
	"ago":     func(t time.Time) string { return time.Since(t).Round(100 * time.Millisecond).String() },
	"count":   thousands,
}).ParseFS(pageFile, "page.html"))

type pageData struct {
	Spec    *schemas.Spec
	Serving *servingInfo
	Problem string
	Swaps   []swapInfo

	Freshness time.Duration // of the last swap that brought newer records
	Searches  int64
	Mean      time.Duration // of a search
}

// page answers at a glance: is it healthy, how fresh, how good, how fast.
func (n *Node) page(w http.ResponseWriter, _ *http.Request) {
	searches, mean := n.metrics.searches()
	serving, spec := n.serving()
	data := pageData{Spec: spec, Serving: serving, Swaps: n.recent.list(), Freshness: n.recent.freshness(), Searches: int64(searches), Mean: mean}
	if err := cmp.Or(n.Ready(), n.Stale()); err != nil {
		data.Problem = err.Error()
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if err := pageTemplate.Execute(w, data); err != nil {
		n.o.Logger.Error("status page", "error", err)
	}
}

// thousands groups digits: 1234567 is "1 234 567".
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

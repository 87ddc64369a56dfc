package ui

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/serve"
)

// Options of a UI.
type Options struct {
	Node    *serve.Node
	Log     *commit.Log         // that the node follows
	Metrics prometheus.Gatherer // of the node, and of whatever else runs in the process
	Logger  *slog.Logger        // nil discards

	// Shards are the shards of this process that have pages, if the index has several: those of each are below /shards/N then.
	Shards []int
}

// base is what the paths of the pages begin with.
func (o Options) base() string {
	if len(o.Shards) == 0 {
		return ""
	}
	return fmt.Sprintf("/shards/%d", o.Log.Shard())
}

// ofShard makes a command one about the shard, if there are several. That of the doctor is about the index.
func (o Options) ofShard(command string) string {
	if len(o.Shards) == 0 || strings.HasPrefix(command, "adastream doctor ") {
		return command
	}
	return strings.Replace(command, ` --store="$STORE"`, fmt.Sprintf(` --store="$STORE" --shard=%d`, o.Log.Shard()), 1)
}

// UI is the pages of one node.
type UI struct {
	o       Options
	reader  *reader
	history *history
	refused *refusals
	drawn   drawn
	pages   map[string]*template.Template
	assets  map[string]asset
}

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// New returns the pages of a node.
func New(o Options) (*UI, error) {
	if o.Node == nil || o.Log == nil || o.Metrics == nil {
		return nil, errors.New("ui: node, log and metrics: one is missing")
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	u := &UI{o: o, reader: newReader(o.Log), history: newHistory(o.Node, o.Metrics), refused: newRefusals(), pages: map[string]*template.Template{}}
	for _, name := range []string{"overview", "snapshots", "generation", "diff", "search", "quarantine", "missing"} {
		t, err := template.New("layout.html").Funcs(functions).Funcs(template.FuncMap{"ofShard": o.ofShard}).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("ui: %w", err)
		}
		u.pages[name] = t
	}
	var err error
	u.assets, err = readAssets()
	return u, err
}

// Run takes samples of the node for the live charts, until ctx ends.
func (u *UI) Run(ctx context.Context) error { return u.history.run(ctx) }

// Handler answers /ui and below, shows who opens the bare address the way there, and leaves the rest to api.
func (u *UI) Handler(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api)
	overview := http.RedirectHandler(u.o.base()+"/ui/", http.StatusSeeOther)
	mux.Handle("GET /{$}", overview)
	mux.Handle("GET /ui", overview)
	mux.HandleFunc("GET /ui/{$}", u.overview)
	mux.HandleFunc("GET /ui/snapshots", u.snapshots)
	mux.HandleFunc("GET /ui/snapshots/{generation}", u.generation)
	mux.HandleFunc("GET /ui/diff", u.diff)
	mux.HandleFunc("GET /ui/search", u.search)
	mux.HandleFunc("GET /ui/quarantine", u.quarantine)
	mux.HandleFunc("GET /ui/series", u.series)
	mux.HandleFunc("GET /ui/assets/{name}", u.asset)
	mux.HandleFunc("/ui/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "pages are read-only", http.StatusMethodNotAllowed)
			return
		}
		u.missing(w, r, "There is no such page")
	})
	return mux
}

// frame is what every page has beside its own.
type frame struct {
	Title  string
	Base   string // that paths begin with
	Path   string // of the page, without that and what is asked
	Shard  int
	Shards []int // that have pages too, none of an index of one
	View   serve.View
	Now    time.Time
	Fault  string // why what the store says is old or missing
	Page   any
}

// At reports whether the page is path or below it, for the navigation.
func (f *frame) At(path string) bool {
	return f.Path == path || path != "/ui/" && strings.HasPrefix(f.Path, path+"/")
}

// show answers with a page.
func (u *UI) show(w http.ResponseWriter, r *http.Request, status int, name, title string, v serve.View, fault error, page any) {
	f := &frame{Title: title, Base: u.o.base(), Path: r.URL.Path, Shard: u.o.Log.Shard(), Shards: u.o.Shards, View: v, Now: time.Now(), Page: page}
	if fault != nil {
		f.Fault = fault.Error()
	}
	var body bytes.Buffer // so that a fault of a template is no half page
	if err := u.pages[name].Execute(&body, f); err != nil {
		u.o.Logger.Error("could not render a page", "path", r.URL.Path, "error", err)
		http.Error(w, "the page could not be rendered; see the log of the node", http.StatusInternalServerError)
		return
	}
	secure(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the client is gone if this fails
}

// secure says what a browser may do with an answer: load from here, run scripts that are files, be framed by nobody.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}

// missing answers that something is not there.
func (u *UI) missing(w http.ResponseWriter, r *http.Request, why string) {
	u.show(w, r, http.StatusNotFound, "missing", "Not found", u.o.Node.View(), nil, why)
}

// asset is a file that pages refer to.
type asset struct {
	body []byte
	etag string
}

func readAssets() (map[string]asset, error) {
	assets := map[string]asset{}
	err := fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := assetFiles.ReadFile(name)
		sum := sha256.Sum256(body)
		assets[path.Base(name)] = asset{body, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	return assets, err
}

func (u *UI) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := u.assets[r.PathValue("name")]
	if !ok {
		u.missing(w, r, "There is no such file")
		return
	}
	secure(w.Header())
	w.Header().Set("ETag", a.etag)
	w.Header().Set("Cache-Control", "no-cache") // but ask whether it is still the same
	http.ServeContent(w, r, r.PathValue("name"), time.Time{}, bytes.NewReader(a.body))
}

package docs

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"

	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/pipeline/build"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/events"
	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/load"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

var update = flag.Bool("update", false, "write metrics.md instead of comparing with it")

const metricsHead = `# Metrics

Each daemon exposes these metrics as Prometheus text at ` + "`/metrics`" + ` of its ops port, beside those of the Go runtime (` + "`go_...`" + `) and the process (` + "`process_...`" + `).
` + "`adastream_build_info`" + ` is 1, with version, revision and Go version as labels. ` + "`standalone`" + ` exposes those of all three roles. ` + "`adastream load`" + ` and
` + "`adastream snapshot events`" + ` expose theirs with ` + "`--ops-listen`" + `, the latter with the label ` + "`shard`" + `.

Counters start at 0 with the process: query them with ` + "`rate` and `increase`" + `, which handle that. Labels with a closed set of values exist from the start, so that
the first event is an increase too. Histograms have classic buckets, and native ones for a Prometheus that scrapes them; rules and dashboards
take either. NaN means that nothing is known yet; comparisons with it are false.

Used by: [alerts](../helm/adastream/rules) (A: their names), recording rules (R) and [dashboards](../helm/adastream/dashboards) (D). What
to do when an alert fires is in [runbooks](runbooks). This page is written by ` + "`go test ./docs -run Metrics -update`" + `, from the code.
`

// open says what labels are whose values are not a closed set, and so are not there from the start.
var open = map[string]string{
	"partition": "partition number",
	"shard":     "shard number",
	"level":     "width of a level of the ladder",
	"of":        "`coarse`, `codes`",
	"encoder":   "name and version",
	"epoch":     "name; empty for the root",
	"code":      "HTTP status",
	"token":     "name in the tokens file",
	"quantile":  "`0.5`, `0.9`, `0.99`, `1`",
}

// metric is one that a role shows.
type metric struct {
	name, kind, help string
	labels           []string
	values           map[string][]string // of labels, as they are from the start
}

var desc = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)", unit: "[^"]*", constLabels: \{\}, variableLabels: \{([^}]*)\}\}$`)

// roles are the registries of the three daemons and of two commands as they are before they do anything.
func roles(t *testing.T) map[string]*prometheus.Registry {
	t.Helper()
	spec := &schemas.Spec{Format: schemas.SpecFormat, Name: "docs", Metric: schemas.Cosine, Ladder: []int{32, 64}, Encoder: "e/1", Vectors: schemas.Float16,
		Topic: schemas.Topic{Name: "docs", Partitions: 1}, Shards: 1}
	*spec = spec.WithDefaults()
	bucket := store.NewMemory()
	if err := commit.Create(t.Context(), bucket, spec); err != nil {
		t.Fatal(err)
	}
	log, err := commit.Open(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := store.NewCache(t.TempDir(), bucket, store.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := source.New(source.Options{Brokers: []string{"127.0.0.1:1"}, Topic: "docs"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	found := map[string]*prometheus.Registry{"ingestor": prometheus.NewRegistry(), "builder": prometheus.NewRegistry(), "query": prometheus.NewRegistry()}
	if _, err := ingest.New(ingest.Options{Shards: []*commit.Log{log}, Source: client, Group: "docs", Registry: found["ingestor"]}); err != nil {
		t.Fatal(err)
	}
	if _, err := build.New(build.Options{Log: log, Cache: cache, Registry: found["builder"]}); err != nil {
		t.Fatal(err)
	}
	node, err := serve.New(serve.Options{Log: log, Cache: cache, Registry: found["query"]})
	if err != nil {
		t.Fatal(err)
	}
	node.API() // knows the routes
	router, err := fanout.New(fanout.Options{Spec: spec, Registry: found["query"]})
	if err != nil {
		t.Fatal(err)
	}
	router.API()
	file := filepath.Join(t.TempDir(), "tokens")
	_, line, err := access.NewToken(access.Token{Name: "docs", Scopes: []access.Scope{access.Search}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := access.OpenTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	access.New(access.Options{Tokens: tokens, Registry: found["query"]})
	access.NewReloader(slog.New(slog.DiscardHandler), found["query"])
	for _, role := range []string{"load", "events"} {
		found[role] = prometheus.NewRegistry()
	}
	load.NewMetrics(found["load"])
	events.NewMetrics(found["events"])
	return found
}

// metricsOf are those of a registry by name, those of which no child is there yet included.
func metricsOf(t *testing.T, r *prometheus.Registry) []metric {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	gathered := map[string]*dto.MetricFamily{}
	for _, f := range families {
		gathered[f.GetName()] = f
	}
	described := make(chan *prometheus.Desc, 1000)
	r.Describe(described)
	close(described)
	var all []metric
	for d := range described {
		parts := desc.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("cannot read %s", d)
		}
		m := metric{name: parts[1], help: strings.ReplaceAll(parts[2], `\"`, `"`), values: map[string][]string{}}
		if parts[3] != "" {
			m.labels = strings.Split(parts[3], ",")
		}
		switch f := gathered[m.name]; {
		case f != nil:
			m.kind = strings.ToLower(f.GetType().String())
			for _, child := range f.Metric {
				for _, l := range child.Label {
					if v := "`" + l.GetValue() + "`"; !slices.Contains(m.values[l.GetName()], v) {
						m.values[l.GetName()] = append(m.values[l.GetName()], v)
					}
				}
			}
		case strings.HasSuffix(m.name, "_total"):
			m.kind = "counter"
		default:
			m.kind = "gauge" // histograms and summaries are there from the start
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return all
}

// units by suffix, the first that fits.
var units = []struct{ suffix, unit string }{
	{"_timestamp_seconds", "Unix time"}, {"_seconds", "seconds"}, {"_bytes", "bytes"}, {"_ratio", "ratio"}, {"_rows", "rows"}, {"_offsets", "offsets"}, {"_offset", "offset"},
}

func (m metric) unit() string {
	name := strings.TrimSuffix(m.name, "_total")
	for _, u := range units {
		if strings.HasSuffix(name, u.suffix) {
			return u.unit
		}
	}
	return ""
}

func (m metric) labelText(t *testing.T) string {
	t.Helper()
	var texts []string
	for _, l := range m.labels {
		values := strings.Join(m.values[l], ", ")
		if text, ok := open[l]; ok {
			values = text
		} else if values == "" {
			t.Errorf("%s: no value of the label %s is there from the start, and it is not said to be open", m.name, l)
		}
		texts = append(texts, fmt.Sprintf("`%s`: %s", l, values))
	}
	return strings.Join(texts, "; ")
}

var ours = regexp.MustCompile(`\badastream_[a-z0-9_]+\b`)

// uses says by name of a metric what reads it.
func uses(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	add := func(text, use string) {
		for _, name := range ours.FindAllString(text, -1) {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			if !slices.Contains(found[name], use) {
				found[name] = append(found[name], use)
			}
		}
	}
	rules, err := filepath.Glob("../helm/adastream/rules/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range rules {
		var file struct {
			Groups []struct {
				Rules []struct{ Alert, Record, Expr string }
			}
		}
		if err := yaml.Unmarshal(read(t, path), &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, g := range file.Groups {
			for _, r := range g.Rules {
				if r.Alert != "" {
					add(r.Expr, "A: "+r.Alert)
				} else {
					add(r.Expr, "R: "+r.Record)
				}
			}
		}
	}
	boards, err := filepath.Glob("../helm/adastream/dashboards/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range boards {
		var any json.RawMessage
		if err := json.Unmarshal(read(t, path), &any); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		add(string(any), "D: "+strings.TrimSuffix(filepath.Base(path), ".json"))
	}
	return found
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestMetrics holds metrics.md to the code, and names and texts to their form.
func TestMetrics(t *testing.T) {
	var page bytes.Buffer
	page.WriteString(metricsHead)
	registries, used, known := roles(t), uses(t), map[string]bool{}
	for _, role := range []string{"ingestor", "builder", "query", "load", "events"} {
		fmt.Fprintf(&page, "\n## %s\n\n| metric | type | unit | labels | | used by |\n|---|---|---|---|---|---|\n", role)
		for _, m := range metricsOf(t, registries[role]) {
			known[m.name] = true
			if !strings.HasPrefix(m.name, "adastream_"+role+"_") {
				t.Errorf("%s: want adastream_%s_...", m.name, role)
			}
			if (m.kind == "counter") != strings.HasSuffix(m.name, "_total") {
				t.Errorf("%s is a %s", m.name, m.kind)
			}
			if !strings.HasSuffix(m.help, ".") {
				t.Errorf("%s: its text %q is no sentence", m.name, m.help)
			}
			fmt.Fprintf(&page, "| `%s` | %s | %s | %s | %s | %s |\n", m.name, m.kind, m.unit(), m.labelText(t), strings.ReplaceAll(m.help, "|", `\|`), strings.Join(used[m.name], ", "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if !known[name] {
			t.Errorf("%s: no daemon has it, and %v reads it", name, used[name])
		}
	}
	if *update {
		if err := os.WriteFile("metrics.md", page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := strings.Split(string(read(t, "metrics.md")), "\n")
	for i, line := range strings.Split(page.String(), "\n") {
		if i >= len(want) || line != want[i] {
			t.Fatalf("metrics.md:%d is not %q; after a change that is meant: go test ./docs -run Metrics -update", i+1, line)
		}
	}
	if n := len(strings.Split(page.String(), "\n")); n != len(want) {
		t.Errorf("metrics.md has %d lines, want %d", len(want), n)
	}
}

// TestPagesNameRealMetrics: what pages say of metrics is about those that are there. A name that ends in ... is a beginning.
func TestPagesNameRealMetrics(t *testing.T) {
	known := map[string]bool{"adastream_build_info": true} // of package cli
	for _, r := range roles(t) {
		for _, m := range metricsOf(t, r) {
			known[m.name] = true
		}
	}
	for _, pattern := range []string{"*.md", "*/*.md", "../*.md", "../helm/*/*.md", "../bench/*/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			for _, name := range ours.FindAllString(string(read(t, path)), -1) {
				base := name
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					base = strings.TrimSuffix(base, suffix)
				}
				if !known[base] && !strings.HasSuffix(name, "_") {
					t.Errorf("%s: no daemon has %s", path, name)
				}
			}
		}
	}
}

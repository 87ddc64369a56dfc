// Package rules evaluates the chart's rules with Prometheus's own engine, and parses all PromQL of rules and dashboards with its parser.
package rules

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

const (
	rulesDir   = "../../adastream/rules"
	boardsDir  = "../../adastream/dashboards"
	runbookDir = "../../../docs/runbooks"
)

const step = time.Minute // between scrapes, and between evaluations

// scenario is what is scraped, and what fires then.
type scenario struct {
	Name  string
	When  map[string]*string
	After string // 30m when it is absent
	Fires []string
	Says  string // in the summary of the first of them
}

type scenarios struct {
	Healthy map[string]*string
	Cases   []scenario
}

func readScenarios(t *testing.T) scenarios {
	t.Helper()
	data, err := os.ReadFile("testdata/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s scenarios
	if err := yaml.UnmarshalStrict(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func ruleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(rulesDir + "/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files of rules: %v", len(files), err)
	}
	slices.Sort(files)
	slices.Reverse(files) // recording.yaml goes first: alerts read what it records
	return files
}

// firing evaluates all rules minute by minute until a time, and returns the alerts that fire then, with their summaries.
func firing(t *testing.T, series map[string]*string, until time.Duration) map[string][]string {
	t.Helper()
	load := &strings.Builder{}
	hex := regexp.MustCompile(`(^| )0x`)
	fmt.Fprintf(load, "load %s\n", model.Duration(step))
	for _, name := range slices.Sorted(maps.Keys(series)) {
		if series[name] != nil {
			if hex.MatchString(*series[name]) {
				t.Fatalf("%s: %s is hexadecimal", name, *series[name])
			}
			fmt.Fprintf(load, "  %s %s\n", strings.Replace(name, "{", `{namespace="search",job="words",`, 1),
				strings.ReplaceAll(*series[name], "NaNx420", strings.Repeat("NaN ", 421))) // which the notation cannot repeat
		}
	}
	suite, err := promqltest.NewLazyLoader(load.String(), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		t.Fatal(err)
	}
	defer suite.Close()
	suite.SubqueryInterval = step
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(suite.QueryEngine(), suite.Storage()), AppendableV2: suite.Storage(), Context: t.Context(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {}, Logger: slog.New(slog.DiscardHandler), Parser: parser.NewParser(parser.Options{}),
	})
	var groups []*rules.Group
	for _, file := range ruleFiles(t) {
		loaded, faults := manager.LoadGroups(step, labels.EmptyLabels(), "", nil, false, file)
		if faults != nil {
			t.Fatal(faults)
		}
		for _, key := range slices.Sorted(maps.Keys(loaded)) {
			groups = append(groups, loaded[key])
		}
	}
	for at := time.Unix(0, 0).UTC(); !at.After(time.Unix(0, 0).Add(until)); at = at.Add(step) {
		suite.WithSamplesTill(at, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				g.Eval(suite.Context(), at)
				for _, r := range g.Rules() {
					if r.LastError() != nil {
						t.Fatalf("%s at %v: %v", r.Name(), at, r.LastError())
					}
				}
			}
		})
	}
	found := map[string][]string{}
	for _, g := range groups {
		for _, r := range g.AlertingRules() {
			for _, a := range r.ActiveAlerts() {
				if a.State == rules.StateFiring {
					name := strings.TrimSpace(r.Name() + " " + r.Labels().Get("role"))
					found[name] = append(found[name], a.Annotations.Get("summary"))
				}
			}
		}
	}
	return found
}

// TestHealthyIsSilent: no alert fires at any time on series of a healthy day, whose nodes sometimes shed and fail and whose numbers
// may not be known.
func TestHealthyIsSilent(t *testing.T) {
	if found := firing(t, readScenarios(t).Healthy, 7*time.Hour); len(found) > 0 {
		t.Errorf("%v fire", found)
	}
}

// TestAlerts: each alert fires in a case that is about it, and in no other.
func TestAlerts(t *testing.T) {
	s := readScenarios(t)
	tried := map[string]bool{}
	for _, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			series := maps.Clone(s.Healthy)
			for name, values := range c.When {
				if _, ok := series[name]; !ok {
					t.Errorf("%s is not among the healthy ones", name)
				}
				series[name] = values
			}
			after := 30 * time.Minute
			if c.After != "" {
				d, err := time.ParseDuration(c.After)
				if err != nil {
					t.Fatal(err)
				}
				after = d
			}
			found := firing(t, series, after)
			if got, want := slices.Sorted(maps.Keys(found)), slices.Sorted(slices.Values(c.Fires)); !slices.Equal(got, want) {
				t.Fatalf("%v fire, want %v", found, want)
			}
			for _, name := range c.Fires {
				if says := found[name]; (strings.HasPrefix(name, "AdastreamDown ") || name == "AdastreamLoadFailing") && len(says) != 1 {
					t.Errorf("%s fires %d times for one thing: %q", name, len(says), says)
				}
			}
			if c.Says != "" && !strings.Contains(found[c.Fires[0]][0], c.Says) {
				t.Errorf("%s says %q, want %q", c.Fires[0], found[c.Fires[0]], c.Says)
			}
		})
		for _, name := range c.Fires {
			tried[name] = true
		}
	}
	for _, r := range readRules(t) {
		if name := strings.TrimSpace(r.Alert + " " + r.Labels["role"]); r.Alert != "" && !tried[name] {
			t.Errorf("no case has %s fire", name)
		}
	}
}

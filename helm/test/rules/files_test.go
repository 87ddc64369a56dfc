package rules

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

type rule struct {
	Record      string
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func readRules(t *testing.T) (all []rule) {
	t.Helper()
	for _, path := range ruleFiles(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Groups []struct {
				Name     string
				Interval string
				Rules    []rule
			}
		}
		if err := yaml.UnmarshalStrict(data, &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, g := range file.Groups {
			all = append(all, g.Rules...)
		}
	}
	return all
}

// TestAlertsTellWhatToDo: how bad it is, what it is, with names and values, and where it says what to do.
func TestAlertsTellWhatToDo(t *testing.T) {
	linked := map[string]bool{}
	for _, r := range readRules(t) {
		if r.Alert == "" {
			continue
		}
		if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, s) {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if !strings.Contains(r.Annotations["summary"], "$labels.job") || r.Annotations["description"] == "" {
			t.Errorf("%s: %v does not say which index it is about", r.Alert, r.Annotations)
		}
		name := filepath.Base(r.Annotations["runbook_url"])
		page, err := os.ReadFile(filepath.Join(runbookDir, name))
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
			continue
		}
		if !strings.Contains(string(page), "`"+r.Alert+"`") {
			t.Errorf("%s does not name %s", name, r.Alert)
		}
		linked[name] = true
	}
	pages, err := filepath.Glob(runbookDir + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := filepath.Base(page); !linked[name] && name != "README.md" {
			t.Errorf("no alert leads to %s", name)
		}
	}
}

// records are the names of recording rules.
func records(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, r := range readRules(t) {
		if r.Record != "" {
			found[r.Record] = true
		}
	}
	return found
}

// parsed checks that an expression is PromQL, and that what it reads is recorded here or a metric: whether that is one of ours the
// product's own tests tell, which know the registries.
func parsed(t *testing.T, where, expr string, recorded map[string]bool) {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, expr)
		return
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok && !recorded[s.Name] && !slices.ContainsFunc([]string{"adastream_", "go_", "process_"}, func(p string) bool { return strings.HasPrefix(s.Name, p) }) && s.Name != "up" && s.Name != "ALERTS" {
			t.Errorf("%s: reads %q, which nobody records", where, s.Name)
		}
		return nil
	})
}

func TestRulesParse(t *testing.T) {
	recorded := records(t)
	for _, r := range readRules(t) {
		parsed(t, r.Record+r.Alert, r.Expr, recorded)
	}
}

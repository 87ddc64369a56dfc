package rules

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// board has what is checked of a dashboard.
type board struct {
	UID           string
	Title         string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct {
		List []struct{ Expr string }
	}
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct{ Expr, LegendFormat string }
}

func boards(t *testing.T) map[string]board {
	t.Helper()
	paths, err := filepath.Glob(boardsDir + "/*.json")
	if err != nil || len(paths) != 4 {
		t.Fatalf("%d dashboards: %v", len(paths), err)
	}
	found := map[string]board{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(data, &b); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		found[strings.TrimSuffix(filepath.Base(path), ".json")] = b
	}
	return found
}

var variable = regexp.MustCompile(`\$\{?([a-zA-Z_]+)\}?`)

// resolved is an expression as Grafana sends it, for some choice of the variables. One that the dashboard has not is a fault.
func (b board) resolved(t *testing.T, where, expr string) string {
	t.Helper()
	return variable.ReplaceAllStringFunc(expr, func(v string) string {
		name := variable.FindStringSubmatch(v)[1]
		if name == "__rate_interval" {
			return "1m"
		}
		for _, known := range b.Templating.List {
			if known.Name == name {
				return "x"
			}
		}
		t.Errorf("%s: %s has no variable %s", where, b.Title, name)
		return "x"
	})
}

// TestBoards: all PromQL is PromQL, all variables are there, panels have a place of their own.
func TestBoards(t *testing.T) {
	recorded, uids := records(t), map[string]string{}
	label := regexp.MustCompile(`^label_values\((.*), *[a-z]+\)$`)
	for name, b := range boards(t) {
		if other := uids[b.UID]; b.UID != "adastream-"+name || other != "" {
			t.Errorf("%s: uid %q", name, b.UID)
		}
		uids[b.UID] = name
		for _, v := range b.Templating.List {
			if v.Type != "query" {
				continue
			}
			m := label.FindStringSubmatch(v.Definition)
			if m == nil {
				t.Errorf("%s: variable %s: %q", name, v.Name, v.Definition)
				continue
			}
			parsed(t, name+": variable "+v.Name, b.resolved(t, v.Name, m[1]), recorded)
		}
		for _, a := range b.Annotations.List {
			parsed(t, name+": annotations", b.resolved(t, "annotations", a.Expr), recorded)
		}
		ids, taken := []int{}, map[[2]int]int{}
		for _, p := range b.Panels {
			where := name + ": " + p.Title
			if slices.Contains(ids, p.ID) || p.Title == "" {
				t.Errorf("%s: id %d", where, p.ID)
			}
			ids = append(ids, p.ID)
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
						t.Fatalf("%s: lies on panel %d, or beside the page", where, other)
					}
					taken[[2]int{x, y}] = p.ID
				}
			}
			if p.Type == "row" {
				continue
			}
			if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
				t.Errorf("%s: asks %q, %d times", where, p.Datasource.UID, len(p.Targets))
			}
			for _, target := range p.Targets {
				parsed(t, where, b.resolved(t, where, target.Expr), recorded)
				if !strings.HasPrefix(target.Expr, "vector(") && !strings.Contains(target.Expr, "$job") {
					t.Errorf("%s: %s is not about one index", where, target.Expr)
				}
			}
		}
	}
}

// TestBoardsAreGrafanas: Grafana's own types know every key of the dashboards, of their panels, options and queries.
func TestBoardsAreGrafanas(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for name := range boards(t) {
		data, err := os.ReadFile(filepath.Join(boardsDir, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		//lint:ignore SA1019 files of this form are what sidecars of all versions take
		var d dashboard.Dashboard
		if err := d.UnmarshalJSONStrict(data); err != nil && err.Error() != "" { // the library returns an empty list of faults too
			t.Errorf("%s: %v", name, err)
		}
	}
}

package test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestMonitoring: rules and dashboards arrive as they are in their files, with the labels by which others find them; and by default
// there are none.
func TestMonitoring(t *testing.T) {
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			files, err := render("words", values)
			if err != nil {
				t.Fatal(err)
			}
			groups, boards := []any{}, map[string]string{}
			for _, o := range decode(t, files) {
				switch o := o.(type) {
				case *custom:
					if o.Kind == "PrometheusRule" {
						groups = append(groups, o.Spec["groups"].([]any)...)
					}
				case *corev1.ConfigMap:
					if o.Labels["grafana_dashboard"] == "1" {
						maps.Copy(boards, o.Data)
					}
				}
			}
			switch name {
			case "full":
				edited(t, groups)
			case "prod", "hpa":
				sameRules(t, groups)
				sameBoards(t, boards)
			default:
				if len(groups)+len(boards) > 0 {
					t.Errorf("%d groups of rules and %d dashboards without being asked for", len(groups), len(boards))
				}
			}
		})
	}
}

func rulesOf(t *testing.T) []any {
	t.Helper()
	rules := []any{}
	for _, file := range []string{"recording", "alerts"} {
		var content map[string][]any
		if err := yaml.Unmarshal(readFile(t, chartDir+"/rules/"+file+".yaml"), &content); err != nil {
			t.Fatal(err)
		}
		rules = append(rules, content["groups"]...)
	}
	return rules
}

func sameRules(t *testing.T, groups []any) {
	t.Helper()
	if !reflect.DeepEqual(groups, rulesOf(t)) {
		t.Error("the rules are not those of the files")
	}
}

func sameBoards(t *testing.T, boards map[string]string) {
	t.Helper()
	paths, err := filepath.Glob(chartDir + "/dashboards/*.json")
	if err != nil || len(paths) != len(boards) {
		t.Fatalf("%d dashboards of %d: %v", len(boards), len(paths), err)
	}
	for _, path := range paths {
		key := "adastream-" + filepath.Base(path)
		if !sameJSON(t, []byte(boards[key]), readFile(t, path)) {
			t.Errorf("%s is not the file's, there are %v", key, slices.Sorted(maps.Keys(boards)))
		}
	}
}

// edited: the alert that the case full leaves out is not there, all others are, with its label and its address of runbooks.
func edited(t *testing.T, groups []any) {
	t.Helper()
	count := func(groups []any) (n int, text string) {
		for _, g := range groups {
			n += len(g.(map[string]any)["rules"].([]any))
		}
		data, err := json.Marshal(groups)
		if err != nil {
			t.Fatal(err)
		}
		return n, string(data)
	}
	all, before := count(rulesOf(t))
	left, after := count(groups)
	if left != all-1 || strings.Contains(after, `"AdastreamLagging"`) {
		t.Errorf("%d rules of %d", left, all)
	}
	alerts := strings.Count(before, `"alert":`) - 1
	for _, want := range []string{`"team":"search"`, `"runbook_url":"https://wiki.example.com/runbooks/`} {
		if n := strings.Count(after, want); n != alerts {
			t.Errorf("%d of %d alerts have %s", n, alerts, want)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Error(err)
		return false
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// TestOneJob: all daemons of a release are one job, by which rules and dashboards know an index.
func TestOneJob(t *testing.T) {
	rendered(t, func(t *testing.T, objects []object) {
		for _, o := range objects {
			if m, ok := o.(*custom); ok && (m.Kind == "ServiceMonitor" || m.Kind == "PodMonitor") && m.Spec["jobLabel"] != "app.kubernetes.io/instance" {
				t.Errorf("job by %q", m.Spec["jobLabel"])
			}
		}
	})
}

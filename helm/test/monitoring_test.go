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
	for name, values := range examples(t) {
		t.Run(name, func(t *testing.T) {
			files, err := render("words", values)
			if err != nil {
				t.Fatal(err)
			}
			groups, boards := []any{}, map[string]string{}
			for _, o := range decode(t, files) {
				switch o := o.(type) {
				case *prometheusRule:
					groups = append(groups, o.Spec["groups"].([]any)...)
					if o.Labels["release"] != "prometheus" || o.Namespace != "search" {
						t.Errorf("%s of %s has labels %v", o.Name, o.Namespace, o.Labels)
					}
				case *corev1.ConfigMap:
					maps.Copy(boards, o.Data)
					if o.Labels["grafana_dashboard"] != "1" || o.Annotations["grafana_folder"] != "Adastream" {
						t.Errorf("%s has labels %v and annotations %v", o.Name, o.Labels, o.Annotations)
					}
				}
			}
			if name != "production" {
				if len(groups)+len(boards) > 0 {
					t.Errorf("%d groups of rules and %d dashboards without being asked for", len(groups), len(boards))
				}
				return
			}
			want := []any{}
			for _, file := range []string{"recording", "alerts"} {
				var content map[string][]any
				if err := yaml.Unmarshal(readFile(t, chartDir+"/rules/"+file+".yaml"), &content); err != nil {
					t.Fatal(err)
				}
				want = append(want, content["groups"]...)
			}
			if !reflect.DeepEqual(groups, want) {
				t.Error("the rules are not those of the files")
			}
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
		})
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
			if m, ok := o.(*serviceMonitor); ok && (m.Spec.JobLabel != "app.kubernetes.io/instance" || !strings.HasPrefix(m.Spec.TargetLabels[0], "app.kubernetes.io/")) {
				t.Errorf("job by %q, labels %v", m.Spec.JobLabel, m.Spec.TargetLabels)
			}
		}
	})
}

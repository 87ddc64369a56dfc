package test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func TestGolden(t *testing.T) {
	for name, values := range examples(t) {
		t.Run(name, func(t *testing.T) {
			files, err := render("words", values)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, file := range slices.Sorted(maps.Keys(files)) {
				if text := strings.TrimSpace(files[file]); text != "" {
					fmt.Fprintf(&got, "# %s\n%s\n\n", filepath.Base(file), withoutFiles(text))
				}
			}
			golden := "testdata/golden/" + name + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if line, g, w := firstDifference(got.String(), string(want)); line > 0 {
				t.Errorf("%s:%d: rendered %q, want %q; after a change that is meant: go test -update", golden, line, g, w)
			}
		})
	}
}

// included is what the chart takes in as files, which need no second copy here: TestMonitoring compares them.
var included = regexp.MustCompile(`(?m)^(spec:|data:)\n+(?:  #.*\n)*(  groups:|  adastream-[a-z]+\.json: \|)\n(\n| .*\n?)*`)

func withoutFiles(text string) string {
	return included.ReplaceAllString(text, "$1\n$2 ...\n")
}

// firstDifference gives the number of the first line in which texts differ, counted from 1, or 0.
func firstDifference(got, want string) (line int, g, w string) {
	gs, ws := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(gs), len(ws)) {
		g, w = "(end)", "(end)"
		if i < len(gs) {
			g = gs[i]
		}
		if i < len(ws) {
			w = ws[i]
		}
		if g != w {
			return i + 1, g, w
		}
	}
	return 0, "", ""
}

// TestBadValues: each file of testdata/bad is added to the minimal example, and must be refused with the words of its first
// line.
func TestBadValues(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(data), "\n")
			want, ok := strings.CutPrefix(first, "# want: ")
			if !ok {
				t.Fatalf("first line %q: must begin with # want:", first)
			}
			values := examples(t)["minimal"]
			merge(values, readValues(t, path))
			_, err = render("words", values)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q\nwant %q", err, want)
			}
		})
	}
}

// merge lays over on top of values, as Helm does with a second file of values.
func merge(values, over map[string]any) {
	for k, v := range over {
		below, ok := values[k].(map[string]any)
		if above, isMap := v.(map[string]any); ok && isMap {
			merge(below, above)
		} else {
			values[k] = v
		}
	}
}

// TestDefaultsAskForTheImage: the chart's own values name no image, and the refusal says what to do.
func TestDefaultsAskForTheImage(t *testing.T) {
	_, err := render("words", map[string]any{})
	if err == nil || !strings.Contains(err.Error(), "name an image whose PATH holds ingestor, builder and query") {
		t.Errorf("error %v", err)
	}
}

// TestGlobal: as a part of another chart this one is handed values that it does not know.
func TestGlobal(t *testing.T) {
	values := examples(t)["minimal"]
	values["global"] = map[string]any{"region": "eu-1"}
	if _, err := render("words", values); err != nil {
		t.Error(err)
	}
}

// TestSchemaIsStrict: a typo at any depth is an error, but for what is Kubernetes' or Helm's to define.
func TestSchemaIsStrict(t *testing.T) {
	data, err := os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	var open []string
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch node := node.(type) {
		case map[string]any:
			if node["type"] == "object" && node["additionalProperties"] == nil {
				open = append(open, path)
			}
			for _, k := range slices.Sorted(maps.Keys(node)) {
				walk(path+"/"+k, node[k])
			}
		case []any:
			for i, v := range node {
				walk(fmt.Sprintf("%s/%d", path, i), v)
			}
		}
	}
	walk("", schema)
	want := []string{
		"/definitions/affinity/properties/nodeAffinity",
		"/definitions/affinity/properties/podAffinity",
		"/definitions/affinity/properties/podAntiAffinity",
		"/definitions/topologySpreadConstraint/properties/labelSelector",
		"/properties/global",
	}
	if !slices.Equal(open, want) {
		t.Errorf("objects that take any property:\n%v\nwant\n%v", open, want)
	}
}

func TestObjectsAreDistinct(t *testing.T) {
	rendered(t, func(t *testing.T, objects []object) {
		seen := map[string]bool{}
		for _, o := range objects {
			key := o.GetObjectKind().GroupVersionKind().String() + " " + o.GetName()
			if seen[key] {
				t.Errorf("%s comes twice", key)
			}
			seen[key] = true
			if o.GetNamespace() != "search" {
				t.Errorf("%s: namespace %q", key, o.GetNamespace())
			}
		}
	})
}

// TestPodsAreRestricted asks the code of the admission controller.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	rendered(t, func(t *testing.T, objects []object) {
		for _, w := range workloads(t, objects) {
			result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &w.pod.ObjectMeta, &w.pod.Spec))
			if !result.Allowed {
				t.Errorf("%s: %s", w.name, result.ForbiddenDetail())
			}
			root := w.container().SecurityContext.ReadOnlyRootFilesystem
			if root == nil || !*root {
				t.Errorf("%s: root file system can be written", w.name)
			}
		}
	})
}

// TestSelectors: every selector finds the pods of one workload, and every port that is named exists there.
func TestSelectors(t *testing.T) {
	rendered(t, func(t *testing.T, objects []object) {
		all := workloads(t, objects)
		services := map[string]*corev1.Service{}
		for _, o := range objects {
			switch o := o.(type) {
			case *corev1.Service:
				services[o.Name] = o
				w := selected(t, all, o.Name, labels.SelectorFromSet(o.Spec.Selector))
				for _, p := range o.Spec.Ports {
					if !hasPort(w.container(), p.TargetPort.StrVal) {
						t.Errorf("service %s: %s has no port %q", o.Name, w.name, p.TargetPort.StrVal)
					}
				}
			case *policyv1.PodDisruptionBudget:
				selected(t, all, o.Name, selectorOf(t, o.Spec.Selector))
			}
		}
		for _, w := range all {
			if own := selected(t, all, w.name, selectorOf(t, w.selector)); own.name != w.name {
				t.Errorf("%s selects the pods of %s", w.name, own.name)
			}
			if w.serviceName == "" {
				continue
			}
			if s := services[w.serviceName]; s == nil || s.Spec.ClusterIP != corev1.ClusterIPNone {
				t.Errorf("%s: governing service %q is missing or not headless", w.name, w.serviceName)
			}
		}
		monitored(t, objects, services)
	})
}

// monitored checks that a ServiceMonitor, if there is one, finds the port of each workload once.
func monitored(t *testing.T, objects []object, services map[string]*corev1.Service) {
	t.Helper()
	for _, o := range objects {
		m, ok := o.(*serviceMonitor)
		if !ok {
			continue
		}
		targets := map[string]int{}
		for _, s := range services {
			named := slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == m.Spec.Endpoints[0].Port })
			if named && selectorOf(t, &m.Spec.Selector).Matches(labels.Set(s.Labels)) {
				targets[s.Spec.Selector["app.kubernetes.io/component"]]++
			}
		}
		if want := map[string]int{"ingestor": 1, "builder": 1, "query": 1}; !maps.Equal(targets, want) {
			t.Errorf("service monitor finds %v, want %v", targets, want)
		}
	}
}

func selectorOf(t *testing.T, s *metav1.LabelSelector) labels.Selector {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector
}

func selected(t *testing.T, all map[string]workload, who string, s labels.Selector) workload {
	t.Helper()
	var found []workload
	for _, w := range all {
		if s.Matches(labels.Set(w.pod.Labels)) {
			found = append(found, w)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s selects the pods of %d workloads, want 1", who, len(found))
	}
	return found[0]
}

func hasPort(c corev1.Container, name string) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
}

// TestPods checks what the types do not say.
func TestPods(t *testing.T) {
	rendered(t, func(t *testing.T, objects []object) {
		for component, w := range workloads(t, objects) {
			c, spec := w.container(), w.pod.Spec
			volumes := map[string]bool{}
			for _, v := range spec.Volumes {
				volumes[v.Name] = true
			}
			for _, v := range w.claims {
				volumes[v.Name] = true
			}
			for _, m := range c.VolumeMounts {
				if !volumes[m.Name] {
					t.Errorf("%s: mount of %q, which is no volume", component, m.Name)
				}
			}
			variables := map[string]bool{} // Helm 4 applies on the server's side, which refuses a second of the same name
			for _, e := range c.Env {
				if variables[e.Name] {
					t.Errorf("%s: variable %s comes twice", component, e.Name)
				}
				variables[e.Name] = true
			}
			if !variables["GOMEMLIMIT"] {
				t.Errorf("%s: no GOMEMLIMIT", component)
			}
			for probe, path := range map[*corev1.Probe]string{c.StartupProbe: "/livez", c.LivenessProbe: "/livez", c.ReadinessProbe: "/readyz"} {
				if probe.HTTPGet.Path != path || !hasPort(c, probe.HTTPGet.Port.StrVal) {
					t.Errorf("%s: probe %v, want %s", component, probe.HTTPGet, path)
				}
			}
		}
	})
}

// TestQueryDrains: the time that Kubernetes gives covers the sleep before the drain and the drain.
func TestQueryDrains(t *testing.T) {
	rendered(t, func(t *testing.T, objects []object) {
		w := workloads(t, objects)["query"]
		sleep, drain := w.container().Lifecycle.PreStop.Sleep.Seconds, int64(0)
		for _, arg := range w.container().Args {
			if value, ok := strings.CutPrefix(arg, "--drain="); ok {
				if _, err := fmt.Sscanf(value, "%ds", &drain); err != nil {
					t.Fatalf("%s: %v", arg, err)
				}
			}
		}
		if grace := *w.pod.Spec.TerminationGracePeriodSeconds; drain == 0 || grace <= sleep+drain {
			t.Errorf("grace of %d s, sleep %d s, drain %d s", grace, sleep, drain)
		}
	})
}

// TestLongNames: the longest release name that Helm takes still gives valid names, with room for the hash of a StatefulSet.
func TestLongNames(t *testing.T) {
	values := examples(t)["production"]
	files, err := render(strings.Repeat("long-", 10)+"er1", values)
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, files)
	for _, o := range objects {
		if faults := validation.IsDNS1035Label(o.GetName()); len(faults) > 0 {
			t.Errorf("%s: %v", o.GetName(), faults)
		}
	}
	for _, w := range workloads(t, objects) {
		if len(w.name) > 52 {
			t.Errorf("%s: %d characters, which leave no room for a hash in a label of 63", w.name, len(w.name))
		}
	}
}

package test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func TestGolden(t *testing.T) {
	for name, values := range cases(t) {
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

// TestBadValues: each file of testdata/bad is added to the minimal case, and must be refused with the words of its first
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
			values := cases(t)["minimal"]
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
	if err == nil || !strings.Contains(err.Error(), "name an image whose PATH holds adastream, ingestor, builder and query") {
		t.Errorf("error %v", err)
	}
}

// TestGlobal: as a part of another chart this one is handed values that it does not know.
func TestGlobal(t *testing.T) {
	values := cases(t)["minimal"]
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
			if strings.Contains(fmt.Sprint(node["type"]), "object") && (node["additionalProperties"] == nil || node["additionalProperties"] == true) {
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
	want := []string{"/definitions/named", "/definitions/object", "/definitions/volumeMount", "/properties/extraObjects/items", "/properties/global"}
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
			// Those of the user are judged with ours: in the cases they are as they should be.
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
			case *networkingv1.NetworkPolicy:
				selector := selectorOf(t, &o.Spec.PodSelector)
				if pod := test(objects); pod != nil && selector.Matches(labels.Set(pod.Labels)) {
					continue
				}
				w := selected(t, all, o.Name, selector)
				for _, rule := range o.Spec.Ingress {
					for _, p := range rule.Ports {
						if !hasPort(w.container(), p.Port.StrVal) {
							t.Errorf("policy %s: %s has no port %q", o.Name, w.name, p.Port)
						}
					}
				}
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
		monitored(t, objects, all, services)
	})
}

// monitored checks that a monitor, if there is one, finds the port of each workload once.
func monitored(t *testing.T, objects []object, all map[string]workload, services map[string]*corev1.Service) {
	t.Helper()
	for _, o := range objects {
		m, ok := o.(*custom)
		if !ok || m.Kind != "ServiceMonitor" && m.Kind != "PodMonitor" {
			continue
		}
		var spec struct {
			Selector  metav1.LabelSelector    `json:"selector"`
			Endpoints []struct{ Port string } `json:"endpoints"`
			Pods      []struct{ Port string } `json:"podMetricsEndpoints"`
		}
		data, err := json.Marshal(m.Spec)
		if err == nil {
			err = json.Unmarshal(data, &spec)
		}
		if err != nil {
			t.Fatal(err)
		}
		endpoints := append(spec.Endpoints, spec.Pods...)
		targets := map[string]int{}
		if m.Kind == "PodMonitor" {
			for component, w := range all {
				if selectorOf(t, &spec.Selector).Matches(labels.Set(w.pod.Labels)) && hasPort(w.container(), endpoints[0].Port) {
					targets[component]++
				}
			}
		} else {
			for _, s := range services {
				if hasServicePort(s, endpoints[0].Port) && selectorOf(t, &spec.Selector).Matches(labels.Set(s.Labels)) {
					targets[s.Spec.Selector["app.kubernetes.io/component"]]++
				}
			}
		}
		for component := range all {
			if targets[component] != 1 {
				t.Errorf("%s finds %s %d times", m.Kind, component, targets[component])
			}
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
			c := w.container()
			mounted(t, component, w.pod.Spec, w.claims)
			for _, i := range w.pod.Spec.InitContainers {
				if i.Name == "init" && !reflect.DeepEqual([]any{i.Env, i.EnvFrom, i.VolumeMounts}, []any{c.Env, c.EnvFrom, c.VolumeMounts}) {
					t.Errorf("%s: init does not reach what it reaches: %v %v", component, i.EnvFrom, c.EnvFrom)
				}
			}
			for probe, path := range map[*corev1.Probe]string{c.StartupProbe: "/livez", c.LivenessProbe: "/livez", c.ReadinessProbe: "/readyz"} {
				if probe.HTTPGet.Path != path || !hasPort(c, probe.HTTPGet.Port.StrVal) {
					t.Errorf("%s: probe %v, want %s", component, probe.HTTPGet, path)
				}
			}
			if w.pod.Annotations["checksum/config"] == "" {
				t.Errorf("%s: a change of its configuration would not restart it", component)
			}
			for _, constraint := range w.pod.Spec.TopologySpreadConstraints {
				if !selectorOf(t, constraint.LabelSelector).Matches(labels.Set(w.pod.Labels)) {
					t.Errorf("%s: spread of other pods: %v", component, constraint.LabelSelector)
				}
			}
		}
		if pod := test(objects); pod != nil {
			mounted(t, "test", pod.Spec, nil)
			all := workloads(t, objects)
			owner, ok := all["ingestor"]
			if !ok {
				owner = all["standalone"]
			}
			if pod.Spec.ServiceAccountName != owner.pod.Spec.ServiceAccountName {
				t.Errorf("the test's service account is %q, that of who does the same is %q", pod.Spec.ServiceAccountName, owner.pod.Spec.ServiceAccountName)
			}
		}
	})
}

// mounted: what a container mounts is a volume, and no variable comes twice, which Helm 4 fails on, as it applies on the server's side.
func mounted(t *testing.T, component string, spec corev1.PodSpec, claims []corev1.PersistentVolumeClaim) {
	t.Helper()
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
	}
	for _, v := range claims {
		volumes[v.Name] = true
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: mount of %q, which is no volume", component, m.Name)
			}
		}
		variables := map[string]bool{}
		for _, e := range c.Env {
			if variables[e.Name] {
				t.Errorf("%s: variable %s comes twice", component, e.Name)
			}
			variables[e.Name] = true
		}
	}
}

// TestScaling: what is scaled is there, and says no number of replicas itself, to which every upgrade would return.
func TestScaling(t *testing.T) {
	rendered(t, func(t *testing.T, objects []object) {
		replicas := map[string]*int32{}
		for _, o := range objects {
			switch o := o.(type) {
			case *appsv1.Deployment:
				replicas["Deployment "+o.Name] = o.Spec.Replicas
			case *appsv1.StatefulSet:
				replicas["StatefulSet "+o.Name] = o.Spec.Replicas
			}
		}
		for _, o := range objects {
			target := ""
			switch o := o.(type) {
			case *autoscalingv2.HorizontalPodAutoscaler:
				target = o.Spec.ScaleTargetRef.Kind + " " + o.Spec.ScaleTargetRef.Name
			case *custom:
				if o.Kind == "ScaledObject" {
					target = "Deployment " + o.Spec["scaleTargetRef"].(map[string]any)["name"].(string)
				}
			}
			if target == "" {
				continue
			}
			if own, ok := replicas[target]; !ok || own != nil {
				t.Errorf("%s scales %s, which is there: %v, with replicas of its own: %v", o.GetName(), target, ok, own != nil)
			}
		}
	})
}

// TestLargeThresholds: numbers of values are floats to Helm, which writes a million as 1e+06 into a text; KEDA reads an integer.
func TestLargeThresholds(t *testing.T) {
	values := cases(t)["full"]
	merge(values, map[string]any{"ingestor": map[string]any{"autoscaling": map[string]any{"keda": map[string]any{
		"kafka": map[string]any{"enabled": true, "lagThreshold": 2000000.0}, "prometheus": map[string]any{"enabled": true, "serverAddress": "http://p", "seconds": 1000000.0},
	}}}})
	files, err := render("words", values)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		all.WriteString(f)
	}
	for _, want := range []string{`lagThreshold: "2000000"`, `threshold: "1000000"`} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%s is not in what is rendered", want)
		}
	}
}

// TestQueryDrains: the time that Kubernetes gives covers the sleep before the drain and the drain.
func TestQueryDrains(t *testing.T) {
	rendered(t, func(t *testing.T, objects []object) {
		for component, w := range workloads(t, objects) {
			if component != "query" && !strings.HasPrefix(component, "query-") {
				continue
			}
			drain, err := time.ParseDuration(configs(t, objects)[component]["drain"].(string))
			if err != nil {
				t.Fatal(err)
			}
			sleep := time.Duration(w.container().Lifecycle.PreStop.Sleep.Seconds) * time.Second
			if grace := time.Duration(*w.pod.Spec.TerminationGracePeriodSeconds) * time.Second; drain == 0 || grace <= sleep+drain {
				t.Errorf("%s: grace of %v, sleep %v, drain %v", component, grace, sleep, drain)
			}
		}
	})
}

// TestLongNames: the longest release name that Helm takes still gives valid names, with room for the hash of a StatefulSet.
func TestLongNames(t *testing.T) {
	values := cases(t)["full"]
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

// TestEveryValueCounts: each value of values.yaml is given in some case and makes a difference there: none is there that does nothing.
func TestEveryValueCounts(t *testing.T) {
	counts := map[string]bool{}
	for _, values := range cases(t) {
		whole, err := render("words", values)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range leaves("", values) {
			if counts[path] {
				continue
			}
			keys := strings.Split(path, ".")
			was := put(values, keys, nil) // which takes the default away too
			files, err := render("words", values)
			put(values, keys, was)
			counts[path] = err != nil || !maps.Equal(files, whole) // an error: others need it
		}
	}
	for _, path := range leaves("", readValues(t, chartDir+"/values.yaml")) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(counts)), func(p string) bool { return counts[p] && (p == path || strings.HasPrefix(p, path+".")) }) {
			t.Errorf("%s: no case gives it, or it does nothing", path)
		}
	}
}

// leaves are the paths of values that are no maps, or empty ones; keys have no dots here, but for labels, whose first part will do.
func leaves(prefix string, values map[string]any) (paths []string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		below, ok := values[key].(map[string]any)
		if ok && len(below) > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(below)), func(k string) bool { return strings.Contains(k, ".") }) {
			paths = append(paths, leaves(prefix+key+".", below)...)
		} else {
			paths = append(paths, prefix+key)
		}
	}
	return paths
}

// put puts a value at a path, and returns what was there.
func put(values map[string]any, path []string, value any) (was any) {
	for _, key := range path[:len(path)-1] {
		values = values[key].(map[string]any)
	}
	last := path[len(path)-1]
	was, values[last] = values[last], value
	return was
}

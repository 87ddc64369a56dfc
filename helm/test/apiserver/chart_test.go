package apiserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const chartDir = "../../adastream"

// cases are the arguments that give helm the values of each, by name: those of ci, and the ready-made ones with what they leave open.
func cases(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, pattern := range []string{"/ci/*-values.yaml", "/values-*.yaml"} {
		paths, err := filepath.Glob(chartDir + pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, path := range paths {
			name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "values-"), ".yaml")
			name = strings.TrimSuffix(name, "-values")
			var args []string
			switch {
			case filepath.Dir(path) != filepath.Clean(chartDir):
			case name == "standalone":
				args = []string{"--set=image.repository=registry.example.com/adastream"}
			default:
				args = []string{"-f", chartDir + "/ci/minimal-values.yaml"}
			}
			found[name] = append(args, "-f", path)
		}
	}
	return found
}

// helms are the helm commands, by their version.
func helms(t *testing.T) map[string]helm {
	t.Helper()
	found := map[string]helm{}
	for _, path := range filepath.SplitList(os.Getenv(helmEnv)) {
		found[filepath.Base(filepath.Dir(path))] = helm{path: path}
	}
	if len(found) == 0 {
		t.Skipf("%s is not set: run .ci/kubernetes.sh", helmEnv)
	}
	return found
}

// helm is a helm command, for a cluster if it has one.
type helm struct{ path, kubeconfig string }

func (h helm) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if args[0] == "lint" || args[0] == "template" { // without a server, commands that go installed take a Kubernetes of long ago
		args = append(args, "--kube-version=1.37.1")
	}
	c := exec.CommandContext(t.Context(), h.path, args...)
	home := t.TempDir()
	c.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+h.kubeconfig)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return string(out), fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}

// rendered is what one of the helm commands makes of values; the other one makes the same, see TestHelm.
func rendered(t *testing.T, args []string) []*unstructured.Unstructured {
	t.Helper()
	for _, h := range helms(t) {
		out, err := h.run(t, append([]string{"template", "words", chartDir, "-n", "search"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		all := objects(t, out)
		for _, o := range all {
			o.SetNamespace("")
		}
		return all
	}
	return nil
}

// Every version of helm finds nothing to say against the chart, and makes the same of it.
func TestHelm(t *testing.T) {
	outputs := map[string]map[string]string{} // by case, by version
	for version, h := range helms(t) {
		for name, args := range cases(t) {
			if _, err := h.run(t, append([]string{"lint", "--strict", chartDir}, args...)...); err != nil {
				t.Errorf("%s: %s: %v", name, version, err)
			}
			out, err := h.run(t, append([]string{"template", "words", chartDir, "-n", "search"}, args...)...)
			if err != nil {
				t.Errorf("%s: %s: %v", name, version, err)
			}
			if outputs[name] == nil {
				outputs[name] = map[string]string{}
			}
			var documents []string
			for _, o := range objects(t, out) {
				document, err := o.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				documents = append(documents, string(document))
			}
			slices.Sort(documents) // their order is the version's own
			outputs[name][version] = strings.Join(documents, "")
		}
	}
	for name, by := range outputs {
		var first string
		for _, out := range by {
			if first == "" {
				first = out
			}
			if out != first {
				t.Errorf("%s: versions of helm differ:\n%s\n----\n%s", name, first, out)
			}
		}
	}
}

func TestServer(t *testing.T) {
	c := start(t)
	t.Run("admits the chart", c.admitsTheChart)
	t.Run("admits the examples", c.admitsTheExamples)
	t.Run("refuses what is wrong", c.refusesWhatIsWrong)
	t.Run("upgrades", c.upgrades)
	t.Run("releases", c.releases)
}

// The API server takes all that the chart makes, field by field, and its admission lets the pods into a restricted namespace.
func (c *cluster) admitsTheChart(t *testing.T) {
	for name, args := range cases(t) {
		t.Run(name, func(t *testing.T) {
			namespace := c.namespace(t, "dry-"+name)
			all := rendered(t, args)
			c.makePresent(t, namespace, all)
			c.warnings.take()
			kinds := map[string]int{}
			for _, o := range all {
				kinds[o.GetKind()]++
				if err := c.apply(t, namespace, o, true); err != nil {
					t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
			for _, p := range pods(t, all) {
				kinds["Pod"]++
				if err := c.apply(t, namespace, p, true); err != nil {
					t.Errorf("pod %s: %v", p.GetName(), err)
				}
			}
			for _, warning := range c.warnings.take() {
				t.Errorf("the server warns: %s", warning)
			}
			t.Log("admitted: ", kinds)
		})
	}
}

// What the examples make beside the chart is taken too, as far as the server knows such things.
func (c *cluster) admitsTheExamples(t *testing.T) {
	namespace := c.namespace(t, "examples")
	paths, err := filepath.Glob("../../adastream/examples/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects(t, string(data)) {
			if _, err := c.resource(namespace, o); err != nil {
				t.Logf("%s: %s %s is not looked at: %v", filepath.Base(path), o.GetKind(), o.GetName(), err)
				continue
			}
			if err := c.apply(t, namespace, o, true); err != nil {
				t.Errorf("%s: %s %s: %v", filepath.Base(path), o.GetKind(), o.GetName(), err)
			} else {
				t.Logf("%s: %s %s is admitted", filepath.Base(path), o.GetKind(), o.GetName())
			}
		}
	}
}

// What is wrong in an object is found: values out of range, fields that do not exist, of custom resources too, and pods that ask for too much.
func (c *cluster) refusesWhatIsWrong(t *testing.T) {
	namespace := c.namespace(t, "wrong")
	all := rendered(t, cases(t)["full"])
	c.makePresent(t, namespace, all)
	for name, test := range map[string]struct {
		kind  string // of the object that is broken; Pod is one of a workload
		spoil func(o map[string]any)
		want  string
	}{
		"port out of range": {"StatefulSet", func(o map[string]any) {
			container(o)["ports"] = []any{map[string]any{"containerPort": int64(99999)}}
		}, "must be between 1 and 65535"},
		"field unknown": {"StatefulSet", func(o map[string]any) { o["spec"].(map[string]any)["replica"] = int64(1) }, `.spec.replica: field not declared in schema`},
		"quantity": {"StatefulSet", func(o map[string]any) {
			container(o)["resources"] = map[string]any{"limits": map[string]any{"memory": "8GB"}}
		}, "quantit"},
		"field of KEDA unknown":        {"ScaledObject", func(o map[string]any) { o["spec"].(map[string]any)["maxReplicas"] = int64(1) }, `spec.maxReplicas`},
		"value of KEDA":                {"ScaledObject", func(o map[string]any) { o["spec"].(map[string]any)["maxReplicaCount"] = "many" }, `.spec.maxReplicaCount: expected numeric`},
		"field of the operator":        {"PrometheusRule", func(o map[string]any) { o["spec"].(map[string]any)["group"] = []any{} }, `spec.group`},
		"root":                         {"Pod", func(o map[string]any) { container(o)["securityContext"] = map[string]any{"runAsUser": int64(0)} }, `violates PodSecurity "restricted:latest"`},
		"host's network":               {"Pod", func(o map[string]any) { o["spec"].(map[string]any)["hostNetwork"] = true }, `violates PodSecurity "restricted:latest"`},
		"service account of no one":    {"Pod", func(o map[string]any) { o["spec"].(map[string]any)["serviceAccountName"] = "nobody" }, `"nobody" not found`},
		"two environments of one name": {"Pod", func(o map[string]any) { repeatEnv(container(o)) }, `duplicate`},
	} {
		t.Run(name, func(t *testing.T) {
			from := all
			if test.kind == "Pod" {
				from = pods(t, all)
			}
			at := slices.IndexFunc(from, func(o *unstructured.Unstructured) bool { return o.GetKind() == test.kind })
			if at < 0 {
				t.Fatalf("no %s in the case", test.kind)
			}
			if err := c.apply(t, namespace, from[at].DeepCopy(), true); err != nil {
				t.Fatalf("refused before it is broken: %v", err)
			}
			o := from[at].DeepCopy()
			test.spoil(o.Object)
			if err := c.apply(t, namespace, o, true); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// container is the first one of a pod or a workload.
func container(o map[string]any) map[string]any {
	spec := o["spec"].(map[string]any)
	if template, ok := spec["template"].(map[string]any); ok {
		spec = template["spec"].(map[string]any)
	}
	return spec["containers"].([]any)[0].(map[string]any)
}

func repeatEnv(container map[string]any) {
	container["env"] = []any{map[string]any{"name": "A", "value": "1"}, map[string]any{"name": "A", "value": "2"}}
}

// remaining are the chart's objects that are left in a namespace.
func (c *cluster) remaining(t *testing.T, namespace string, all []*unstructured.Unstructured) (names []string) {
	t.Helper()
	for _, o := range all {
		resource, err := c.resource(namespace, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resource.Get(t.Context(), o.GetName(), metav1.GetOptions{}); err == nil {
			names = append(names, o.GetKind()+" "+o.GetName())
		}
	}
	return names
}

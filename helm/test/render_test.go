// Package test renders the chart with Helm's own library and reads the result with Kubernetes' own types.
//
// It is a module of its own, so that the product depends on neither. What it cannot tell is what only a cluster can: that
// the API server admits the objects, and that the pods run.
package test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const chartDir = "../adastream"

// render gives the chart's files by name, among them NOTES.txt, as for `helm install release` in the namespace search.
func render(release string, values map[string]any) (map[string]string, error) {
	chart, err := loader.LoadDir(chartDir)
	if err != nil {
		return nil, err
	}
	options := common.ReleaseOptions{Name: release, Namespace: "search", Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, values, options, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, all)
}

func readValues(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return values
}

// cases are the value files that the chart is rendered with, by name: those of ci, and the ready-made ones with what they leave open.
func cases(t *testing.T) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for _, pattern := range []string{"/ci/*-values.yaml", "/values-*.yaml"} {
		paths, err := filepath.Glob(chartDir + pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, path := range paths {
			values := readValues(t, path)
			name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "values-"), ".yaml")
			name = strings.TrimSuffix(name, "-values")
			if filepath.Dir(path) == filepath.Clean(chartDir) {
				open := map[string]any{"image": map[string]any{"repository": "registry.example.com/adastream"}}
				if name != "standalone" {
					open = readValues(t, chartDir+"/ci/minimal-values.yaml")
				}
				merge(open, values)
				values = open
			}
			found[name] = values
		}
	}
	return found
}

// rendered runs test on the objects of each case.
func rendered(t *testing.T, test func(t *testing.T, objects []object)) {
	t.Helper()
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			files, err := render("words", values)
			if err != nil {
				t.Fatal(err)
			}
			test(t, decode(t, files))
		})
	}
}

// object is a Kubernetes object of some kind.
type object interface {
	runtime.Object
	metav1.Object
}

// custom is a resource whose types are not Kubernetes' own. What its fields may be, the API server knows: see apiserver.
type custom struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              map[string]any `json:"spec"`
}

func (c *custom) DeepCopyObject() runtime.Object {
	d := *c
	return &d
}

var customGroups = regexp.MustCompile(`(?m)^apiVersion: (monitoring\.coreos\.com|keda\.sh|gateway\.networking\.k8s\.io)/`)

// decode reads all objects of rendered files. A key that the type has not, or that comes twice, fails the test.
func decode(t *testing.T, files map[string]string) []object {
	t.Helper()
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		json.SerializerOptions{Yaml: true, Strict: true})
	var objects []object
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(files[name])))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(bytes.TrimSpace(document)) == 0 {
				continue
			}
			var o runtime.Object
			if customGroups.Match(document) {
				o = &custom{}
				err = yaml.UnmarshalStrict(document, o)
			} else {
				o, _, err = strict.Decode(document, nil, nil)
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			objects = append(objects, o.(object))
		}
	}
	return objects
}

// workload is what the chart's Deployment and StatefulSets have in common.
type workload struct {
	name        string
	serviceName string // of a StatefulSet
	replicas    *int32 // nil with autoscaling
	selector    *metav1.LabelSelector
	pod         corev1.PodTemplateSpec
	claims      []corev1.PersistentVolumeClaim
}

// container is the one that runs a program of ours; others are the user's.
func (w workload) container() corev1.Container { return w.pod.Spec.Containers[0] }

// test is the pod of `helm test`, or nil.
func test(objects []object) *corev1.Pod {
	for _, o := range objects {
		if pod, ok := o.(*corev1.Pod); ok {
			return pod
		}
	}
	return nil
}

// workloads gives those of objects by component.
func workloads(t *testing.T, objects []object) map[string]workload {
	t.Helper()
	found := map[string]workload{}
	for _, o := range objects {
		var w workload
		switch o := o.(type) {
		case *appsv1.Deployment:
			w = workload{name: o.Name, replicas: o.Spec.Replicas, selector: o.Spec.Selector, pod: o.Spec.Template}
		case *appsv1.StatefulSet:
			w = workload{name: o.Name, replicas: o.Spec.Replicas, serviceName: o.Spec.ServiceName, selector: o.Spec.Selector, pod: o.Spec.Template, claims: o.Spec.VolumeClaimTemplates}
		default:
			continue
		}
		found[o.GetLabels()["app.kubernetes.io/component"]] = w
	}
	got := strings.Join(slices.Sorted(maps.Keys(found)), " ")
	if want := []string{"builder ingestor query", "builder events ingestor query", "standalone", "builder-all builder-high events ingestor query query-high query-low"}; !slices.Contains(want, got) {
		t.Fatalf("workloads %v", got)
	}
	return found
}

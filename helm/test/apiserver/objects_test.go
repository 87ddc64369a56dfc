package apiserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// objects are those of a file of YAML documents.
func objects(t *testing.T, text string) (found []*unstructured.Unstructured) {
	t.Helper()
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &o.Object); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if len(o.Object) > 0 {
			found = append(found, o)
		}
	}
}

// object is one, from YAML.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	return objects(t, text)[0]
}

// apply is server-side apply, as kubectl and Helm 4 do it, with fields that the server does not know refused. It returns what the server says.
func (c *cluster) apply(t *testing.T, namespace string, o *unstructured.Unstructured, dry bool) error {
	t.Helper()
	body, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	force := true
	options := metav1.PatchOptions{FieldManager: "test", Force: &force, FieldValidation: metav1.FieldValidationStrict}
	if dry {
		options.DryRun = []string{metav1.DryRunAll}
	}
	resource, err := c.resource(namespace, o)
	if err != nil {
		return err
	}
	_, err = resource.Patch(t.Context(), o.GetName(), types.ApplyPatchType, bytes.TrimSpace(body), options)
	return err
}

func (c *cluster) resource(namespace string, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == "root" {
		return c.client.Resource(mapping.Resource), nil
	}
	if own := o.GetNamespace(); own != "" {
		namespace = own
	}
	return c.client.Resource(mapping.Resource).Namespace(namespace), nil
}

func (c *cluster) get(t *testing.T, namespace string, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	resource, err := c.resource(namespace, o)
	if err != nil {
		t.Fatal(err)
	}
	now, err := resource.Get(t.Context(), o.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// namespace makes one that takes no pods but restricted ones, and warns of workloads that have others.
func (c *cluster) namespace(t *testing.T, name string) string {
	t.Helper()
	o := object(t, `{apiVersion: v1, kind: Namespace, metadata: {labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted}}}`)
	o.SetName(name)
	if err := c.apply(t, "", o, false); err != nil {
		t.Fatal(err)
	}
	return name
}

// pods are the pods that the workloads of a case would make, and those that it has itself.
func pods(t *testing.T, all []*unstructured.Unstructured) (found []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range all {
		template, path := o, []string{"spec"}
		switch o.GetKind() {
		case "Pod":
		case "Deployment", "StatefulSet", "Job":
			path = []string{"spec", "template", "spec"}
		default:
			continue
		}
		spec, ok, err := unstructured.NestedMap(template.Object, path...)
		if err != nil || !ok {
			t.Fatalf("%s %s has no pod: %v", o.GetKind(), o.GetName(), err)
		}
		p := object(t, `{apiVersion: v1, kind: Pod}`)
		p.SetName(strings.ToLower(o.GetKind()) + "-" + o.GetName())
		if o.GetKind() == "StatefulSet" {
			mountClaims(t, o, spec)
		}
		p.Object["spec"] = spec
		found = append(found, p)
	}
	return found
}

// mountClaims gives a pod the volumes that a StatefulSet's controller would.
func mountClaims(t *testing.T, set *unstructured.Unstructured, spec map[string]any) {
	t.Helper()
	claims, _, err := unstructured.NestedSlice(set.Object, "spec", "volumeClaimTemplates")
	if err != nil {
		t.Fatal(err)
	}
	volumes, _ := spec["volumes"].([]any)
	for _, claim := range claims {
		name := claim.(map[string]any)["metadata"].(map[string]any)["name"]
		volumes = append(volumes, map[string]any{"name": name, "persistentVolumeClaim": map[string]any{"claimName": name}})
	}
	if len(volumes) > 0 {
		spec["volumes"] = volumes
	}
}

// makePresent makes what admission looks up when a pod comes, and what the chart takes as given: service accounts and classes.
func (c *cluster) makePresent(t *testing.T, namespace string, all []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range all {
		if o.GetKind() == "ServiceAccount" {
			if err := c.apply(t, namespace, o, false); err != nil {
				t.Errorf("ServiceAccount %s: %v", o.GetName(), err)
			}
		}
	}
	for _, p := range pods(t, all) {
		spec := p.Object["spec"].(map[string]any)
		for field, text := range map[string]string{
			"serviceAccountName": `{apiVersion: v1, kind: ServiceAccount}`,
			"priorityClassName":  `{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 1000}`,
			"runtimeClassName":   `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, handler: runc}`,
		} {
			name, ok := spec[field].(string)
			if !ok {
				continue
			}
			o := object(t, text)
			o.SetName(name)
			if err := c.apply(t, namespace, o, false); err != nil {
				t.Errorf("%s %s: %v", o.GetKind(), name, err)
			}
		}
	}
}

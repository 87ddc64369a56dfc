package test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// TestGroups: those that merge know each pod of each group, by the name that Kubernetes gives it, for the shards that it serves, and
// nothing else; the service leads to them, and the policies let them through.
func TestGroups(t *testing.T) {
	files, err := render("words", cases(t)["groups"])
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, files)
	all, config := workloads(t, objects), configs(t, objects)
	var want, groups []string
	replicas := map[string]int32{}
	for _, o := range objects {
		set, ok := o.(*appsv1.StatefulSet)
		component := o.GetLabels()["app.kubernetes.io/component"]
		if !ok || !strings.HasPrefix(component, "query") {
			continue
		}
		replicas[component] = *set.Spec.Replicas
		if component == "query" {
			continue
		}
		groups = append(groups, component)
		for _, shard := range config[component]["shard"].([]any) {
			for pod := range replicas[component] {
				want = append(want, fmt.Sprintf("%v=https://%s-%d.%s.search.svc.cluster.local:8080", shard, set.Name, pod, set.Spec.ServiceName))
			}
		}
	}
	if !maps.Equal(replicas, map[string]int32{"query": 4, "query-low": 3, "query-high": 2}) {
		t.Errorf("replicas %v", replicas)
	}
	var got []string
	for _, peer := range config["query"]["peers"].([]any) {
		got = append(got, peer.(string))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(got) != 3*2+2*2 {
		t.Errorf("peers %v\nwant %v", got, want)
	}
	if merging := config["query"]; merging["merge-only"] != true || merging["shard"] != nil || merging["cache-dir"] != nil || len(all["query"].claims) > 0 {
		t.Errorf("what merges: %v, claims %v", merging, all["query"].claims)
	}
	if high := config["query-high"]; high["originals"] != "remote" || high["max-running"] != 32.0 || high["timeout"] != "3s" || high["peers"] != nil {
		t.Errorf("a group's flags on top of all: %v", high)
	}
	merging := labels.Set(all["query"].pod.Labels)
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Service:
			if hasServicePort(o, "http") && !labels.SelectorFromSet(o.Spec.Selector).Matches(merging) {
				t.Errorf("service %s leads to %v", o.Name, o.Spec.Selector)
			}
		case *networkingv1.NetworkPolicy:
			component := o.Labels["app.kubernetes.io/component"]
			if slices.Contains(groups, component) {
				if from := o.Spec.Ingress[0].From; len(from) != 1 || !selectorOf(t, from[0].PodSelector).Matches(merging) {
					t.Errorf("%s is asked by %v", component, from)
				}
			}
			if component == "query" {
				to := o.Spec.Egress[len(o.Spec.Egress)-1].To
				for _, group := range groups {
					if !slices.ContainsFunc(to, func(p networkingv1.NetworkPolicyPeer) bool {
						return selectorOf(t, p.PodSelector).Matches(labels.Set(all[group].pod.Labels))
					}) {
						t.Errorf("what merges cannot reach %s", group)
					}
				}
			}
		}
	}
}

// TestGroupsAreNotScaled: the autoscaler is of what merges groups, and the notes say so.
func TestGroupsAreNotScaled(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		values := cases(t)["groups"]
		merge(values, map[string]any{"query": map[string]any{"autoscaling": map[string]any{"enabled": enabled}}})
		files, err := render("words", values)
		if err != nil {
			t.Fatal(err)
		}
		var scaled []string
		for _, o := range decode(t, files) {
			if hpa, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok {
				scaled = append(scaled, hpa.Spec.ScaleTargetRef.Name)
			}
		}
		said := false
		for name, text := range files {
			said = said || filepath.Base(name) == "NOTES.txt" && strings.Contains(text, "query.autoscaling scales what merges groups, not groups")
		}
		if said != enabled || enabled != slices.Equal(scaled, []string{"words-adastream-query"}) {
			t.Errorf("enabled %v: scaled are %v, the notes say so: %v", enabled, scaled, said)
		}
	}
	values := cases(t)["groups"]
	values["query"].(map[string]any)["groups"].([]any)[0].(map[string]any)["autoscaling"] = map[string]any{"enabled": true}
	if _, err := render("words", values); err == nil || !strings.Contains(err.Error(), "autoscaling") {
		t.Errorf("a group with an autoscaler: %v", err)
	}
}

func hasServicePort(s *corev1.Service, name string) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == name })
}

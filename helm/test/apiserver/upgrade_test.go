package apiserver

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// upgrades are pairs of cases that a release may be moved between.
func upgrades(t *testing.T) (pairs [][2]string) {
	t.Helper()
	for name := range cases(t) {
		from := "minimal"
		if strings.HasPrefix(name, "standalone") {
			from = "standalone"
		}
		if name != from {
			pairs = append(pairs, [2]string{from, name}, [2]string{name, from})
		}
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	return append(pairs, [2]string{"prod", "full"}, [2]string{"full", "prod"})
}

// What one case has made, another one can change, but for the claims of a StatefulSet: it takes `kubectl delete statefulset
// --cascade=orphan` first, after which the upgrade adopts the pods, see the chart's README.
func (c *cluster) upgrades(t *testing.T) {
	for i, pair := range upgrades(t) {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			namespace := c.namespace(t, fmt.Sprint("upgrade-", i))
			claims := map[string]any{} // of the StatefulSets that are there, by name
			for _, o := range withoutPods(rendered(t, cases(t)[pair[0]])) {
				if err := c.apply(t, namespace, o, false); err != nil {
					t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
				}
				if o.GetKind() == "StatefulSet" {
					claims[o.GetName()] = claimsOf(o)
				}
			}
			for _, o := range withoutPods(rendered(t, cases(t)[pair[1]])) {
				was, there := claims[o.GetName()]
				err := c.apply(t, namespace, o, false)
				switch other := o.GetKind() == "StatefulSet" && there && !reflect.DeepEqual(was, claimsOf(o)); {
				case other && (err == nil || !strings.Contains(err.Error(), "spec.volumeClaimTemplates: Invalid value") || !strings.Contains(err.Error(), "field is immutable")):
					t.Errorf("%s %s: other claims are taken: %v", o.GetKind(), o.GetName(), err)
				case !other && err != nil:
					t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
		})
	}
}

func claimsOf(set *unstructured.Unstructured) any {
	claims, _, _ := unstructured.NestedFieldNoCopy(set.Object, "spec", "volumeClaimTemplates")
	return claims
}

// A release is installed, changed, rolled back and removed by each version of helm, and leaves nothing behind that the chart made.
func (c *cluster) releases(t *testing.T) {
	for version, h := range helms(t) {
		t.Run(version, func(t *testing.T) {
			h.kubeconfig = c.kubeconfig
			namespace := c.namespace(t, "release-"+strings.ReplaceAll(version, ".", "-"))
			small, large := cases(t)["minimal"], cases(t)["hpa"]
			for _, step := range []struct {
				name string
				args []string
			}{
				{"install --dry-run=server", append([]string{"install", "words", chartDir, "--dry-run=server"}, large...)},
				{"install", append([]string{"install", "words", chartDir}, small...)},
				{"upgrade", append([]string{"upgrade", "words", chartDir}, large...)},
				{"upgrade to what it is", append([]string{"upgrade", "words", chartDir}, large...)},
				{"rollback", []string{"rollback", "words", "1"}},
				{"uninstall", []string{"uninstall", "words"}},
			} {
				if out, err := h.run(t, append(step.args, "-n", namespace)...); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				} else if step.name == "install" && !strings.Contains(out, "/v1/search") {
					t.Errorf("install says nothing of the first search:\n%s", out)
				}
				switch all := rendered(t, large); {
				case step.name == "upgrade" && len(c.remaining(t, namespace, all)) != len(withoutPods(all)):
					t.Errorf("after the upgrade there are only %v", c.remaining(t, namespace, all))
				case step.name == "uninstall" && len(c.remaining(t, namespace, all)) > 0:
					t.Errorf("after the end there are still %v", c.remaining(t, namespace, all))
				}
			}
		})
	}
}

func withoutPods(all []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(all), func(o *unstructured.Unstructured) bool { return o.GetKind() == "Pod" })
}

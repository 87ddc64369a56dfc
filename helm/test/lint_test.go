package test

import (
	"testing"

	chartutil3 "helm.sh/helm/v3/pkg/chartutil"
	lint3 "helm.sh/helm/v3/pkg/lint"
	support3 "helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
)

// TestLint: `helm lint --strict` of Helm 3 and 4 has nothing to say of any case. The commands themselves are run by .ci/kubernetes.sh.
func TestLint(t *testing.T) {
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			for _, m := range lint.RunAll(chartDir, values, "search", lint.WithKubeVersion(&common.DefaultCapabilities.KubeVersion)).Messages {
				if m.Severity >= support.WarningSev {
					t.Errorf("Helm 4: %v", m)
				}
			}
			three := lint3.AllWithKubeVersion(chartDir, values, "search", &chartutil3.KubeVersion{Version: "v1.34.0", Major: "1", Minor: "34"})
			for _, m := range three.Messages {
				if m.Severity >= support3.WarningSev {
					t.Errorf("Helm 3: %v", m)
				}
			}
		})
	}
}

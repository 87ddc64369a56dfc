#!/bin/bash
# kubernetes.sh [lint] [ARGUMENT...]: tries the chart with the real helm and a real API server, by running helm/test/apiserver. First both
# versions of helm lint and render it. Then an API server on 127.0.0.1 with the resources of KEDA, the Prometheus Operator and the
# Gateway API tells what it admits, what it refuses, and what it lets an upgrade change, which takes half a minute. With `lint` only
# the first part runs. Further arguments go to `go test`.
#
# The first run builds kube-apiserver, etcd and two versions of helm from their Go modules: about 12 minutes of a CPU.
#
# It runs on demand and each night, not in .ci/run. That one decodes the chart strictly, but does not notice a value that is out of range.
#
#   ADASTREAM_CACHE      where the binaries are kept  (~/.cache/adastream)
#   ADASTREAM_TEST_CRDS  folders of more resources, joined by colons. With packaging/install/cluster-operator of a checkout of Strimzi, which
#                        is in no Go module, examples/strimzi.yaml is checked too
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${ADASTREAM_CACHE:-$HOME/.cache/adastream}
kubernetes=1.37.1
etcd=3.7.0 # what that Kubernetes asks for
helms=(3.22.0 4.3.1)
definitions=(
  github.com/kedacore/keda/v2@v2.21.0:config/crd/bases
  github.com/prometheus-operator/prometheus-operator@v0.92.1:example/prometheus-operator-crd
  sigs.k8s.io/gateway-api@v1.6.3:config/crd/standard
)
export GOFLAGS= CGO_ENABLED=0

# module NAME@VERSION prints the folder of a module, fetched if need be.
module() {
  local dir
  dir=$(cd / && go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
  [ -n "$dir" ] || { echo "kubernetes.sh: no module $1" >&2; exit 1; }
  echo "$dir"
}

# into DIR COMMAND...: runs COMMAND with a new folder as its last argument, and renames the folder to DIR only if COMMAND succeeds.
into() {
  [ -d "$1" ] && return
  mkdir -p "$(dirname "$1")"
  local tmp
  tmp=$(mktemp -d "$1.XXXXXX")
  "${@:2}" "$tmp" >&2
  mv -T "$tmp" "$1"
}

# In its go.mod Kubernetes replaces its own parts by folders of its repository. Everybody else gets them as modules.
build_servers() {
  local source out=$1 version=k8s.io/component-base/version
  source=$(module "k8s.io/kubernetes@v$kubernetes")
  mkdir "$out/build"
  {
    printf 'module build\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/kubernetes v%s\n\tgo.etcd.io/etcd/server/v3 v%s\n)\n\nreplace (\n' "$kubernetes" "$etcd"
    sed -n "s|^\t\(k8s.io/[a-z-]*\) => ./staging/.*|\t\1 => \1 v0.${kubernetes#1.}|p" "$source/go.mod"
    echo ')'
  } > "$out/build/go.mod"
  # The chart's kubeVersion is compared with what the server says of itself.
  (cd "$out/build" &&
    go build -mod=mod -trimpath -ldflags '-s -w' -o "$out/etcd" go.etcd.io/etcd/server/v3 &&
    go build -mod=mod -trimpath -ldflags "-s -w -X $version.gitVersion=v$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<< "$kubernetes")" \
      -o "$out/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver)
  rm -r "$out/build"
}

build_helm() { GOBIN=$2 go install -trimpath -ldflags '-s -w' "helm.sh/helm/v${1%%.*}/cmd/helm@v$1"; }

join() { local IFS=:; echo "$*"; }

commands=()
for version in "${helms[@]}"; do
  into "$cache/helm-v$version" build_helm "$version"
  commands+=("$cache/helm-v$version/helm")
done
ADASTREAM_TEST_HELM=$(join "${commands[@]}")
export ADASTREAM_TEST_HELM

what=.
if [ "${1:-}" = lint ]; then
  what=TestHelm
  shift
else
  into "$cache/kubernetes-v$kubernetes" build_servers
  folders=(${ADASTREAM_TEST_CRDS:+"$ADASTREAM_TEST_CRDS"})
  for d in "${definitions[@]}"; do
    folders+=("$(module "${d%%:*}")/${d#*:}")
  done
  ADASTREAM_TEST_CRDS=$(join "${folders[@]}")
  export ADASTREAM_TEST_KUBERNETES=$cache/kubernetes-v$kubernetes ADASTREAM_TEST_CRDS
fi
cd "$here/../helm/test"
exec go test -count=1 -run "$what" "$@" ./apiserver

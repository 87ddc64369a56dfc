#!/bin/bash
# arm64.sh: the tests of kernels, index and formats as arm64, under qemu. This looks at the kernels of NEON, at the
# portable ones where products and sums are fused, at alignment and at memory order, not at speed: minutes. Those of formats build and serve small
# indexes; the demo trains on 20,001 rows, which takes longer under qemu than it waits.
set -euo pipefail
cd "$(dirname "$0")/.."
qemu=qemu-aarch64-static
command -v $qemu >/dev/null || { apt-get update -qq && apt-get install -y -qq qemu-user-static; }
export GOARCH=arm64 CGO_ENABLED=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Left out are tests that train and measure for long, with nothing of the architecture in them.
under=(go test -exec "$qemu" -count=1 -p 1 -timeout 60m)
"${under[@]}" ./avx ./schemas ./pipeline/formats ./index/arrowfile ./index/mrl ./index/pca ./index/kmeans ./index/snapshot ./index/filter \
  ./index/exact ./index/recall ./index/opq ./index/segment ./index/model
"${under[@]}" ./index/search -run 'Scan|tiesById|layoutDoesNotMatter|Reservoir|SelectBest|Threshold|Top|exactIsBruteForce'
go build -o "$work/adastream" ./cmd/adastream
$qemu "$work/adastream" version

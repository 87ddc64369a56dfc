#!/bin/bash
# arm64.sh: runs the tests of kernels, index and formats as arm64, under qemu. Takes minutes.
#
# They look at the NEON kernels, at the portable ones where products and sums are fused, at alignment and at memory order. They say
# nothing about speed. The tests of formats build and serve small indexes. The demo is not run: it trains on 20,001 rows, and under qemu
# that takes longer than it waits.
set -euo pipefail
cd "$(dirname "$0")/.."
qemu=qemu-aarch64-static
command -v $qemu >/dev/null || { apt-get update -qq && apt-get install -y -qq qemu-user-static; }
export GOARCH=arm64 CGO_ENABLED=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Tests that train and measure for long, and do not depend on the architecture, are left out.
under=(go test -exec "$qemu" -count=1 -p 1 -timeout 60m)
"${under[@]}" ./avx ./schemas ./pipeline/formats ./index/arrowfile ./index/mrl ./index/pca ./index/kmeans ./index/snapshot ./index/filter \
  ./index/exact ./index/recall ./index/opq ./index/segment ./index/model
"${under[@]}" ./index/search -run 'Scan|tiesById|layoutDoesNotMatter|Reservoir|SelectBest|Threshold|Top|exactIsBruteForce'
go build -o "$work/adastream" ./cmd/adastream
$qemu "$work/adastream" version

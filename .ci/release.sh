#!/bin/bash
# release.sh VERSION DIR: makes the files of a release in DIR, from the revision that is checked out. With the same tar and gzip the same
# revision gives the same bytes on every machine; .ci/reproducible.sh checks this.
#
#   adastream-VERSION-linux-ARCH.tar.gz     the four programs, static, and the texts of all licences
#   adastream-VERSION-linux-ARCH.cdx.json   their bill of materials, as CycloneDX
#   adastream-VERSION-licences.csv          the licence of each item
#   adastream-VERSION-image.tar             the container image for both platforms, as an OCI layout
#   SHA256SUMS
set -euo pipefail
version=${1:-} out=$(realpath -m "${2:?usage: release.sh VERSION DIR}")
cd "$(dirname "$0")/.."

fail() { echo "release.sh: $*" >&2; exit 1; }

[[ $version =~ ^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$ ]] || fail "version '$version', allowed: a semantic version such as 0.1.0 or 0.1.0-rc.1"
[ -z "$(git status --porcelain)" ] || fail "files differ from the revision: commit them, or take them away"
revision=$(git rev-parse HEAD)
time=$(git log -1 --format=%cI)

# Everything in the environment that could change the bytes. The stamp has the revision, so the toolchain need not ask git.
unset GOAMD64 GOARM64 GOEXPERIMENT GOFIPS140
GOTOOLCHAIN=go$(cat .go-version)
export GOTOOLCHAIN CGO_ENABLED=0 GOFLAGS='-trimpath -mod=readonly -buildvcs=false' GOOS=linux LC_ALL=C TZ=UTC

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
mkdir -p "$out"
rm -f "$out"/adastream-* "$out/SHA256SUMS"

.ci/licences.sh "$work"
cp "$work/licences.csv" "$out/adastream-$version-licences.csv"
GOOS= GOBIN=$work/bin go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

for arch in amd64 arm64; do
  name=adastream-$version-linux-$arch
  mkdir "$work/$name"
  GOARCH=$arch go build -o "$work/$name/" -ldflags "-s -w -buildid= -X github.com/adastream/adastream/cmd/internal/cli.stamp=$version+$revision" ./cmd/...
  # The program adastream contains everything that the others do. GOPROXY is off because the proxy does not have this version yet.
  GOPROXY=off "$work/bin/cyclonedx-gomod" bin -json -licenses -std -noserial -notimestamp -version "v$version" \
    -output "$out/$name.cdx.json" "$work/$name/adastream" 2> "$work/sbom.err" || fail "$(cat "$work/sbom.err")"
  cp -r LICENSE README.md CHANGELOG.md "$work/licences" "$work/$name/"
  tar --create --format=ustar --sort=name --mtime="$time" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$work" "$name" |
    gzip -n -9 > "$out/$name.tar.gz"
done
GOOS= go -C .ci/image run . --version="$version" --revision="$revision" --created="$time" --out="$out/adastream-$version-image.tar" \
  amd64="$work/adastream-$version-linux-amd64" arm64="$work/adastream-$version-linux-arm64"
(cd "$out" && sha256sum adastream-* > SHA256SUMS)

#!/bin/bash
# licences.sh DIR: writes to DIR the licence of everything that is in the four programs: the names to licences.csv, the texts to licences/.
# Fails if one of them is not on the list of licences that are allowed.
set -euo pipefail
out=$(realpath -m "${1:?usage: licences.sh DIR}")
cd "$(dirname "$0")/.."
allowed="Apache-2.0 MIT BSD-2-Clause BSD-3-Clause 0BSD CC0-1.0 WordNet" # CC0: public domain. WordNet: use, copy, modify, distribute, keep the notice

tool=$(mktemp -d)
trap 'rm -rf "$tool"' EXIT
GOFLAGS= GOBIN=$tool go install github.com/google/go-licenses@v1.6.0
export CGO_ENABLED=0 GOOS=linux GOARCH=amd64 # arm64 has the same modules

rm -rf "$out/licences"
mkdir -p "$out"
printf '{{range .}}{{.Name}},{{.LicenseName}}\n{{end}}' > "$tool/csv"
ours=github.com/adastream/adastream
quiet=(--logtostderr=false --stderrthreshold=2) # it warns of assembly, which has no licence of its own
{
  "$tool/go-licenses" report ./cmd/... --ignore "$ours" --template "$tool/csv" "${quiet[@]}" | grep .
  echo "the Go standard library,BSD-3-Clause"
} > "$out/licences.csv"
"$tool/go-licenses" save ./cmd/... --ignore "$ours" --save_path "$out/licences" "${quiet[@]}"
mkdir "$out/licences/go"
cp "$(go env GOROOT)/LICENSE" "$out/licences/go/LICENSE"

# What is embedded has its licence beside it.
while read -r file; do
  what=${file##*/LICENSE.}
  case $what in
    htmx) licence=0BSD ;;
    uplot) licence=MIT ;;
    WordNet) licence=WordNet ;;
    *) licence=unknown ;;
  esac
  echo "$what ($(dirname "$file")),$licence" >> "$out/licences.csv"
  mkdir "$out/licences/$what"
  cp "$file" "$out/licences/$what/LICENSE"
done < <(git ls-files 'cmd/**/LICENSE.*' 'pipeline/**/LICENSE.*' 'index/**/LICENSE.*' | LC_ALL=C sort)

chmod -R u=rwX,go=rX "$out/licences"
bad=$(awk -F, -v allowed=" $allowed " 'index(allowed, " " $NF " ") == 0' "$out/licences.csv")
if [ -n "$bad" ]; then
  printf 'licences.sh: not on the list (%s):\n%s\n' "$allowed" "$bad" >&2
  exit 1
fi

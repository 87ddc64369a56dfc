#!/bin/bash
# vulnerabilities.sh [DATABASE]: fails if a program, built by the toolchain and from the modules of a release, calls something that the Go
# vulnerability database names. DATABASE is a version of the module golang.org/x/vulndb. The default is the version below: then a change is
# refused for what it does, not for what became known meanwhile. The nightly run asks for latest.
set -euo pipefail
database=${1:-v0.0.0-20261105234957-e22db6528018}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

module=golang.org/x/vulndb@$database
files=$(cd "$work" && go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
go run "golang.org/x/vulndb/cmd/indexdb@$database" -vulns "$files/data/osv" -out "$work/db"
toolchain=go$(cat .go-version)
echo "toolchain $toolchain, database $(basename "$files")"
GOTOOLCHAIN=$toolchain go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db "file://$work/db" ./...

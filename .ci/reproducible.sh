#!/bin/bash
# reproducible.sh [DIR]: makes a release of HEAD twice and compares the bytes. The two clones are at different paths; the second build has an
# empty build cache, another time zone, locale and umask, and compiles everything, which takes minutes. If DIR is given, the files are left there.
set -euo pipefail
keep=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

clone() {
  git clone -q --no-checkout "$(git rev-parse --git-common-dir)" "$1"
  git -C "$1" checkout -q --detach "$(git rev-parse HEAD)"
}

clone "$work/a"
clone "$work/elsewhere/and/deeper/b"
"$work/a/.ci/release.sh" 0.0.0-check "$work/first"
printf 'built once (%ss)\n' "$SECONDS"
(umask 077 && GOCACHE=$work/cache TZ=Asia/Kathmandu LC_ALL=C.UTF-8 "$work/elsewhere/and/deeper/b/.ci/release.sh" 0.0.0-check "$work/second")
printf 'built twice (%ss)\n' "$SECONDS"
diff "$work/first/SHA256SUMS" "$work/second/SHA256SUMS" || {
  echo "reproducible.sh: the same revision gave different bytes" >&2
  exit 1
}
cat "$work/first/SHA256SUMS"
[ -z "$keep" ] || { mkdir -p "$keep" && cp "$work"/first/* "$keep/"; }

#!/bin/bash
# image.sh IMAGE.tar: runs the programs of an image that .ci/release.sh made, for this machine's platform. They run in a chroot of the image's
# file system, as the image's user, without /proc and /dev; only /tmp can be written. This needs root rights, but no container daemon.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
command -v python3 >/dev/null || { apt-get update -qq && apt-get install -y -qq python3-minimal; }
image=$(realpath "${1:?usage: image.sh IMAGE.tar}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

tar -x -f "$image" -C "$work"
python3 - "$work" "$(uname -m)" <<'P'
import json, os, sys
work, machine = sys.argv[1:]
arch = {"x86_64": "amd64", "aarch64": "arm64"}[machine]
blob = lambda d: os.path.join(work, "blobs", *d["digest"].split(":"))
read = lambda d: json.load(open(blob(d)))
index = read(json.load(open(os.path.join(work, "index.json")))["manifests"][0])
manifest = read(next(m for m in index["manifests"] if m["platform"]["architecture"] == arch))
config = read(manifest["config"])["config"]
print(json.dumps(config, indent=1))
assert config["User"] == "65532:65532"
with open(os.path.join(work, "env"), "w") as f:
    f.write("\n".join(config["Env"]))
with open(os.path.join(work, "layers"), "w") as f:
    f.writelines(blob(layer) + "\n" for layer in manifest["layers"])
P
root=$work/root
mkdir "$root"
while read -r layer; do
  tar -x -z -p --numeric-owner -f "$layer" -C "$root"
done < "$work/layers"
chmod 755 "$root" "$root/var/cache/adastream" # the chart mounts something there; the demo must not need it
mapfile -t env < "$work/env"
within() { env -i "${env[@]}" "$(command -v chroot)" --userspec=65532:65532 "$root" "$@"; }

within adastream version
for program in builder ingestor query; do
  within "$program" --version > "$work/version"
  head -n 1 "$work/version"
done
within adastream demo --once
[ -z "$(find "$root" -path "$root/tmp" -prune -o -user 65532 -print)" ] || { echo "image.sh: more than /tmp was written" >&2; exit 1; }
echo ok

#!/bin/bash
# s3.sh [port] [dir]: starts a real S3 server (versitygw over a directory) on 127.0.0.1:port. Prints READY once it serves.
# The pid is left in dir/pid; stop it with: kill "$(cat dir/pid)". Use it in the tests of pipeline/store with
#   ADASTREAM_TEST_S3=http://lab:labsecret123@127.0.0.1:17070 go test ./pipeline/store/...
#
#   S3_ACCESS_KEY, S3_SECRET_KEY  credentials         (lab, labsecret123)
#   S3_BUCKET                     bucket made at once (none)
#   ADASTREAM_CACHE               where the binary is (~/.cache/adastream)
set -euo pipefail

port=${1:-17070}
dir=${2:-/tmp/s3-$port}
version=v1.8.0
bin=${ADASTREAM_CACHE:-$HOME/.cache/adastream}/versitygw-$version

fail() { echo "s3.sh: $*" >&2; exit 1; }

# Look at the port, not the pid: where nobody reaps orphans, a killed server stays as a zombie that kill -0 finds alive.
if (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  fail "something already listens on 127.0.0.1:$port"
fi
command -v curl >/dev/null || fail "curl is needed"

if [ ! -x "$bin/versitygw" ]; then # 2 to 3 minutes on two cores
  GOBIN=$bin GOFLAGS= go install -ldflags '-s -w' "github.com/versity/versitygw/cmd/versitygw@$version" >&2
fi

mkdir -p "$dir/data"
[ -z "${S3_BUCKET:-}" ] || mkdir -p "$dir/data/$S3_BUCKET" # a bucket of the posix backend is a directory

ROOT_ACCESS_KEY=${S3_ACCESS_KEY:-lab} ROOT_SECRET_KEY=${S3_SECRET_KEY:-labsecret123} \
  setsid "$bin/versitygw" --port "127.0.0.1:$port" --region us-east-1 --quiet --health /health \
  posix "$dir/data" > "$dir/out" 2>&1 < /dev/null &
echo $! > "$dir/pid"
for _ in $(seq 500); do
  kill -0 "$(cat "$dir/pid")" 2>/dev/null || { cat "$dir/out" >&2; fail "the server ended"; }
  curl -fs -o /dev/null --noproxy '*' "http://127.0.0.1:$port/health" && { echo READY; exit 0; }
  sleep 0.02
done
fail "not ready in 10 s, see $dir/out"

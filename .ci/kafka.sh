#!/bin/bash
# kafka.sh [port] [datadir]: starts one real Apache Kafka broker (KRaft, no ZooKeeper) on 127.0.0.1:port; its controller
# listens on port+1. Prints READY once it serves. The pid is left in datadir/pid; stop it with: kill "$(cat datadir/pid)".
# Started again on the same datadir, it serves the same log.
#
#   KAFKA_VERSION    broker version                            (4.1.1)
#   KAFKA_HEAP       fixed heap of the broker                  (512m)
#   KAFKA_FULL_JIT   non-empty: full JIT and G1 for benchmarks (fast start otherwise)
#   KAFKA_SECURE     non-empty: four more listeners            (none)
#                    datadir/secure then has ca.pem, client.pem, client.key, and in files of these names their addresses:
#                      sasl      PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; user ada, password s3cr3t-of-ada   port+2
#                      sasltls   the same over TLS                                                port+3
#                      tls       TLS with a private authority                                     port+4
#                      mtls      the same, and the client needs a certificate                     port+5
#   KAFKA_TIERED     non-empty: topics can be made with       (none)
#                    remote.storage.enable=true; their closed segments go to datadir/tiered
#   KAFKA_CLUSTER    id of the cluster                         (random)
#                    for one of several brokers, with node.id and controller.quorum.voters in KAFKA_PROPS; each waits for a majority
#   KAFKA_PROPS      further lines of server.properties        (none)
#   ADASTREAM_CACHE  where the jars are kept                   (~/.cache/adastream)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
port=${1:-19092}
dir=${2:-/tmp/kafka-$port}
version=${KAFKA_VERSION:-4.1.1}
heap=${KAFKA_HEAP:-512m}
lib=${ADASTREAM_CACHE:-$HOME/.cache/adastream}/kafka-$version
tiered_lib=$lib-tiered

secure=$dir/secure
plain='org.apache.kafka.common.security.plain.PlainLoginModule required user_ada="s3cr3t-of-ada";'
scram='org.apache.kafka.common.security.scram.ScramLoginModule required;'

fail() { echo "kafka.sh: $*" >&2; exit 1; }

# Look at the port, not the pid: where nobody reaps orphans, a killed broker stays as a zombie that kill -0 finds alive.
if (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  fail "something already listens on 127.0.0.1:$port"
fi

install_tools() {
  command -v java >/dev/null && command -v mvn >/dev/null && return
  command -v apt-get >/dev/null || fail "java 17 and mvn are needed and there is no apt-get to install them with"
  local sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless maven >&2
}

# The folder appears under its final name only when complete, so an interrupted download is never used.
fetch_into() {
  [ -d "$1" ] && return
  mkdir -p "$(dirname "$1")"
  local tmp
  tmp=$(mktemp -d "$1.XXXXXX")
  mvn -B -q -f "$here/kafka/pom.xml" -Dkafka.version="$version" "${@:2}" -DoutputDirectory="$tmp" >&2
  mv -T "$tmp" "$1" 2>/dev/null || rm -rf "$tmp" # another run was faster
}

# Kafka has no remote storage of its own to offer, but tests its tiers with one that is a folder.
fetch_jars() {
  fetch_into "$lib" dependency:copy-dependencies -DincludeScope=runtime
  [ -z "${KAFKA_TIERED:-}" ] || fetch_into "$tiered_lib" dependency:copy "-Dartifact=org.apache.kafka:kafka-storage:$version:jar:test"
}

# Topics are created by the product with their own limits; the broker's limits leave room for a large Arrow message
# (the default, 1 MiB, would refuse a batch of 1,000 vectors of 256 floats plus framing).
write_config() {
  local controller=$((port + 1)) listeners= protocols= name i=2
  if [ -n "${KAFKA_SECURE:-}" ]; then
    for name in sasl sasltls tls mtls; do
      listeners+=,${name^^}://127.0.0.1:$((port + i))
      echo "127.0.0.1:$((port + i))" > "$secure/$name"
      i=$((i + 1))
    done
    protocols=,SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL,TLS:SSL,MTLS:SSL
  fi
  cat > "$dir/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$listeners
advertised.listeners=PLAINTEXT://127.0.0.1:$port$listeners
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$protocols
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/logs
num.partitions=1
auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
# a single broker replicates nothing
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# tests wait for these: joins, retention, compaction, return after kill -9
group.initial.rebalance.delay.ms=0
log.retention.check.interval.ms=1000
log.cleaner.backoff.ms=500
log.initial.task.delay.ms=500
log.segment.delete.delay.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
${KAFKA_PROPS:-}
P
  [ -z "${KAFKA_SECURE:-}" ] || cat >> "$dir/server.properties" <<P
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=$plain
listener.name.sasl.scram-sha-256.sasl.jaas.config=$scram
listener.name.sasl.scram-sha-512.sasl.jaas.config=$scram
listener.name.sasltls.plain.sasl.jaas.config=$plain
listener.name.sasltls.scram-sha-256.sasl.jaas.config=$scram
listener.name.sasltls.scram-sha-512.sasl.jaas.config=$scram
ssl.keystore.type=PEM
ssl.keystore.location=$secure/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$secure/ca.pem
listener.name.mtls.ssl.client.auth=required
P
  [ -z "${KAFKA_TIERED:-}" ] || cat >> "$dir/server.properties" <<P
remote.log.storage.system.enable=true
remote.log.storage.manager.class.name=org.apache.kafka.server.log.remote.storage.LocalTieredStorage
remote.log.storage.manager.class.path=$tiered_lib/*
remote.log.metadata.manager.listener.name=PLAINTEXT
rsm.config.dir=$dir/tiered
rlmm.config.remote.log.metadata.topic.num.partitions=1
rlmm.config.remote.log.metadata.topic.replication.factor=1
remote.log.manager.task.interval.ms=500
P
}

java_cmd=(java -cp "$lib/*" "-Dlog4j2.configurationFile=file:$here/kafka/log4j2.properties")
if [ -n "${KAFKA_FULL_JIT:-}" ]; then
  java_cmd+=(-XX:+UseG1GC)
else
  java_cmd+=(-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto)
fi

format_log() {
  [ -f "$dir/logs/meta.properties" ] && return
  local id users=()
  [ -z "${KAFKA_SECURE:-}" ] || users=(--add-scram 'SCRAM-SHA-256=[name=ada,password=s3cr3t-of-ada]' --add-scram 'SCRAM-SHA-512=[name=ada,password=s3cr3t-of-ada]')
  id=${KAFKA_CLUSTER:-$("${java_cmd[@]}" -Xmx128m kafka.tools.StorageTool random-uuid)}
  "${java_cmd[@]}" -Xmx128m kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" "${users[@]}" \
    > "$dir/format.out" 2>&1 || { cat "$dir/format.out" >&2; fail "format failed"; }
}

install_tools
fetch_jars
mkdir -p "$dir"
if [ -n "${KAFKA_SECURE:-}" ]; then
  mkdir -p "$secure"
  [ -f "$secure/ca.pem" ] || go run "$here/kafka/certificates.go" "$secure"
fi
write_config
format_log

: > "$dir/broker.out"
setsid "${java_cmd[@]}" "-Xms$heap" "-Xmx$heap" kafka.Kafka "$dir/server.properties" > "$dir/broker.out" 2>&1 < /dev/null &
echo $! > "$dir/pid"
for _ in $(seq 600); do
  grep -q 'Kafka Server started' "$dir/broker.out" && { echo READY; exit 0; }
  kill -0 "$(cat "$dir/pid")" 2>/dev/null || { cat "$dir/broker.out" >&2; fail "the broker ended"; }
  sleep 0.1
done
fail "not ready in 60 s, see $dir/broker.out"

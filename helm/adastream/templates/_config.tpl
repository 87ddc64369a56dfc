{{/*
The configuration file of each program, which the ConfigMap holds, and the secrets that files of it name. Flags that the
chart sets come on top of the user's: probes, volumes and secrets depend on them.
*/}}

{{- define "adastream.config" -}}
{{- include "adastream.validate" .root -}}
{{- $values := .root.Values -}}
{{- $role := include "adastream.role" . -}}
{{- $own := include "adastream.own" . | fromYaml -}}
{{- $config := default (dict) $own.config -}}
{{- $is := dict "standalone" (eq $values.mode "standalone") "server" (has $role (list "query" "standalone")) "kafka" (has .component (list "ingestor" "standalone" "init" "test" "events")) -}}
{{- if has .component (list "init" "standalone") -}}
{{- $config = merge $config $values.index.spec (dict "name" $values.index.name) -}}
{{- with $values.index.topic }}{{ $_ := set $config "topic" . }}{{ end -}}
{{- end -}}
{{- if has $role (list "ingestor" "builder" "query" "standalone" "events") -}}
{{- $_ := set $config "ops-listen" (printf ":%s" (include "adastream.opsPort" .)) -}}
{{- end -}}
{{- $_ := merge $config (dict "log-level" $values.log.level "log-format" $values.log.format) -}}
{{- if or $values.store.url (not $is.standalone) -}}
{{- $_ := set $config "store" (required "store.url: say where the index is: s3://bucket/prefix?endpoint=https://host:port" $values.store.url) -}}
{{- with $values.store.caSecret }}{{ $_ := set $config "store-ca" "/etc/adastream/store-ca/ca.crt" }}{{ end -}}
{{- end -}}
{{- if and $is.kafka (or $values.kafka.brokers (not $is.standalone)) -}}
{{- $kafka := $values.kafka -}}
{{- $_ := set $config "brokers" (required "kafka.brokers: list at least one bootstrap address, host:port" (empty $kafka.brokers | ternary nil $kafka.brokers)) -}}
{{- if $kafka.tls.enabled }}{{ $_ := set $config "kafka-tls" true }}{{ end -}}
{{- if $kafka.tls.caSecret }}{{ $_ := set $config "kafka-ca" "/etc/adastream/kafka-ca/ca.crt" }}{{ end -}}
{{- if $kafka.tls.certSecret -}}
{{- $_ := set $config "kafka-cert" "/etc/adastream/kafka-cert/tls.crt" -}}
{{- $_ := set $config "kafka-key" "/etc/adastream/kafka-cert/tls.key" -}}
{{- end -}}
{{- if ne $kafka.sasl.mechanism "none" }}{{ $_ := set $config "kafka-sasl" $kafka.sasl.mechanism }}{{ end -}}
{{- end -}}
{{- if $is.server -}}
{{- $_ := set $config "listen" ":8080" -}}
{{- if $values.query.tokensSecret }}{{ $_ := set $config "tokens-file" "/etc/adastream/tokens/tokens" }}{{ end -}}
{{- if $values.query.tls.secret -}}
{{- $_ := set $config "tls-cert" "/etc/adastream/tls/tls.crt" -}}
{{- $_ := set $config "tls-key" "/etc/adastream/tls/tls.key" -}}
{{- end -}}
{{- if $values.query.tls.clientCASecret }}{{ $_ := set $config "tls-client-ca" "/etc/adastream/client-ca/ca.crt" }}{{ end -}}
{{- end -}}
{{- if eq $role "query" }}{{ $_ := set $config "drain" (printf "%vs" $values.query.drainSeconds) }}{{ end -}}
{{- if has $role (list "builder" "query") }}{{ if $own.cache }}{{ $_ := set $config "cache-dir" "/var/lib/adastream" }}{{ end }}{{ end -}}
{{- if $own.shards }}{{ $_ := set $config "shard" $own.shards }}{{ end -}}
{{- if and (eq .component "query") $own.groups -}}
{{- $_ := set $config "merge-only" true -}}
{{- $_ := set $config "peers" (include "adastream.peers" .root | fromYamlArray) -}}
{{- if $own.caSecret }}{{ $_ := set $config "peers-ca" "/etc/adastream/peers-ca/ca.crt" }}{{ end -}}
{{- if $own.certSecret -}}
{{- $_ := set $config "peers-cert" "/etc/adastream/peers-cert/tls.crt" -}}
{{- $_ := set $config "peers-key" "/etc/adastream/peers-cert/tls.key" -}}
{{- end -}}
{{- end -}}
{{- if eq .component "events" }}{{ $_ := set $config "topic" (include "adastream.eventsTopic" .root) }}{{ end -}}
{{- if $is.standalone }}{{ if eq .component "standalone" }}{{ $_ := set $config "dir" "/var/lib/adastream" }}{{ end }}{{ end -}}
{{- if eq .component "test" -}}
{{- $_ := set $config "url" (include "adastream.url" .root) -}}
{{- $_ := set $config "within" $values.test.within -}}
{{- if $values.test.tokenSecret }}{{ $_ := set $config "token-file" "/etc/adastream/token/token" }}{{ end -}}
{{- if $values.test.caSecret }}{{ $_ := set $config "node-ca" "/etc/adastream/node-ca/ca.crt" }}{{ end -}}
{{- if $values.test.certSecret -}}
{{- $_ := set $config "node-cert" "/etc/adastream/node-cert/tls.crt" -}}
{{- $_ := set $config "node-key" "/etc/adastream/node-cert/tls.key" -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/*
The secrets that a pod mounts, as YAML of {volume: {secret, keys}}. Files of mounted secrets follow them, and the programs follow
the files.
*/}}
{{- define "adastream.secrets" -}}
{{- $values := .root.Values -}}
{{- $key := list "tls.crt" "tls.key" -}}
{{- $role := include "adastream.role" . -}}
{{- $secrets := dict "store-ca" (dict "secret" $values.store.caSecret "keys" (list "ca.crt")) -}}
{{- if has .component (list "ingestor" "standalone" "test" "events") -}}
{{- $_ := set $secrets "kafka-ca" (dict "secret" $values.kafka.tls.caSecret "keys" (list "ca.crt")) -}}
{{- $_ := set $secrets "kafka-cert" (dict "secret" $values.kafka.tls.certSecret "keys" $key) -}}
{{- end -}}
{{- if has $role (list "query" "standalone") -}}
{{- $_ := set $secrets "tokens" (dict "secret" $values.query.tokensSecret "keys" (list "tokens")) -}}
{{- $_ := set $secrets "tls" (dict "secret" $values.query.tls.secret "keys" $key) -}}
{{- $_ := set $secrets "client-ca" (dict "secret" $values.query.tls.clientCASecret "keys" (list "ca.crt")) -}}
{{- end -}}
{{- if and (eq .component "query") $values.query.groups -}}
{{- $_ := set $secrets "peers-ca" (dict "secret" $values.query.merging.caSecret "keys" (list "ca.crt")) -}}
{{- $_ := set $secrets "peers-cert" (dict "secret" $values.query.merging.certSecret "keys" $key) -}}
{{- end -}}
{{- if eq .component "test" -}}
{{- $_ := set $secrets "token" (dict "secret" $values.test.tokenSecret "keys" (list "token")) -}}
{{- $_ := set $secrets "node-ca" (dict "secret" $values.test.caSecret "keys" (list "ca.crt")) -}}
{{- $_ := set $secrets "node-cert" (dict "secret" $values.test.certSecret "keys" $key) -}}
{{- end -}}
{{- range $name := keys $secrets }}{{ if not (index $secrets $name).secret }}{{ $_ := unset $secrets $name }}{{ end }}{{ end -}}
{{- toYaml $secrets -}}
{{- end }}

{{/* Values that do not fit together. */}}
{{- define "adastream.validate" -}}
{{- $_ := include "adastream.image" . }}
{{- $kafka := .Values.kafka }}
{{- if and $kafka.tls.caSecret (not $kafka.tls.enabled) }}
{{- fail "kafka.tls.caSecret: goes with kafka.tls.enabled: true" }}
{{- end }}
{{- if and $kafka.tls.certSecret (not $kafka.tls.enabled) }}
{{- fail "kafka.tls.certSecret: goes with kafka.tls.enabled: true" }}
{{- end }}
{{- if and (or $kafka.sasl.existingSecret $kafka.sasl.user) (eq $kafka.sasl.mechanism "none") }}
{{- fail "kafka.sasl: a user or secret goes with a mechanism other than none" }}
{{- end }}
{{- if and (ne $kafka.sasl.mechanism "none") (not $kafka.sasl.existingSecret) }}
{{- fail "kafka.sasl.existingSecret: name a secret with the key password, and the key user unless kafka.sasl.user is set" }}
{{- end }}
{{- if and .Values.query.tls.clientCASecret (not .Values.query.tls.secret) }}
{{- fail "query.tls.clientCASecret: goes with query.tls.secret" }}
{{- end }}
{{- if and .Values.events.enabled (eq .Values.mode "standalone") }}
{{- fail "events: goes with mode: distributed" }}
{{- end }}
{{- if and .Values.events.enabled (eq (include "adastream.eventsTopic" .) (include "adastream.topic" .)) }}
{{- fail "events.topic: is that of the index" }}
{{- end }}
{{- range $role := list "builder" "query" }}
{{- include "adastream.validateGroups" (dict "root" $ "role" $role) }}
{{- end }}
{{- if and .Values.index.create (not .Values.index.spec.ladder) }}
{{- fail "index.spec.ladder: an index that is made needs the widths that its model was trained for, such as [64, 128, 256]" }}
{{- end }}
{{- if and .Values.index.spec (not .Values.index.create) (ne .Values.mode "standalone") }}
{{- fail "index.spec: goes with index.create: true" }}
{{- end }}
{{- if and .Values.query.ingress.enabled (not .Values.query.ingress.hosts) }}
{{- fail "query.ingress.hosts: list at least one {host, paths}" }}
{{- end }}
{{- if and .Values.query.httpRoute.enabled (not .Values.query.httpRoute.parentRefs) }}
{{- fail "query.httpRoute.parentRefs: name at least one Gateway" }}
{{- end }}
{{- $auto := .Values.ingestor.autoscaling }}
{{- if eq $auto.kind "keda" }}
{{- if not (or $auto.keda.kafka.enabled $auto.keda.prometheus.enabled) }}
{{- fail "ingestor.autoscaling.keda: enable kafka, prometheus or both" }}
{{- end }}
{{- if and (not $auto.keda.kafka.enabled) (lt (int $auto.minReplicas) 1) }}
{{- fail "ingestor.autoscaling.minReplicas: without keda.kafka it has to be 1: no ingestor is there to tell its lag" }}
{{- end }}
{{- if and $auto.keda.prometheus.enabled (not $auto.keda.prometheus.serverAddress) }}
{{- fail "ingestor.autoscaling.keda.prometheus.serverAddress: say where Prometheus is, http://host:port" }}
{{- end }}
{{- end }}
{{- if lt (int $auto.maxReplicas) (int $auto.minReplicas) }}
{{- fail "ingestor.autoscaling.maxReplicas: is less than minReplicas" }}
{{- end }}
{{- if lt (int .Values.query.autoscaling.maxReplicas) (int .Values.query.autoscaling.minReplicas) }}
{{- fail "query.autoscaling.maxReplicas: is less than minReplicas" }}
{{- end }}
{{- if and .Values.query.autoscaling.enabled (not .Values.query.autoscaling.targetCPU) (not .Values.query.autoscaling.metrics) }}
{{- fail "query.autoscaling: give targetCPU or metrics" }}
{{- end }}
{{- end }}

{{/* Groups of shards: each shard of the index is in one, and what they make of flags is not said twice. */}}
{{- define "adastream.validateGroups" -}}
{{- $own := index .root.Values .role -}}
{{- if $own.groups -}}
{{- $names := dict }}{{ $has := dict }}{{ $last := 0 -}}
{{- $configs := list $own.config (default (dict) $own.merging).config -}}
{{- range $own.groups -}}
{{- if hasKey $names .name }}{{ fail (printf "%s.groups: %s comes twice" $.role .name) }}{{ end -}}
{{- $_ := set $names .name true -}}
{{- $full := include "adastream.componentName" (dict "root" $.root "component" (printf "%s-%s" $.role .name)) -}}
{{- if gt (len $full) 52 }}{{ fail (printf "%s.groups: %s has more than 52 characters, which leave no room for a hash in a label: set fullnameOverride" $.role $full) }}{{ end -}}
{{- range .shards }}{{ $_ := set $has (toString .) true }}{{ $last = max $last . }}{{ end -}}
{{- $configs = append $configs .config -}}
{{- end -}}
{{- $shards := int (default (add1 $last) .root.Values.index.spec.shards) -}}
{{- if ge (int $last) $shards }}{{ fail (printf "%s.groups: shard %v, index.spec.shards is %v" .role $last $shards) }}{{ end -}}
{{- range until $shards -}}
{{- if not (hasKey $has (toString .)) }}{{ fail (printf "%s.groups: no group has shard %v" $.role .) }}{{ end -}}
{{- end -}}
{{- range $config := $configs -}}
{{- range $flag := list "shard" "peers" "merge-only" -}}
{{- if hasKey (default (dict) $config) $flag }}{{ fail (printf "%s: config.%s goes without %s.groups, which say it" $.role $flag $.role) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Names, labels and values. Templates that concern one workload take a dict, the scope: root is the top-level scope,
component is ingestor, builder, query, events, standalone or test, or a group of shards of one, such as query-low.
*/}}

{{- define "adastream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/*
40 characters leave room for the longest suffix, and for the hash that Kubernetes adds to a StatefulSet's name in a
label of at most 63.
*/}}
{{- define "adastream.fullname" -}}
{{- $name := include "adastream.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "adastream.componentName" -}}
{{ include "adastream.fullname" .root }}-{{ .component }}
{{- end }}

{{/* The workloads of the mode, separated by spaces. Where there are groups, builders are theirs, and query is what merges them. */}}
{{- define "adastream.workloads" -}}
{{- if eq .Values.mode "standalone" -}}
standalone
{{- else -}}
{{- $all := list "ingestor" -}}
{{- range .Values.builder.groups }}{{ $all = append $all (printf "builder-%s" .name) }}{{ else }}{{ $all = append $all "builder" }}{{ end -}}
{{- $all = append $all "query" -}}
{{- range .Values.query.groups }}{{ $all = append $all (printf "query-%s" .name) }}{{ end -}}
{{- if .Values.events.enabled }}{{ $all = append $all "events" }}{{ end -}}
{{ join " " $all }}
{{- end -}}
{{- end }}

{{/* What a component does: that of a group is what others of its kind do. */}}
{{- define "adastream.role" -}}
{{ regexReplaceAll "^(builder|query)-.+$" .component "${1}" }}
{{- end }}

{{/*
The values of a workload, as YAML: those of a group are its role's with its own on top, so are those of what merges groups, which
has no cache. Helm's own merge takes no false and no 0 from above.
*/}}
{{- define "adastream.own" -}}
{{- $role := include "adastream.role" . -}}
{{- $own := deepCopy (default (dict) (index .root.Values $role)) -}}
{{- if and (eq .component "query") $own.groups -}}
{{- include "adastream.overlay" (dict "below" $own "above" $own.merging) -}}
{{- $_ := unset $own "cache" -}}
{{- end -}}
{{- range $own.groups -}}
{{- if eq $.component (printf "%s-%s" $role .name) }}{{ include "adastream.overlay" (dict "below" $own "above" .) }}{{ end -}}
{{- end -}}
{{- toYaml $own -}}
{{- end }}

{{/* Lays a map on top of another, which it changes. */}}
{{- define "adastream.overlay" -}}
{{- range $key, $value := .above -}}
{{- $was := index $.below $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $was) }}{{ include "adastream.overlay" (dict "below" $was "above" $value) }}
{{- else }}{{ $_ := set $.below $key $value }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Addresses of the pods of all groups, by shard: each is a replica of its own to those who merge, who ask another one if it does not answer. */}}
{{- define "adastream.peers" -}}
{{- $peers := list -}}
{{- range .Values.query.groups -}}
{{- $scope := dict "root" $ "component" (printf "query-%s" .name) -}}
{{- $name := include "adastream.componentName" $scope -}}
{{- range $shard := .shards -}}
{{- range $pod := until (int (include "adastream.own" $scope | fromYaml).replicas) -}}
{{- $peers = append $peers (printf "%v=%s://%s-%d.%s-ops.%s.svc.%s:8080" $shard (empty $.Values.query.tls.secret | ternary "http" "https") $name $pod $name $.Release.Namespace $.Values.clusterDomain) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $peers -}}
{{- end }}

{{/* The workload that answers searches. */}}
{{- define "adastream.server" -}}
{{ eq .Values.mode "standalone" | ternary "standalone" "query" }}
{{- end }}

{{- define "adastream.selectorLabels" -}}
app.kubernetes.io/name: {{ include "adastream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "adastream.labels" -}}
{{- with .root.Values.commonLabels }}
{{- toYaml . }}
{{ end }}
{{- with .labels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "adastream.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* The body of metadata of an object that belongs to one workload. The scope may have suffix, labels and annotations too. */}}
{{- define "adastream.metadata" -}}
name: {{ include "adastream.componentName" . }}{{ default "" .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "adastream.labels" . | nindent 2 }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- tpl (toYaml .) $.root | nindent 2 }}
{{- end }}
{{- end }}

{{/* YAML of the value of a workload, or, if it has none, of that for all pods; templates in it are rendered. The scope has key too. */}}
{{- define "adastream.podValue" -}}
{{- $values := index .root.Values (include "adastream.role" .) -}}
{{- if $values.groups }}{{ $values = include "adastream.own" . | fromYaml }}{{ end -}}
{{- $own := index $values .key -}}
{{- with kindIs "invalid" $own | ternary (index .root.Values .key) $own -}}
{{- tpl (toYaml .) $.root -}}
{{- end -}}
{{- end }}

{{/* The workload whose service account a pod has: the test does what ingestors and doctors do. */}}
{{- define "adastream.serviceAccountName" -}}
{{- $component := eq .component "test" | ternary (eq .root.Values.mode "standalone" | ternary "standalone" "ingestor") (include "adastream.role" .) -}}
{{- $account := (index .root.Values $component).serviceAccount -}}
{{- default ($account.create | ternary (include "adastream.componentName" (dict "root" .root "component" $component)) "default") $account.name -}}
{{- end }}

{{/* Ports of /livez, /readyz and /metrics; the same as the programs' defaults. */}}
{{- define "adastream.opsPort" -}}
{{ index (dict "ingestor" 9091 "builder" 9092 "query" 9093 "standalone" 9093 "events" 9094) (include "adastream.role" .) }}
{{- end }}

{{- define "adastream.opsScheme" -}}
{{- $config := default (dict) (include "adastream.own" . | fromYaml).config -}}
{{ default false (index $config "ops-tls") | ternary "https" "http" }}
{{- end }}

{{- define "adastream.topic" -}}
{{ default .Values.index.name .Values.index.topic }}
{{- end }}

{{- define "adastream.eventsTopic" -}}
{{ default (printf "%s-events" (include "adastream.topic" .)) .Values.events.topic }}
{{- end }}

{{/* The group that shares out the partitions, which lag is told by. */}}
{{- define "adastream.group" -}}
{{ default (printf "adastream-%s" .Values.index.name) .Values.ingestor.config.group }}
{{- end }}

{{/* Where the API is found in the cluster. */}}
{{- define "adastream.url" -}}
{{- $service := include "adastream.componentName" (dict "root" . "component" (include "adastream.server" .)) -}}
{{ empty .Values.query.tls.secret | ternary "http" "https" }}://{{ $service }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ .Values.query.service.port }}
{{- end }}

{{/* Not empty if there is a test: it needs a broker and a store that its pod can reach. */}}
{{- define "adastream.tested" -}}
{{- if and .Values.test.enabled .Values.kafka.brokers .Values.store.url }}true{{ end -}}
{{- end }}

{{/* The port of a URL, given or by its scheme. */}}
{{- define "adastream.portOf" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (eq $url.scheme "http" | ternary "80" "443") -}}
{{- end }}

{{- define "adastream.storePort" -}}
{{- $query := splitList "?" .Values.store.url | rest | join "?" -}}
{{- $endpoint := "https://aws" -}}
{{- range splitList "&" $query }}{{ if hasPrefix "endpoint=" . }}{{ $endpoint = trimPrefix "endpoint=" . }}{{ end }}{{ end -}}
{{- include "adastream.portOf" $endpoint -}}
{{- end }}

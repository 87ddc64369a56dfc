{{/*
Names, labels and values. Templates that concern one workload take a dict, the scope: root is the top-level scope,
component is ingestor, builder, query, standalone or test.
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

{{/* The workloads of the mode, separated by spaces. */}}
{{- define "adastream.workloads" -}}
{{ eq .Values.mode "standalone" | ternary "standalone" "ingestor builder query" }}
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
{{- $own := index (index .root.Values .component) .key -}}
{{- with kindIs "invalid" $own | ternary (index .root.Values .key) $own -}}
{{- tpl (toYaml .) $.root -}}
{{- end -}}
{{- end }}

{{/* The workload whose service account a pod has: the test does what ingestors and doctors do. */}}
{{- define "adastream.serviceAccountName" -}}
{{- $component := eq .component "test" | ternary (eq .root.Values.mode "standalone" | ternary "standalone" "ingestor") .component -}}
{{- $account := (index .root.Values $component).serviceAccount -}}
{{- default ($account.create | ternary (include "adastream.componentName" (dict "root" .root "component" $component)) "default") $account.name -}}
{{- end }}

{{/* Ports of /livez, /readyz and /metrics; the same as the programs' defaults. */}}
{{- define "adastream.opsPort" -}}
{{ index (dict "ingestor" 9091 "builder" 9092 "query" 9093 "standalone" 9093) .component }}
{{- end }}

{{- define "adastream.opsScheme" -}}
{{- $config := default (dict) (index .root.Values .component).config -}}
{{ default false (index $config "ops-tls") | ternary "https" "http" }}
{{- end }}

{{- define "adastream.topic" -}}
{{ default .Values.index.name .Values.index.topic }}
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

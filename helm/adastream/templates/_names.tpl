{{/*
Names and labels. Templates that concern one workload take a dict: root is the top-level scope, component is ingestor,
builder or query.
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

{{- define "adastream.selectorLabels" -}}
app.kubernetes.io/name: {{ include "adastream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "adastream.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "adastream.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* The body of metadata of an object that belongs to one workload. */}}
{{- define "adastream.metadata" -}}
name: {{ include "adastream.componentName" . }}{{ default "" .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "adastream.labels" . | nindent 2 }}
{{- end }}

{{- define "adastream.serviceAccountName" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- default ($account.create | ternary (include "adastream.componentName" .) "default") $account.name -}}
{{- end }}

{{/* Ports of /livez, /readyz and /metrics; the same as the programs' defaults. */}}
{{- define "adastream.opsPort" -}}
{{ index (dict "ingestor" 9091 "builder" 9092 "query" 9093) .component }}
{{- end }}

{{/* What the pods of the three workloads have in common; arguments as in _names.tpl. */}}

{{- define "adastream.podMetadata" -}}
{{- /* No label of the chart's version: an upgrade that leaves the pods as they are must not restart them. */ -}}
labels:
  {{- include "adastream.selectorLabels" . | nindent 2 }}
{{- with (index .root.Values .component).podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "adastream.podSettings" -}}
{{- $config := index .root.Values .component -}}
serviceAccountName: {{ include "adastream.serviceAccountName" . }}
automountServiceAccountToken: false
# Links would set variables that begin with ADASTREAM_, as flags do.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $config.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $config.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $config.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $config.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "adastream.containerSettings" -}}
{{- $image := .root.Values.image -}}
name: {{ .component }}
image: {{ printf "%s:%s" (required "image.repository: name an image whose PATH holds ingestor, builder and query" $image.repository) (default .root.Chart.AppVersion $image.tag) | quote }}
imagePullPolicy: {{ $image.pullPolicy }}
command: [{{ .component }}]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- with (index .root.Values .component).resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Users' arguments come first: of a flag that is given twice the last counts, and the ports must be those of the probes. */}}
{{- define "adastream.commonArgs" -}}
{{- range (index .root.Values .component).extraArgs }}
- {{ . | quote }}
{{- end }}
- {{ printf "--store=%s" (required "store.url: say where the index is: s3://bucket/prefix?endpoint=https://host:port" .root.Values.store.url) | quote }}
- --ops-listen=:{{ include "adastream.opsPort" . }}
- --log-level={{ .root.Values.log.level }}
- --log-format={{ .root.Values.log.format }}
{{- end }}

{{/* Without a limit of memory Kubernetes gives the node's, and the Go runtime keeps below that. */}}
{{- define "adastream.commonEnv" -}}
- name: GOMEMLIMIT
  valueFrom:
    resourceFieldRef:
      resource: limits.memory
{{- with .root.Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $.root.Values.tracing.sampledShare | quote }}
{{- end }}
{{- with .root.Values.store.existingSecret }}
{{- range $key := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $key }}
  valueFrom:
    secretKeyRef:
      name: {{ $.root.Values.store.existingSecret }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Liveness is the process alone: one that waits for broker or store is alive, and /readyz says what it waits for. A query
node stays ready while it has a generation to serve, fresh or stale.
*/}}
{{- define "adastream.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: ops
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 15
livenessProbe:
  httpGet:
    path: /livez
    port: ops
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: ops
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/* The cache may be lost at any time: an emptyDir, or a claim that goes away with its pod's ordinal. */}}
{{- define "adastream.cacheVolume" -}}
{{- $cache := (index .root.Values .component).cache -}}
{{- if not $cache.persistent }}
- name: cache
  emptyDir:
    sizeLimit: {{ $cache.size }}
{{- end }}
{{- end }}

{{- define "adastream.cacheClaim" -}}
{{- $cache := (index .root.Values .component).cache -}}
{{- if $cache.persistent }}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: Delete
  whenScaled: Delete
volumeClaimTemplates:
  - metadata:
      name: cache
      labels:
        {{- include "adastream.selectorLabels" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $cache.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ $cache.size }}
{{- end }}
{{- end }}

{{/* What a query node reads of secrets. Files of mounted secrets follow them, and nodes follow the files. */}}
{{- define "adastream.secretMounts" -}}
{{- range $name, $secret := dict "tokens" .tokensSecret "tls" .tls.secret "client-ca" .tls.clientCASecret }}
{{- if $secret }}
- name: {{ $name }}
  mountPath: /etc/adastream/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "adastream.secretVolumes" -}}
{{- $keys := dict "tokens" (list "tokens") "tls" (list "tls.crt" "tls.key") "client-ca" (list "ca.crt") }}
{{- range $name, $secret := dict "tokens" .tokensSecret "tls" .tls.secret "client-ca" .tls.clientCASecret }}
{{- if $secret }}
- name: {{ $name }}
  secret:
    secretName: {{ $secret }}
    items:
      {{- range index $keys $name }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

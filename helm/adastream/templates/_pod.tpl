{{/* The pods of all workloads and of the test; scopes as in _names.tpl. */}}

{{- define "adastream.podTemplate" -}}
metadata:
  {{- /* No label of the chart's version: an upgrade that leaves the pods as they are must not restart them. */}}
  labels:
    {{- with merge (dict) (include "adastream.podValue" (merge (dict "key" "podLabels") .) | fromYaml) .root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "adastream.selectorLabels" . | nindent 4 }}
  annotations:
    {{- with include "adastream.podValue" (merge (dict "key" "podAnnotations") .) }}
    {{- . | nindent 4 }}
    {{- end }}
    # Programs read the rest of their files only when they start.
    checksum/config: {{ include "adastream.configs" . | sha256sum }}
    kubectl.kubernetes.io/default-container: {{ .component }}
spec:
  {{- include "adastream.podSpec" . | nindent 2 }}
{{- end }}

{{/* All files that the containers of a pod read. */}}
{{- define "adastream.configs" -}}
{{ include "adastream.config" . }}
{{- if include "adastream.init" . }}
{{ include "adastream.config" (dict "root" .root "component" "init") }}
{{- end }}
{{- end }}

{{/* Not empty for pods that make the index before they start. */}}
{{- define "adastream.init" -}}
{{- if and .root.Values.index.create (eq .component "ingestor") }}true{{ end -}}
{{- end }}

{{- define "adastream.podSpec" -}}
serviceAccountName: {{ include "adastream.serviceAccountName" . }}
automountServiceAccountToken: false
# Links would set variables that begin with ADASTREAM_, as flags do.
enableServiceLinks: false
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- range $key := list "priorityClassName" "runtimeClassName" }}
{{- with include "adastream.podValue" (merge (dict "key" $key) $) }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with include "adastream.podValue" (merge (dict "key" $key) $) }}
{{ $key }}:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
{{- with include "adastream.spread" . }}
topologySpreadConstraints:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "adastream.grace" . }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- if eq .component "test" }}
restartPolicy: Never
{{- end }}
{{- with include "adastream.initContainers" . | trim }}
initContainers:
  {{- . | nindent 2 }}
{{- end }}
containers:
  - {{ include "adastream.container" . | nindent 4 | trim }}
  {{- with include "adastream.podValue" (merge (dict "key" "sidecars") .) }}
  {{- . | nindent 2 }}
  {{- end }}
volumes:
  {{- include "adastream.volumes" . | nindent 2 }}
{{- end }}

{{/* A constraint that names no pods is about those of its workload. */}}
{{- define "adastream.spread" -}}
{{- $own := dict "matchLabels" (include "adastream.selectorLabels" . | fromYaml) -}}
{{- $all := list -}}
{{- range include "adastream.podValue" (merge (dict "key" "topologySpreadConstraints") .) | fromYamlArray -}}
{{- $all = append $all (merge (dict) . (dict "labelSelector" $own)) -}}
{{- end -}}
{{- with $all }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* Sleep, so that no new queries are sent here; drain, so that running ones end; and some seconds to stop. */}}
{{- define "adastream.grace" -}}
{{- $config := include "adastream.own" . | fromYaml -}}
{{- if eq (include "adastream.role" .) "query" -}}
{{ add $config.preStopSeconds $config.drainSeconds 5 }}
{{- else if ne .component "test" -}}
{{ $config.terminationGracePeriodSeconds }}
{{- end -}}
{{- end }}

{{- define "adastream.image" -}}
{{- $image := .Values.image -}}
{{- $name := required "image.repository: name an image whose PATH holds adastream, ingestor, builder and query" $image.repository -}}
{{ $image.digest | empty | ternary (printf "%s:%s" $name (default .Chart.AppVersion $image.tag)) (printf "%s@%s" $name $image.digest) }}
{{- end }}

{{/* What all containers have that run a program of the image: the scope has name, its file of flags is called so, and command too. */}}
{{- define "adastream.program" -}}
name: {{ .name }}
image: {{ include "adastream.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: {{ toJson .command }}
args:
  - --config=/etc/adastream/config/{{ .name }}.yaml
  {{- range .extraArgs }}
  - {{ . | quote }}
  {{- end }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
{{- with (include "adastream.own" . | fromYaml).resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "adastream.env" . | nindent 2 }}
{{- with include "adastream.podValue" (merge (dict "key" "extraEnvFrom") .) }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "adastream.mounts" . | nindent 2 }}
{{- end }}

{{- define "adastream.container" -}}
{{- $role := include "adastream.role" . -}}
{{- $command := index (dict "standalone" (list "adastream" "standalone") "test" (list "adastream" "doctor" "--produce" "--search") "events" (list "adastream" "snapshot" "events")) $role | default (list $role) -}}
{{ include "adastream.program" (merge (dict "name" .component "command" $command "extraArgs" (index .root.Values $role).extraArgs) .) }}
{{- if ne .component "test" }}
ports:
  {{- if has $role (list "query" "standalone") }}
  - name: http
    containerPort: 8080
  {{- end }}
  - name: ops
    containerPort: {{ include "adastream.opsPort" . }}
{{ include "adastream.probes" . }}
{{- end }}
{{- if eq $role "query" }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .root.Values.query.preStopSeconds }}
{{- end }}
{{- end }}

{{- define "adastream.initContainers" -}}
{{- if include "adastream.init" . }}
- {{ include "adastream.program" (merge (dict "name" "init" "command" (list "adastream" "init")) .) | nindent 2 | trim }}
{{- end }}
{{- with include "adastream.podValue" (merge (dict "key" "initContainers") .) }}
{{ . }}
{{- end }}
{{- end }}

{{/* The chart's variables and the user's. Kubernetes takes the last of a name, Helm 4 fails on a second; both surprise. */}}
{{- define "adastream.env" -}}
{{- $values := .root.Values -}}
{{- $env := list -}}
{{- with $values.tracing.endpoint -}}
{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .) -}}
{{- $env = append $env (dict "name" "OTEL_TRACES_SAMPLER" "value" "parentbased_traceidratio") -}}
{{- $env = append $env (dict "name" "OTEL_TRACES_SAMPLER_ARG" "value" (toString $values.tracing.sampledShare)) -}}
{{- end -}}
{{- with $values.store.existingSecret -}}
{{- range $key := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" -}}
{{- $env = append $env (dict "name" $key "valueFrom" (dict "secretKeyRef" (dict "name" $values.store.existingSecret "key" $key))) -}}
{{- end -}}
{{- end -}}
{{- if and (ne $values.kafka.sasl.mechanism "none") (has .component (list "ingestor" "standalone" "test" "events")) -}}
{{- $secret := $values.kafka.sasl.existingSecret -}}
{{- with $values.kafka.sasl.user -}}
{{- $env = append $env (dict "name" "ADASTREAM_KAFKA_USER" "value" .) -}}
{{- else -}}
{{- $env = append $env (dict "name" "ADASTREAM_KAFKA_USER" "valueFrom" (dict "secretKeyRef" (dict "name" $secret "key" "user"))) -}}
{{- end -}}
{{- $env = append $env (dict "name" "ADASTREAM_KAFKA_PASSWORD" "valueFrom" (dict "secretKeyRef" (dict "name" $secret "key" "password"))) -}}
{{- end -}}
{{- $extra := include "adastream.podValue" (merge (dict "key" "extraEnv") .) | fromYamlArray -}}
{{- $env = concat $env $extra -}}
{{- include "adastream.distinct" (dict "what" (printf "%s: extraEnv" .component) "key" "name" "items" $env) -}}
{{- toYaml $env -}}
{{- end }}

{{/* Refuses items of which a key has the value of another's; what says which value of the chart has them. */}}
{{- define "adastream.distinct" -}}
{{- $seen := dict -}}
{{- range .items -}}
{{- $name := get . $.key -}}
{{- if hasKey $seen $name }}{{ fail (printf "%s: %s is there already" $.what $name) }}{{ end -}}
{{- $_ := set $seen $name true -}}
{{- end -}}
{{- end }}

{{/* The claim or directory of a workload, or nothing. */}}
{{- define "adastream.volume" -}}
{{- $config := include "adastream.own" . | fromYaml -}}
{{- with eq .component "standalone" | ternary $config.data $config.cache }}{{ toYaml . }}{{ end -}}
{{- end }}

{{- define "adastream.volumes" -}}
{{- $volumes := list -}}
{{- $items := list -}}
{{- range include "adastream.init" . | empty | ternary (list .component) (list .component "init") -}}
{{- $items = append $items (dict "key" (printf "%s.yaml" .) "path" (printf "%s.yaml" .)) -}}
{{- end -}}
{{- $volumes = append $volumes (dict "name" "config" "configMap" (dict "name" (printf "%s-config" (include "adastream.fullname" .root)) "items" $items)) -}}
{{- with include "adastream.volume" . | fromYaml -}}
{{- if eq .type "emptyDir" -}}
{{- $volumes = append $volumes (dict "name" "data" "emptyDir" (dict "sizeLimit" .size)) -}}
{{- else if eq .type "ephemeral" -}}
{{- $volumes = append $volumes (dict "name" "data" "ephemeral" (dict "volumeClaimTemplate" (include "adastream.claim" $ | fromYaml))) -}}
{{- end -}}
{{- end -}}
{{- $secrets := include "adastream.secrets" . | fromYaml -}}
{{- range $name := keys $secrets | sortAlpha -}}
{{- $secret := index $secrets $name -}}
{{- $files := list }}{{ range $secret.keys }}{{ $files = append $files (dict "key" . "path" .) }}{{ end -}}
{{- $volumes = append $volumes (dict "name" $name "secret" (dict "secretName" $secret.secret "items" $files)) -}}
{{- end -}}
{{- $volumes = concat $volumes (include "adastream.podValue" (merge (dict "key" "extraVolumes") .) | fromYamlArray) -}}
{{- include "adastream.distinct" (dict "what" (printf "%s: extraVolumes" .component) "key" "name" "items" $volumes) -}}
{{- toYaml $volumes -}}
{{- end }}

{{- define "adastream.mounts" -}}
{{- $mounts := list (dict "name" "config" "mountPath" "/etc/adastream/config" "readOnly" true) -}}
{{- if include "adastream.volume" . -}}
{{- $mounts = append $mounts (dict "name" "data" "mountPath" "/var/lib/adastream") -}}
{{- end -}}
{{- range $name := include "adastream.secrets" . | fromYaml | keys | sortAlpha -}}
{{- $mounts = append $mounts (dict "name" $name "mountPath" (printf "/etc/adastream/%s" $name) "readOnly" true) -}}
{{- end -}}
{{- $mounts = concat $mounts (include "adastream.podValue" (merge (dict "key" "extraVolumeMounts") .) | fromYamlArray) -}}
{{- include "adastream.distinct" (dict "what" (printf "%s: extraVolumeMounts" .component) "key" "mountPath" "items" $mounts) -}}
{{- toYaml $mounts -}}
{{- end }}

{{/* A claim: metadata and spec. */}}
{{- define "adastream.claim" -}}
{{- $volume := include "adastream.volume" . | fromYaml -}}
metadata:
  labels:
    {{- with merge (dict) $volume.labels .root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "adastream.selectorLabels" . | nindent 4 }}
  {{- with merge (dict) $volume.annotations .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with $volume.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  {{- with $volume.volumeAttributesClass }}
  volumeAttributesClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ $volume.size }}
{{- end }}

{{/* What a StatefulSet says of claims. A cache may be lost at any time and goes when its pod's ordinal does; data stay. */}}
{{- define "adastream.claims" -}}
{{- $volume := include "adastream.volume" . | fromYaml -}}
{{- if eq (default "" $volume.type) "persistent" -}}
{{- $claim := include "adastream.claim" . | fromYaml -}}
{{- $_ := set $claim.metadata "name" "data" -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: {{ eq .component "standalone" | ternary "Retain" "Delete" }}
  whenScaled: {{ eq .component "standalone" | ternary "Retain" "Delete" }}
volumeClaimTemplates:
  - {{ toYaml $claim | nindent 4 | trim }}
{{- end }}
{{- end }}

{{/*
Liveness is the process alone: one that waits for broker or store is alive, and /readyz says what it waits for. Startup
is no more than that: a node that waits for a first generation, or downloads one for an hour, must not be killed for it.
*/}}
{{- define "adastream.probes" -}}
{{- $ops := dict "port" "ops" -}}
{{- if eq (include "adastream.opsScheme" .) "https" }}{{ $_ := set $ops "scheme" "HTTPS" }}{{ end -}}
startupProbe:
  httpGet:
    {{- toYaml (merge (dict "path" "/livez") $ops) | nindent 4 }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 15
livenessProbe:
  httpGet:
    {{- toYaml (merge (dict "path" "/livez") $ops) | nindent 4 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    {{- toYaml (merge (dict "path" "/readyz") $ops) | nindent 4 }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

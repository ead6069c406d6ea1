{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* The table that every template walks: the components, and of each its
     command, its key in the values, and its ports. The first port is the one
     that probes and smoke tests ask. */}}
{{- define "xin.services" -}}
channel-gateway:
  command: gateway
  values: gateway
  ports: [{ name: http, port: 8080 }, { name: metrics, port: 9102 }]
ingestion-worker:
  command: worker
  values: worker
  headless: true # nobody balances over workers: each is asked by itself
  ports: [{ name: http, port: 9103 }]
orchestrator:
  command: orchestrator
  values: orchestrator
  ports: [{ name: http, port: 8000 }]
{{- end }}

{{/* What runs: these, or the one pod that holds them all. */}}
{{- define "xin.workloads" -}}
{{- if eq .Values.mode "serve" -}}
all-in-one:
  command: serve
  values: serve
  ports:
    - { name: orchestrator, port: 8000 }
    - { name: gateway, port: 8080 }
    - { name: gateway-metrics, port: 9102 }
    - { name: worker, port: 9103 }
{{- else -}}
{{ include "xin.services" . }}
{{- end }}
{{- end }}

{{/* (root, component of a Service) -> the component of the pods behind it. */}}
{{- define "xin.podsOf" -}}
{{- $root := first . -}}
{{- ternary "all-in-one" (last .) (eq $root.Values.mode "serve") -}}
{{- end }}

{{/* (root, key of the values) -> common values with the component's over them. */}}
{{- define "xin.values" -}}
{{- $root := first . -}}
{{- mergeOverwrite (deepCopy $root.Values.common) (deepCopy (index $root.Values (last .))) | toYaml -}}
{{- end }}

{{/* ---- names and labels ---- */}}

{{- define "xin.chart" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end }}

{{- define "xin.longname" -}}
{{- printf "%s-%s" .Release.Name (include "xin.chart" .) | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "xin.fullname" -}}
{{- $chart := include "xin.chart" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if and (eq .Values.nameStyle "short") (contains $chart .Release.Name) -}}
{{- .Release.Name -}}
{{- else -}}
{{- include "xin.longname" . -}}
{{- end }}
{{- end }}

{{/* (prefix, suffix) -> a name of at most 63 characters that keeps the suffix. */}}
{{- define "xin.join" -}}
{{- $suffix := last . -}}
{{- printf "%s-%s" (first . | trunc (int (sub 62 (len $suffix))) | trimSuffix "-") $suffix -}}
{{- end }}

{{/* (root, suffix) */}}
{{- define "xin.name" -}}
{{- include "xin.join" (list (include "xin.fullname" (first .)) (last .)) -}}
{{- end }}

{{/* (root, component) */}}
{{- define "xin.selectorLabels" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "xin.chart" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* (root, component) */}}
{{- define "xin.labels" -}}
{{- $root := first . -}}
{{ include "xin.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: xin-platform
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{/* (root, suffix, component) -> the metadata of an object. */}}
{{- define "xin.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "xin.name" (list $root (index . 1)) }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "xin.labels" (list $root (index . 2)) | nindent 2 }}
{{- end }}

{{/* ---- small decisions ---- */}}

{{- define "xin.image" -}}
{{- with .Values.image -}}
{{- $name := ternary .repository (printf "%s/%s" .registry .repository) (empty .registry) -}}
{{- ternary (printf "%s:%s" $name (.tag | default $.Chart.AppVersion)) (printf "%s@%s" $name .digest) (empty .digest) -}}
{{- end }}
{{- end }}

{{- define "xin.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "xin.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* values of a component -> how many replicas there are at least; 1 in serve. */}}
{{- define "xin.minReplicas" -}}
{{- if (.keda | default dict).enabled -}}{{ .keda.minReplicas }}
{{- else if .autoscaling.enabled -}}{{ .autoscaling.minReplicas }}
{{- else -}}{{ .replicas }}
{{- end }}
{{- end }}

{{/* (root, apiVersion/Kind) -> "yes" when an object of a custom kind is to be rendered. */}}
{{- define "xin.renders" -}}
{{- $root := first . -}}
{{- $kind := last . -}}
{{- $known := $root.Capabilities.APIVersions.Has $kind -}}
{{- if or $known (eq $root.Values.renderMode "alwaysRender") -}}
yes
{{- else if eq $root.Values.renderMode "failIfMissing" -}}
{{- fail (printf "the cluster does not know %s: install its operator, or set renderMode" $kind) -}}
{{- end }}
{{- end }}

{{/* ---- settings ---- */}}

{{/* (root, workload, its values) -> the settings of a component. Those that the
     chart decides come last. */}}
{{- define "xin.settings" -}}
{{- $root := index . 0 -}}
{{- $workload := index . 1 -}}
{{- $values := index . 2 -}}
{{- $own := dict
  "XIN_DATA_DIR" "/var/lib/xin"
  "XIN_LUA_DIR" "/etc/xin/lua"
  "XIN_DRAIN_DELAY_MS" (mul $values.drainDelaySeconds 1000)
  "XIN_DRAIN_MS" (mul $values.drainSeconds 1000) -}}
{{- if has $workload.command (list "serve" "orchestrator") -}}
{{- $_ := set $own "XIN_ORCHESTRATOR_LISTEN" "0.0.0.0:8000" -}}
{{- end }}
{{- if has $workload.command (list "serve" "gateway") -}}
{{- $_ := set $own "XIN_GATEWAY_LISTEN" "0.0.0.0:8080" -}}
{{- end }}
{{- if eq $workload.command "gateway" -}}
{{- $_ := set $own "XIN_ORCHESTRATOR_URL" (printf "http://%s:8000" (include "xin.name" (list $root "orchestrator"))) -}}
{{- end }}
{{- range $name, $value := merge $own $values.config $root.Values.config -}}
{{ $name }}: {{ ternary $value (int64 $value) (kindIs "string" $value) | toString | quote }}
{{ end }}
{{- end }}

{{/* (root, values of a component, name) -> one setting, "" where it is not set. */}}
{{- define "xin.setting" -}}
{{- $name := last . -}}
{{- get (index . 1).config $name | default (get (first .).Values.config $name) -}}
{{- end }}

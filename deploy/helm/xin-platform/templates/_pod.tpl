{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* What every pod of the release has, those of hooks and tests too. */}}
{{- define "xin.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}

{{- define "xin.containerBasics" -}}
image: {{ include "xin.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{/* (path, port, settings) */}}
{{- define "xin.probe" -}}
httpGet: { path: {{ index . 0 }}, port: {{ index . 1 }} }
{{ toYaml (index . 2) }}
{{- end }}

{{/* (root, component, mode) */}}
{{- define "xin.topologySpread" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: {{ index $ 2 }}
    labelSelector:
      matchLabels:
        {{- include "xin.selectorLabels" (list (index $ 0) (index $ 1)) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}

{{/* (root, component, workload, values) -> the spec of a component's pods. */}}
{{- define "xin.podSpec" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $workload := index . 2 -}}
{{- $v := index . 3 -}}
{{- $probed := (first $workload.ports).name -}}
serviceAccountName: {{ include "xin.serviceAccount" $root }}
{{ include "xin.podBasics" $root }}
terminationGracePeriodSeconds: {{ add $v.drainDelaySeconds $v.drainSeconds 10 }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
containers:
  - name: {{ $name }}
    {{- include "xin.containerBasics" $root | nindent 4 }}
    args: [{{ $workload.command }}]
    envFrom:
      - configMapRef: { name: {{ include "xin.name" (list $root (printf "%s-env" $name)) }} }
      {{- range $v.secretRefs }}
      - secretRef:
          name: {{ . }}
      {{- end }}
    env:
      - name: POD_NAME
        valueFrom: { fieldRef: { fieldPath: metadata.name } }
      - name: OTEL_RESOURCE_ATTRIBUTES
        value: {{ list "k8s.pod.name=$(POD_NAME)" (printf "k8s.namespace.name=%s" $root.Release.Namespace) (include "xin.setting" (list $root $v "OTEL_RESOURCE_ATTRIBUTES")) | compact | join "," | quote }}
      {{- with $v.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    ports:
      {{- range $workload.ports }}
      - { name: {{ .name }}, containerPort: {{ .port }} }
      {{- end }}
    startupProbe:
      {{- include "xin.probe" (list "/health/live" $probed $v.probes.startup) | nindent 6 }}
    livenessProbe:
      {{- include "xin.probe" (list "/health/live" $probed $v.probes.liveness) | nindent 6 }}
    readinessProbe:
      {{- include "xin.probe" (list "/health" $probed $v.probes.readiness) | nindent 6 }}
    resources:
      {{- toYaml $v.resources | nindent 6 }}
    volumeMounts:
      - { name: data, mountPath: /var/lib/xin }
      - { name: tmp, mountPath: /tmp }
      - { name: lua, mountPath: /etc/xin/lua, readOnly: true }
      {{- with $v.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: data
    {{- if dig "persistence" "enabled" false $v }}
    persistentVolumeClaim: { claimName: {{ include "xin.name" (list $root "data") }} }
    {{- else }}
    emptyDir: { sizeLimit: {{ $v.dataSize }} }
    {{- end }}
  - name: tmp
    emptyDir: { sizeLimit: 64Mi }
  - name: lua
    projected:
      sources:
        {{- include "xin.lua.sources" $root | trim | nindent 8 }}
  {{- with $v.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $v.topologySpread }}
{{ include "xin.topologySpread" (list $root $name .) }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $v $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

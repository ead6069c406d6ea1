{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- define "xin.lua.kinds" -}}
[brands, channels, guardrails, lib, pipelines, pipelines/steps]
{{- end }}

{{/* (root, kind) */}}
{{- define "xin.lua.name" -}}
{{- include "xin.name" (list (first .) (printf "lua-%s" (last . | replace "/" "-"))) -}}
{{- end }}

{{/* (root, kind) -> the chart's own files of a kind: name and text, as
     JSON (YAML's printer drops the last newline). An empty text in the values
     takes a bundled file out. */}}
{{- define "xin.lua.files" -}}
{{- $root := first . -}}
{{- $kind := last . -}}
{{- $files := dict -}}
{{- if not (hasKey $root.Values.lua.existingConfigMaps $kind) -}}
{{- if $root.Values.lua.bundled -}}
{{- range $path, $_ := $root.Files.Glob (printf "files/lua/%s/*.lua" $kind) -}}
{{- $_ := set $files (base $path) ($root.Files.Get $path) -}}
{{- end }}
{{- end }}
{{- range $file, $text := get $root.Values.lua.files $kind | default dict -}}
{{- if $text }}{{ $_ := set $files $file $text }}{{ else }}{{ $_ := unset $files $file }}{{ end -}}
{{- end }}
{{- end }}
{{- toJson $files -}}
{{- end }}

{{/* Sources of the projected volume. Keys are named one by one, for a
     ConfigMap's key holds no "/" and the folder is the kind. A key that a team
     took out of its own ConfigMap (optional) must not hold up the others. */}}
{{- define "xin.lua.sources" -}}
{{- range $kind := include "xin.lua.kinds" . | fromYamlArray }}
{{- $existing := get $.Values.lua.existingConfigMaps $kind }}
{{- $keys := include "xin.lua.files" (list $ $kind) | fromJson | keys }}
{{- with $existing }}
{{- $keys = .keys }}
{{- end }}
{{- if $keys }}
- configMap:
    name: {{ if $existing }}{{ $existing.name }}{{ else }}{{ include "xin.lua.name" (list $ $kind) }}{{ end }}
    {{- if $existing }}
    optional: true
    {{- end }}
    items:
      {{- range $keys | sortAlpha }}
      - { key: {{ . }}, path: {{ $kind }}/{{ . }} }
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

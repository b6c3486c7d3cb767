{{/* infermesh.yaml: what the chart knows, and over it what `config` says. */}}

{{- define "infermesh.config.common" -}}
{{- $fullname := include "infermesh.fullname" . -}}
{{- $suffix := printf "%s.svc:50051" .Release.Namespace -}}
server:
  listen_address: 0.0.0.0:50051
  health_address: 0.0.0.0:50052
  metrics_address: 0.0.0.0:9090
identity:
  internal_token_file: /run/secrets/infermesh/internal-token
redis:
  url: {{ include "infermesh.redisUrl" . | quote }}
  {{- if (include "infermesh.secretSources" . | fromYaml) | dig "redis-password" "" }}
  password_file: /run/secrets/infermesh/redis-password
  {{- end }}
targets:
  {{- range $name := include "infermesh.services" . | fromYaml | keys | sortAlpha }}
  {{ $name }}: dns:///{{ $fullname }}-{{ $name }}.{{ $suffix }}
  {{- end }}
resources_dir: null
resources_namespace: {{ .Release.Namespace }}
{{- if .Values.mtls.enabled }}
mtls:
  certificate_file: /run/secrets/infermesh-tls/tls.crt
  key_file: /run/secrets/infermesh-tls/tls.key
  ca_file: /run/secrets/infermesh-tls/ca.crt
{{- end }}
{{- if .Values.tracing.endpoint }}
telemetry:
  otlp_endpoint: {{ .Values.tracing.endpoint | quote }}
  trace_sample_ratio: {{ .Values.tracing.sampleRatio }}
{{- end }}
{{- end -}}

{{- define "infermesh.redisUrl" -}}
{{- if .Values.redis.enabled -}}
redis://{{ include "infermesh.fullname" . }}-redis.{{ .Release.Namespace }}.svc:6379/0
{{- else -}}
{{- .Values.externalRedis.url -}}
{{- end -}}
{{- end -}}

{{/* How a service reads secrets: (dict "root" $ "component" "router") */}}
{{- define "infermesh.config.secrets" -}}
secrets:
  kubernetes_namespace: {{ .root.Release.Namespace }}
  {{- with include "infermesh.vault" . | fromYaml }}
  vault:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Where Vault is for a service, as its settings have it; empty without one. */}}
{{- define "infermesh.vault" -}}
{{- $vault := .root.Values.externalVault -}}
{{- $name := printf "%s-%s" (include "infermesh.fullname" .root) .component -}}
{{- $ca := ternary "/run/secrets/infermesh-vault/ca.crt" nil (ne (include "infermesh.vaultCA" .root) "") -}}
{{- if $vault.enabled -}}
address: {{ trimSuffix "/" $vault.address | quote }}
auth:
  mount: {{ $vault.authMount | quote }}
  role: {{ index $vault (printf "%sRole" .component) | default $name | quote }}
  token_file: /run/secrets/infermesh-vault/token
kv_mount: {{ $vault.kvMount | quote }}
ca_file: {{ toJson $ca }}
timeout_ms: {{ int $vault.timeoutMs }}
{{- else if .root.Values.vault.enabled -}}
address: {{ ternary "https" "http" (ne .root.Values.vault.tls.mode "none") }}://{{ include "infermesh.fullname" .root }}-vault.{{ .root.Release.Namespace }}.svc:8200
auth:
  mount: kubernetes
  role: {{ $name | quote }}
  token_file: /run/secrets/infermesh-vault/token
kv_mount: infermesh
ca_file: {{ toJson $ca }}
timeout_ms: {{ int $vault.timeoutMs }}
{{- end -}}
{{- end -}}

{{/* {name, key} of the Secret with the CA of Vault's certificate; empty for those of the operating system. */}}
{{- define "infermesh.vaultCA" -}}
{{- with .Values.externalVault -}}
{{- if and .enabled .caSecret.name -}}
{{ toJson .caSecret }}
{{- end -}}
{{- end -}}
{{- if and .Values.vault.enabled (ne (.Values.vault.tls | default (dict "mode" "none")).mode "none") -}}
{{ dict "name" (.Values.vault.tls.existingSecret | default (printf "%s-vault-tls" (include "infermesh.fullname" .))) "key" "ca.crt" | toJson }}
{{- end -}}
{{- end -}}

{{- define "infermesh.config.router" -}}
{{ include "infermesh.config.secrets" (dict "root" . "component" "router") }}
{{- end -}}

{{- define "infermesh.config.governance" -}}
{{ include "infermesh.config.secrets" (dict "root" . "component" "governance") }}
{{- if .Values.operatorKey.enabled }}
bootstrap_operator_key_file: /run/secrets/infermesh/operator-key
{{- end }}
{{- end -}}

{{- define "infermesh.config.cache" -}}
{{- with include "infermesh.milvusUri" . }}
vectors:
  milvus:
    uri: {{ . | quote }}
    token_file: {{ ternary "/run/secrets/infermesh/milvus-token" nil (ne $.Values.externalMilvus.existingSecret.name "") | toJson }}
    timeout_ms: {{ int $.Values.externalMilvus.timeoutMs }}
    write_timeout_ms: {{ int $.Values.externalMilvus.writeTimeoutMs }}
{{- end }}
{{- if .Values.judge.model }}
semantic:
  judge:
    base_url: {{ include "infermesh.judgeUrl" . | quote }}
    model: {{ .Values.judge.model | quote }}
    api_key_file: {{ ternary "/run/secrets/infermesh/judge-key" nil (ne .Values.judge.existingSecret.name "") | toJson }}
{{- end }}
{{- end -}}

{{/* Where the judge is: given, or this mesh. */}}
{{- define "infermesh.judgeUrl" -}}
{{- with .Values.judge.url -}}
{{- trimSuffix "/" . -}}
{{- else -}}
http://{{ include "infermesh.fullname" . }}-envoy.{{ .Release.Namespace }}.svc:{{ int .Values.envoy.service.httpPort }}/v1
{{- end -}}
{{- end -}}

{{/* Where Milvus is; empty without one. */}}
{{- define "infermesh.milvusUri" -}}
{{- if .Values.milvus.enabled -}}
http://{{ include "infermesh.fullname" . }}-milvus.{{ .Release.Namespace }}.svc:19530
{{- else -}}
{{- trimSuffix "/" .Values.externalMilvus.uri -}}
{{- end -}}
{{- end -}}

{{- define "infermesh.config.analytics" -}}
{{- $database := .Values.externalDatabase -}}
{{- if not $database.enabled -}}
database_url: sqlite:////var/lib/infermesh/analytics.db
{{- else -}}
{{- with $database.url }}
database_url: {{ . | quote }}
{{- end }}
{{- if $database.existingSecret.passwordKey }}
database_password_file: /run/secrets/infermesh-database/password
{{- end }}
{{- end -}}
{{- end -}}

{{/* Sections `common` and the service's own, as JSON: (dict "root" $ "component" "router") */}}
{{- define "infermesh.config.sections" -}}
{{- $common := include "infermesh.config.common" .root | fromYaml -}}
{{- $own := include (printf "infermesh.config.%s" .component) .root | fromYaml -}}
{{- $common = mergeOverwrite $common (deepCopy .root.Values.config.common) -}}
{{- $own = mergeOverwrite $own (deepCopy (index .root.Values.config .component)) -}}
{{- dict "common" $common .component $own | toJson -}}
{{- end -}}

{{/* The whole file. */}}
{{- define "infermesh.config.file" -}}
{{- $root := . -}}
{{- $file := dict -}}
{{- range $name := include "infermesh.services" . | fromYaml | keys | sortAlpha -}}
{{- $file = mergeOverwrite $file (include "infermesh.config.sections" (dict "root" $root "component" $name) | fromJson) -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}

{{/* server settings of one service as they will be in force, as JSON: (dict "root" $ "component" "router") */}}
{{- define "infermesh.config.server" -}}
{{- $sections := include "infermesh.config.sections" . | fromJson -}}
{{- mergeOverwrite (deepCopy $sections.common.server) (index $sections .component | dig "server" dict) | toJson -}}
{{- end -}}

{{/* Secrets that the chart makes. A value is made once: what the cluster holds is used again by upgrades, and within one
     rendering every template sees the same one, kept beside the values. */}}

{{/* Base64 of a generated value.
     (dict "root" $ "values" <.Values of the chart that makes the Secret> "name" "secret" "key" "key" "kind" "token|apiKey") */}}
{{- define "infermesh.generated" -}}
{{- $memo := .values.generatedSecrets | default dict -}}
{{- $id := printf "%s/%s" .name .key -}}
{{- if not (hasKey $memo $id) -}}
  {{- $found := lookup "v1" "Secret" .root.Release.Namespace .name -}}
  {{- $value := "" -}}
  {{- if $found -}}
    {{- $value = get ($found.data | default dict) .key -}}
  {{- end -}}
  {{- if not $value -}}
    {{- $value = randAlphaNum 43 -}}
    {{- if eq .kind "apiKey" -}}
      {{- $value = printf "im_%s_%s" (randAlphaNum 32 | sha256sum | trunc 16) $value -}}
    {{- end -}}
    {{- $value = b64enc $value -}}
  {{- end -}}
  {{- $_ := set $memo $id $value -}}
  {{- $_ = set .values "generatedSecrets" $memo -}}
{{- end -}}
{{- get $memo $id -}}
{{- end -}}

{{/* A Secret of one generated value. As "infermesh.generated", with "component". */}}
{{- define "infermesh.generatedSecret" -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
  annotations:
    # Whatever was made with it must not lose it.
    helm.sh/resource-policy: keep
type: Opaque
data:
  {{ .key }}: {{ include "infermesh.generated" . }}
{{- end -}}

{{/* {name, key, generated} of a secret that may be given: (dict "given" .existingSecret "name" "default" "key" "key").
     A sub-chart that is off has no values: then nothing is given. */}}
{{- define "infermesh.secretSource" -}}
{{- $given := .given | default dict -}}
{{- if $given.name -}}
{{ dict "name" $given.name "key" $given.key "generated" false | toJson }}
{{- else -}}
{{ dict "name" .name "key" .key "generated" true | toJson }}
{{- end -}}
{{- end -}}

{{/* The files in /run/secrets/infermesh: name -> {name, key, generated, kind}. */}}
{{- define "infermesh.secretSources" -}}
{{- $fullname := include "infermesh.fullname" . -}}
internal-token: {{ include "infermesh.secretSource" (dict "given" .Values.internalToken.existingSecret "name" (printf "%s-internal-token" $fullname) "key" "internal-token") }}
{{- if .Values.operatorKey.enabled }}
operator-key: {{ include "infermesh.secretSource" (dict "given" .Values.operatorKey.existingSecret "name" (printf "%s-operator-key" $fullname) "key" "operator-key") }}
{{- end }}
{{- if .Values.redis.enabled }}
redis-password: {{ include "infermesh.redisPassword" (dict "root" . "values" .Values.redis) }}
{{- else if .Values.externalRedis.existingSecret.name }}
redis-password: {{ include "infermesh.secretSource" (dict "given" .Values.externalRedis.existingSecret) }}
{{- end }}
{{- if .Values.externalMilvus.existingSecret.name }}
milvus-token: {{ include "infermesh.secretSource" (dict "given" .Values.externalMilvus.existingSecret) }}
{{- end }}
{{- if .Values.judge.existingSecret.name }}
judge-key: {{ include "infermesh.secretSource" (dict "given" .Values.judge.existingSecret) }}
{{- end }}
{{- end -}}

{{/* The API key of the trial's tenant. */}}
{{- define "infermesh.trialKey" -}}
{{- $name := printf "%s-trial-key" (include "infermesh.fullname" .) -}}
{{- include "infermesh.secretSource" (dict "given" .Values.trial.existingSecret "name" $name "key" "api-key") -}}
{{- end -}}

{{/* Of sub-charts: (dict "root" $ "values" <values of the sub-chart>) and, for the model, the root of the chart. */}}
{{- define "infermesh.redisPassword" -}}
{{- $name := printf "%s-redis" (include "infermesh.fullname" .root) -}}
{{- include "infermesh.secretSource" (dict "given" .values.existingSecret "name" $name "key" "redis-password") -}}
{{- end -}}

{{- define "infermesh.modelKey" -}}
{{- include "infermesh.modelKeyOf" (dict "root" . "values" .Values.model) -}}
{{- end -}}

{{- define "infermesh.modelKeyOf" -}}
{{- $name := printf "%s-model" (include "infermesh.fullname" .root) -}}
{{- include "infermesh.secretSource" (dict "given" .values.existingSecret "name" $name "key" "api-key") -}}
{{- end -}}

{{/* Text that changes when one of the secrets does: (dict "root" $ "names" (list "internal-token")) */}}
{{- define "infermesh.secretText" -}}
{{- $sources := include "infermesh.secretSources" .root | fromYaml -}}
{{- $root := .root -}}
{{- range $name := .names -}}
{{- with get $sources $name -}}
{{ $name }}={{ .name }}/{{ .key }}
{{- if .generated -}}
{{- $values := ternary $root.Values.redis $root.Values (eq $name "redis-password") -}}
{{- $kind := ternary "apiKey" "token" (eq $name "operator-key") -}}
:{{ include "infermesh.generated" (dict "root" $root "values" $values "name" .name "key" .key "kind" $kind) }}
{{- end }};
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Source of a volume with the secrets as files: (dict "root" $ "names" (list "internal-token")) */}}
{{- define "infermesh.secretVolume" -}}
{{- $sources := include "infermesh.secretSources" .root | fromYaml -}}
projected:
  defaultMode: 0440
  sources:
    {{- range $name := .names }}
    {{- with get $sources $name }}
    - secret:
        name: {{ .name }}
        items:
          - {key: {{ .key }}, path: {{ $name }}}
    {{- end }}
    {{- end }}
{{- end -}}

{{/* Name of the trial's model, which clients use too. */}}
{{- define "infermesh.trialModel" -}}
smollm2-135m
{{- end -}}

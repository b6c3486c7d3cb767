{{/* Names, labels, images and security contexts. Sub-charts use these too: they need only .Release,
     .Chart and .Values.global. */}}

{{/* The release's name if it says what this is, else with the product's name. Short enough that
     "<fullname>-<component>" with a pod's suffix is a DNS label. */}}
{{- define "infermesh.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-infermesh" .Release.Name) (contains "infermesh" .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* (dict "root" $ "component" "router") */}}
{{- define "infermesh.selectorLabels" -}}
app.kubernetes.io/name: infermesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* (dict "root" $ "component" "router") */}}
{{- define "infermesh.labels" -}}
{{ include "infermesh.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: infermesh
{{- with .root.Values.global.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: (dict "root" $ "component" "router" "name" "optional suffix or whole name") */}}
{{- define "infermesh.metadata" -}}
name: {{ .name | default (printf "%s-%s" (include "infermesh.fullname" .root) .component) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "infermesh.labels" . | nindent 2 }}
{{- end -}}

{{/* Reference of an image: (dict "root" $ "image" .image). A tag that moves is refused. */}}
{{- define "infermesh.image" -}}
{{- $image := .image -}}
{{- $tag := $image.tag | default .root.Chart.AppVersion | toString -}}
{{- if and (not $image.digest) (eq $tag "latest") -}}
{{- fail (printf "image %s: the tag \"latest\" moves; name a version or a digest" $image.repository) -}}
{{- end -}}
{{- with .root.Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{- define "infermesh.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* PodSecurity "restricted", for every pod alike. */}}
{{- define "infermesh.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "infermesh.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

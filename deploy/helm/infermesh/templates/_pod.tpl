{{/* Parts of workloads that services, Envoy and the sub-charts share. The argument is a scope:
     (dict "root" $ "component" "router" "values" <values of the component>), with more where it is said. */}}

{{/* Where pods may run. */}}
{{- define "infermesh.scheduling" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Replicas apart from each other, where that is possible. */}}
{{- define "infermesh.spread" -}}
topologySpreadConstraints:
  {{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "infermesh.selectorLabels" $ | nindent 8 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* metadata of a pod; with "checksums", annotations by which a change replaces the pods. */}}
{{- define "infermesh.podMetadata" -}}
labels:
  {{- include "infermesh.labels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .checksums .values.podAnnotations }}
annotations:
  {{- with .checksums }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "infermesh.serviceAccountName" -}}
{{- .values.serviceAccount.name | default (printf "%s-%s" (include "infermesh.fullname" .root) .component) -}}
{{- end -}}

{{- define "infermesh.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "infermesh.metadata" (dict "root" .root "component" .component "name" (include "infermesh.serviceAccountName" .)) | nindent 2 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# Pods that talk to the API server ask for a token themselves.
automountServiceAccountToken: false
{{- end -}}

{{/* Whether there may be more than one pod. */}}
{{- define "infermesh.isReplicated" -}}
{{- gt (ternary .values.autoscaling.minReplicas .values.replicas .values.autoscaling.enabled | int) 1 -}}
{{- end -}}

{{- define "infermesh.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready protects nothing.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "infermesh.selectorLabels" . | nindent 6 }}
{{- end -}}

{{/* With "workload", the kind, and "inFlight", the metric of requests in flight. */}}
{{- define "infermesh.autoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .workload }}
    name: {{ include "infermesh.fullname" .root }}-{{ .component }}
  {{- with .values.autoscaling }}
  minReplicas: {{ int .minReplicas }}
  maxReplicas: {{ int .maxReplicas }}
  metrics:
    {{- with .targetCPUUtilization }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ int . }}
    {{- end }}
    {{- with .targetRequestsInFlight }}
    - type: Pods
      pods:
        metric:
          name: {{ $.inFlight }}
        target:
          type: AverageValue
          averageValue: {{ int . | quote }}
    {{- end }}
  {{- with .behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* What belongs to every workload of ours besides itself and its Service. */}}
{{- define "infermesh.attendants" -}}
{{- if .values.serviceAccount.create }}
---
{{ include "infermesh.serviceAccount" . }}
{{- end }}
{{- if .values.autoscaling.enabled }}
---
{{ include "infermesh.autoscaler" . }}
{{- end }}
{{- if and .values.podDisruptionBudget.enabled (eq (include "infermesh.isReplicated" .) "true") }}
---
{{ include "infermesh.disruptionBudget" . }}
{{- end }}
{{- end -}}

{{/* One alert: (dict "values" <prometheusRule> "name" "X" "severity" "warning" "for" "5m" "expr" "..." "summary" "..." "description" "...") */}}
{{- define "infermesh.alert" -}}
- alert: {{ .name }}
  expr: {{ .expr | quote }}
  {{- with .for }}
  for: {{ . }}
  {{- end }}
  labels:
    severity: {{ .severity }}
    {{- with .values.alertLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    summary: {{ .summary | quote }}
    description: {{ .description | quote }}
{{- end -}}

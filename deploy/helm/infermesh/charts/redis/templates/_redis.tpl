{{- define "infermesh.redis.config" -}}
bind * -::*
port 6379
dir /data
appendonly {{ ternary "yes" "no" .Values.persistence.enabled }}
appendfsync everysec
save ""
maxmemory {{ .Values.maxMemory }}
# Budgets and keys are never given up to make room.
maxmemory-policy noeviction
daemonize no
{{- end -}}

{{- define "infermesh.redis.probes" -}}
{{- $ask := "REDISCLI_AUTH=$(cat /run/secrets/infermesh/redis-password) redis-cli ping" -}}
startupProbe:
  # Answers also while it reads its file.
  tcpSocket: {port: redis}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  exec:
    command: [sh, -c, {{ $ask | quote }}]
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  exec:
    command: [sh, -c, {{ printf "%s | grep -q PONG" $ask | quote }}]
  periodSeconds: 5
  timeoutSeconds: 3
{{- end -}}

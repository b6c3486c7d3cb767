{{/* The edge. */}}

{{/* Whether there is TLS at the edge: "true" or "false". */}}
{{- define "infermesh.envoy.hasTls" -}}
{{- ne .Values.envoy.tls.mode "none" -}}
{{- end -}}

{{/* Name of the port that serves: http, or https with TLS. */}}
{{- define "infermesh.envoy.port" -}}
{{- ternary "https" "http" (eq (include "infermesh.envoy.hasTls" .) "true") -}}
{{- end -}}

{{/* Secret with the edge's certificate. */}}
{{- define "infermesh.envoy.certificate" -}}
{{- if eq .Values.envoy.tls.mode "existingSecret" -}}
{{- .Values.envoy.tls.existingSecret -}}
{{- else -}}
{{- include "infermesh.fullname" . }}-envoy-tls
{{- end -}}
{{- end -}}

{{/* Parameters of the bootstrap: what the chart knows, and over it `envoy.parameters`. */}}
{{- define "infermesh.envoy.parameters" -}}
{{- $derived := include "infermesh.envoy.derived" . | fromYaml -}}
{{- mergeOverwrite $derived (deepCopy .Values.envoy.parameters) | toYaml -}}
{{- end -}}

{{- define "infermesh.envoy.derived" -}}
listen_address: 0.0.0.0
listen_port: {{ ternary 8443 8080 (eq (include "infermesh.envoy.hasTls" .) "true") }}
admin_address: 127.0.0.1
admin_port: 9901
stats_address: 0.0.0.0
stats_port: 9902
cluster_type: STRICT_DNS
{{- range $name := include "infermesh.services" . | fromYaml | keys | sortAlpha }}
{{ $name }}_host: {{ include "infermesh.fullname" $ }}-{{ $name }}.{{ $.Release.Namespace }}.svc
{{ $name }}_port: 50051
{{- end }}
access_log_path: /dev/stdout
descriptor_path: /usr/share/infermesh/infermesh.binpb
{{- if eq (include "infermesh.envoy.hasTls" .) "true" }}
tls_cert_path: /run/secrets/infermesh-edge-tls/tls.crt
tls_key_path: /run/secrets/infermesh-edge-tls/tls.key
{{- end }}
{{- if .Values.mtls.enabled }}
mesh_cert_path: /run/secrets/infermesh-tls/tls.crt
mesh_key_path: /run/secrets/infermesh-tls/tls.key
mesh_ca_path: /run/secrets/infermesh-tls/ca.crt
{{- end }}
{{- with include "infermesh.envoy.heap" . }}
max_heap_bytes: {{ . }}
{{- end }}
{{- with .Values.tracing.endpoint }}
{{- $host := (urlParse .).host }}
otlp_host: {{ regexReplaceAll ":[0-9]+$" $host "" | quote }}
otlp_port: {{ include "infermesh.urlPort" (dict "url" . "default" 4317) }}
trace_sampling_percent: {{ mulf $.Values.tracing.sampleRatio 100 }}
{{- end }}
{{- end -}}

{{/* Four fifths of the container's memory limit, in bytes: beyond, Envoy refuses requests rather than be killed with those it has.
     Empty without a limit that can be read. */}}
{{- define "infermesh.envoy.heap" -}}
{{- $values := include "infermesh.componentValues" (dict "root" . "component" "envoy") | fromJson -}}
{{- $limit := dig "limits" "memory" "" $values.resources | toString -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- if regexMatch "^[0-9]+(Ki|Mi|Gi)$" $limit -}}
{{- $bytes := mul (regexFind "^[0-9]+" $limit) (get $units (regexFind "[KMG]i$" $limit)) -}}
{{- div (mul $bytes 4) 5 -}}
{{- end -}}
{{- end -}}

{{/* Port of a URL: (dict "url" "http://host:1" "default" 80) */}}
{{- define "infermesh.urlPort" -}}
{{- regexFind ":[0-9]+$" (urlParse .url).host | trimPrefix ":" | default (toString .default) -}}
{{- end -}}

{{/* Names in the edge's certificate, as JSON: those stated and those of the Service. A public issuer cannot vouch for the latter, so
     that cert-manager is asked for the stated ones only, where there are any. */}}
{{- define "infermesh.envoy.names" -}}
{{- $own := include "infermesh.dnsNames" (dict "root" . "component" "envoy") | fromJsonArray -}}
{{- $stated := .Values.envoy.tls.dnsNames -}}
{{- if and $stated (eq .Values.envoy.tls.mode "certManager") -}}
{{- toJson $stated -}}
{{- else -}}
{{- concat $stated $own | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{- define "infermesh.envoy.pod" -}}
{{- $tls := eq (include "infermesh.envoy.hasTls" .root) "true" -}}
{{- $image := include "infermesh.image" (dict "root" .root "image" .values.image) -}}
{{- include "infermesh.imagePullSecrets" .root }}
serviceAccountName: {{ include "infermesh.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "infermesh.podSecurityContext" . | nindent 2 }}
# Draining, answers under way, ending.
terminationGracePeriodSeconds: {{ add .values.drainSeconds .values.stopGraceSeconds 10 }}
{{- include "infermesh.scheduling" . }}
{{ include "infermesh.spread" . }}
initContainers:
  - name: bootstrap
    image: {{ $image }}
    imagePullPolicy: {{ .values.image.pullPolicy }}
    command: [python, -m, infermesh_envoy, /etc/infermesh-envoy, --to, /bootstrap]
    resources:
      {{- toYaml .values.resources | nindent 6 }}
    securityContext:
      {{- include "infermesh.containerSecurityContext" . | nindent 6 }}
    volumeMounts:
      - {name: parameters, mountPath: /etc/infermesh-envoy, readOnly: true}
      - {name: bootstrap, mountPath: /bootstrap}
containers:
  - name: envoy
    image: {{ $image }}
    imagePullPolicy: {{ .values.image.pullPolicy }}
    command: [envoy]
    args: [-c, /bootstrap/bootstrap.yaml, --concurrency, {{ .values.concurrency | quote }}, --drain-time-s, {{ .values.drainSeconds | quote }}, --disable-hot-restart, --log-level, warning]
    {{- with .values.extraEnv }}
    env:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
      - name: {{ include "infermesh.envoy.port" .root }}
        containerPort: {{ ternary 8443 8080 $tls }}
      - name: stats
        containerPort: 9902
    startupProbe:
      httpGet: {path: /ready, port: stats}
      periodSeconds: 1
      failureThreshold: 60
    livenessProbe:
      # Not /ready, which fails while Envoy drains.
      tcpSocket: {port: stats}
      periodSeconds: 10
      timeoutSeconds: 5
    readinessProbe:
      httpGet: {path: /ready, port: stats}
      periodSeconds: 5
      timeoutSeconds: 3
      failureThreshold: 2
    lifecycle:
      preStop:
        exec:
          command:
            - python
            - -m
            - infermesh_envoy
            - drain
            - --admin=127.0.0.1:9901
            - --notice-seconds={{ .values.drainSeconds }}
            - --seconds={{ add .values.drainSeconds .values.stopGraceSeconds }}
    resources:
      {{- toYaml .values.resources | nindent 6 }}
    securityContext:
      {{- include "infermesh.containerSecurityContext" . | nindent 6 }}
    volumeMounts:
      - {name: bootstrap, mountPath: /bootstrap, readOnly: true}
      - {name: tmp, mountPath: /tmp}
      {{- if $tls }}
      - {name: edge-tls, mountPath: /run/secrets/infermesh-edge-tls, readOnly: true}
      {{- end }}
      {{- if .root.Values.mtls.enabled }}
      - {name: mtls, mountPath: /run/secrets/infermesh-tls, readOnly: true}
      {{- end }}
      {{- with .values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: parameters
    configMap:
      name: {{ include "infermesh.fullname" .root }}-envoy
  - name: bootstrap
    emptyDir:
      sizeLimit: 4Mi
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if $tls }}
  - name: edge-tls
    secret:
      secretName: {{ include "infermesh.envoy.certificate" .root }}
      defaultMode: 0440
      items:
        - {key: tls.crt, path: tls.crt}
        - {key: tls.key, path: tls.key}
  {{- end }}
  {{- if .root.Values.mtls.enabled }}
  {{- include "infermesh.mtls.volume" . | nindent 2 }}
  {{- end }}
  {{- with .values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "infermesh.envoy.service" -}}
{{- $service := .values.service -}}
{{- $port := include "infermesh.envoy.port" .root -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
  {{- with $service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $service.type }}
  {{- if eq $service.type "LoadBalancer" }}
  {{- with $service.loadBalancerClass }}
  loadBalancerClass: {{ . }}
  {{- end }}
  {{- with $service.loadBalancerSourceRanges }}
  loadBalancerSourceRanges: {{ . | toJson }}
  {{- end }}
  {{- end }}
  {{- if and $service.externalTrafficPolicy (ne $service.type "ClusterIP") }}
  externalTrafficPolicy: {{ $service.externalTrafficPolicy }}
  {{- end }}
  selector:
    {{- include "infermesh.selectorLabels" . | nindent 4 }}
  ports:
    - name: {{ $port }}
      port: {{ index $service (printf "%sPort" $port) | int }}
      targetPort: {{ $port }}
      {{- $nodePort := index $service (printf "%sNodePort" $port) | int }}
      {{- if and $nodePort (ne $service.type "ClusterIP") }}
      nodePort: {{ $nodePort }}
      {{- end }}
{{- end -}}

{{/* URL of the edge inside the cluster. */}}
{{- define "infermesh.envoy.url" -}}
{{- $port := include "infermesh.envoy.port" . -}}
{{ $port }}://{{ include "infermesh.fullname" . }}-envoy.{{ .Release.Namespace }}.svc:{{ index .Values.envoy.service (printf "%sPort" $port) }}
{{- end -}}

{{/* Who speaks to whom. `calls` of each part, here and in _services.tpl, makes the rules of both ends. */}}

{{/* Every part that opens connections: name -> parts it calls. */}}
{{- define "infermesh.calls" -}}
{{- range $name, $facts := include "infermesh.services" . | fromYaml }}
{{ $name }}: {{ ternary (append $facts.calls "envoy") $facts.calls (and (has "judge" $facts.calls) (eq (include "infermesh.judgeIsThisMesh" $) "true")) | toJson }}
{{- end }}
envoy: {{ concat (include "infermesh.services" . | fromYaml | keys | sortAlpha) (list "collector") | toJson }}
{{- if .Values.vault.enabled }}
vault: [api-server]
{{- end }}
{{- if .Values.test.enabled }}
test: [envoy]
{{- end }}
{{- end -}}

{{/* Ports on which each part of the release listens for the others: name -> ports. */}}
{{- define "infermesh.listens" -}}
{{- range $name := include "infermesh.services" . | fromYaml | keys | sortAlpha }}
{{ $name }}: [50051]
{{- end }}
envoy: [{{ ternary 8443 8080 (eq (include "infermesh.envoy.hasTls" .) "true") }}]
{{- if .Values.redis.enabled }}
redis: [6379]
{{- end }}
{{- if .Values.milvus.enabled }}
milvus: [19530]
{{- end }}
{{- if .Values.vault.enabled }}
vault: [8200]
{{- end }}
{{- if .Values.model.enabled }}
model: [8080]
{{- end }}
{{- end -}}

{{/* Rules of one part: (dict "root" $ "component" "router" "extra" <networkPolicy of its values>) */}}
{{- define "infermesh.networkPolicy" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $calls := include "infermesh.calls" .root | fromYaml -}}
{{- $listens := include "infermesh.listens" .root | fromYaml -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "infermesh.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- $callers := list }}
    {{- range $caller, $callees := $calls }}
    {{- if has $component $callees }}
    {{- $callers = append $callers $caller }}
    {{- end }}
    {{- end }}
    {{- if and $callers (hasKey $listens $component) }}
    - from:
        {{- range sortAlpha $callers }}
        - podSelector:
            matchLabels:
              {{- include "infermesh.selectorLabels" (dict "root" $root "component" .) | nindent 14 }}
        {{- end }}
      ports:
        {{- include "infermesh.tcp" (get $listens $component) | indent 8 }}
    {{- end }}
    {{- if eq $component "envoy" }}
    - {{ with .root.Values.networkPolicy.clients }}from: {{ toJson . }}
      {{ end }}ports:
        {{- include "infermesh.tcp" (get $listens $component) | indent 8 }}
    {{- end }}
    {{- $metrics := ternary 9902 9090 (eq $component "envoy") }}
    {{- if and .root.Values.networkPolicy.prometheus (or (eq $component "envoy") (hasKey (include "infermesh.services" . | fromYaml) $component)) }}
    - from:
        {{- toYaml .root.Values.networkPolicy.prometheus | nindent 8 }}
      ports:
        {{- include "infermesh.tcp" (list $metrics) | indent 8 }}
    {{- end }}
    {{- with (.extra | default dict).extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    {{- with get $calls $component }}
    - to:
        {{- toYaml $root.Values.networkPolicy.dns | nindent 8 }}
      ports:
        - {port: 53, protocol: UDP}
        - {port: 53, protocol: TCP}
    {{- range . }}
    {{- if hasKey $listens . }}
    - to:
        - podSelector:
            matchLabels:
              {{- include "infermesh.selectorLabels" (dict "root" $root "component" .) | nindent 14 }}
      ports:
        {{- include "infermesh.tcp" (get $listens .) | indent 8 }}
    {{- else }}
    {{- with include (printf "infermesh.egress.%s" .) $root }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- with (.extra | default dict).extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "infermesh.tcp" -}}
{{- range . }}
- {port: {{ int . }}, protocol: TCP}
{{- end }}
{{- end -}}

{{/* A rule for addresses: (dict "cidrs" (list) "except" (list) "ports" (list)); no cidrs: any. */}}
{{- define "infermesh.egress.addresses" -}}
{{- $except := .except -}}
{{- $cidrs := .cidrs -}}
{{- if and $except (not $cidrs) -}}
{{- $cidrs = list "0.0.0.0/0" "::/0" -}}
{{- end -}}
- {{ if $cidrs }}to:
    {{- range $cidr := $cidrs }}
    - ipBlock:
        cidr: {{ $cidr }}
        {{- $inside := list }}
        {{- range $except }}
        {{- if eq (contains ":" .) (contains ":" $cidr) }}
        {{- $inside = append $inside . }}
        {{- end }}
        {{- end }}
        {{- with $inside }}
        except: {{ toJson . }}
        {{- end }}
    {{- end }}
  {{ end }}ports:
    {{- include "infermesh.tcp" .ports | indent 4 }}
{{- end -}}

{{- define "infermesh.egress.providers" -}}
{{- include "infermesh.egress.addresses" .Values.networkPolicy.providers -}}
{{- end -}}

{{/* The Service `kubernetes` too: some networks apply rules before they resolve it. */}}
{{- define "infermesh.egress.api-server" -}}
{{- $given := .Values.networkPolicy.apiServer -}}
{{- $slice := dict -}}
{{- if and $given.discover (not $given.cidrs) -}}
  {{- $slice = lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes" | default dict -}}
{{- end -}}
{{- if $slice.endpoints -}}
  {{- $cidrs := list -}}
  {{- range $slice.endpoints -}}
    {{- range .addresses -}}
      {{- $cidrs = append $cidrs (printf "%s/%s" . (ternary "128" "32" (contains ":" .))) -}}
    {{- end -}}
  {{- end -}}
  {{- $ports := list -}}
  {{- range $slice.ports -}}
    {{- $ports = append $ports .port -}}
  {{- end -}}
  {{- include "infermesh.egress.addresses" (dict "cidrs" (sortAlpha $cidrs) "ports" $ports) -}}
  {{- $service := (lookup "v1" "Service" "default" "kubernetes").spec | default dict -}}
  {{- if $service.clusterIP }}
{{ include "infermesh.egress.addresses" (dict "cidrs" (list (printf "%s/%s" $service.clusterIP (ternary "128" "32" (contains ":" $service.clusterIP)))) "ports" (list 443)) }}
  {{- end -}}
{{- else -}}
  {{- include "infermesh.egress.addresses" $given -}}
{{- end -}}
{{- end -}}

{{- define "infermesh.egress.redis" -}}
{{- $port := include "infermesh.urlPort" (dict "url" .Values.externalRedis.url "default" 6379) -}}
{{- include "infermesh.egress.addresses" (dict "cidrs" .Values.externalRedis.cidrs "ports" (list $port)) -}}
{{- end -}}

{{- define "infermesh.egress.milvus" -}}
{{- with .Values.externalMilvus.uri -}}
{{- $default := ternary 443 80 (hasPrefix "https:" .) -}}
{{- $port := include "infermesh.urlPort" (dict "url" . "default" $default) -}}
{{- include "infermesh.egress.addresses" (dict "cidrs" $.Values.externalMilvus.cidrs "ports" (list $port)) -}}
{{- end -}}
{{- end -}}

{{/* A judge outside of the release. */}}
{{- define "infermesh.egress.judge" -}}
{{- if .Values.judge.model -}}
{{- with .Values.judge.url -}}
{{- $default := ternary 443 80 (hasPrefix "https:" .) -}}
{{- $port := include "infermesh.urlPort" (dict "url" . "default" $default) -}}
{{- include "infermesh.egress.addresses" (dict "cidrs" $.Values.judge.cidrs "ports" (list $port)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "infermesh.judgeIsThisMesh" -}}
{{- and (ne .Values.judge.model "") (eq .Values.judge.url "") -}}
{{- end -}}

{{- define "infermesh.egress.database" -}}
{{- if .Values.externalDatabase.enabled -}}
{{- include "infermesh.egress.addresses" (dict "cidrs" .Values.externalDatabase.cidrs "ports" (list .Values.externalDatabase.port)) -}}
{{- end -}}
{{- end -}}

{{- define "infermesh.egress.vault" -}}
{{- with .Values.externalVault -}}
{{- if .enabled -}}
{{- $default := ternary 443 80 (hasPrefix "https:" .address) -}}
{{- $port := include "infermesh.urlPort" (dict "url" .address "default" $default) -}}
{{- include "infermesh.egress.addresses" (dict "cidrs" .cidrs "ports" (list $port)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The embedded model when it does not run. */}}
{{- define "infermesh.egress.model" -}}
{{- end -}}

{{- define "infermesh.egress.collector" -}}
{{- with .Values.tracing.endpoint -}}
{{- $port := include "infermesh.urlPort" (dict "url" . "default" 4317) -}}
- {{ with $.Values.tracing.to }}to:
    {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    {{- include "infermesh.tcp" (list $port) | indent 4 }}
{{- end -}}
{{- end -}}

{{/* Everything one service of the mesh consists of. */}}

{{/* All of its objects: (dict "root" $ "component" "router") */}}
{{- define "infermesh.service" -}}
{{- $values := include "infermesh.componentValues" . | fromJson -}}
{{- $facts := include "infermesh.facts" . | fromJson -}}
{{- $stateful := and $facts.data (not .root.Values.externalDatabase.enabled) -}}
{{- $scope := dict "root" .root "component" .component "values" $values "facts" $facts -}}
{{- $_ := set $scope "workload" (ternary "StatefulSet" "Deployment" (default false $stateful)) -}}
{{- $_ = set $scope "inFlight" "infermesh_rpc_in_flight" -}}
{{ include "infermesh.service.workload" $scope }}
---
{{ include "infermesh.service.service" $scope }}
{{- include "infermesh.attendants" $scope }}
{{- if $facts.resources }}
---
{{ include "infermesh.service.rbac" $scope }}
{{- end }}
{{- end -}}

{{- define "infermesh.service.workload" -}}
apiVersion: apps/v1
kind: {{ .workload }}
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
spec:
  {{- if not .values.autoscaling.enabled }}
  replicas: {{ int .values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- include "infermesh.selectorLabels" . | nindent 6 }}
  {{- if eq .workload "StatefulSet" }}
  serviceName: {{ include "infermesh.fullname" .root }}-{{ .component }}
  {{- else }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  {{- end }}
  template:
    metadata:
      {{- $checksums := include "infermesh.service.checksums" . | fromYaml }}
      {{- include "infermesh.podMetadata" (merge (dict "checksums" $checksums) .) | nindent 6 }}
    spec:
      {{- include "infermesh.service.pod" . | nindent 6 }}
  {{- if eq .workload "StatefulSet" }}
  {{- include "infermesh.service.claims" . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* By these a change of settings or of a generated secret replaces the pods; one of another service's settings does not. */}}
{{- define "infermesh.service.checksums" -}}
checksum/config: {{ include "infermesh.config.sections" . | sha256sum }}
checksum/secrets: {{ include "infermesh.secretText" (dict "root" .root "names" .facts.secrets) | sha256sum }}
{{- end -}}

{{- define "infermesh.service.pod" -}}
{{- $server := include "infermesh.config.server" . | fromJson -}}
{{- $rest := .root.Values.termination -}}
{{- include "infermesh.imagePullSecrets" .root }}
serviceAccountName: {{ include "infermesh.serviceAccountName" . }}
automountServiceAccountToken: {{ default false .facts.resources }}
enableServiceLinks: false
securityContext:
  {{- include "infermesh.podSecurityContext" . | nindent 2 }}
# Leaving the DNS, server.drain_ms, server.stop_grace_ms, closing.
terminationGracePeriodSeconds: {{ add $rest.preStopSeconds (ceil (divf (addf $server.drain_ms $server.stop_grace_ms) 1000)) $rest.closingSeconds }}
{{- include "infermesh.scheduling" . }}
{{ include "infermesh.spread" . }}
{{- if .root.Values.development.enabled }}
initContainers:
  - name: development
    image: {{ include "infermesh.image" (dict "root" .root "image" .values.image) }}
    imagePullPolicy: {{ .values.image.pullPolicy }}
    command: [sh, -c, cp -r /venv/lib/python3.11/site-packages/infermesh* /development/]
    resources:
      {{- toYaml .values.resources | nindent 6 }}
    securityContext:
      {{- include "infermesh.containerSecurityContext" . | nindent 6 }}
    volumeMounts:
      - name: development
        mountPath: /development
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ include "infermesh.image" (dict "root" .root "image" .values.image) }}
    imagePullPolicy: {{ .values.image.pullPolicy }}
    command: [python, -m, infermesh_{{ .component }}]
    env:
      - name: INFERMESH_CONFIG
        # All files in it, in the order of their names.
        value: /etc/infermesh
      - name: HOME
        value: /tmp
      {{- if .root.Values.development.enabled }}
      - name: PYTHONPATH
        value: /development
      {{- end }}
      {{- include "infermesh.service.databaseEnv" . | indent 6 }}
      {{- with .values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    ports:
      - name: grpc
        containerPort: 50051
      - name: health
        containerPort: 50052
      - name: metrics
        containerPort: 9090
    {{- include "infermesh.service.probes" . | nindent 4 }}
    lifecycle:
      preStop:
        sleep:
          seconds: {{ $rest.preStopSeconds }}
    resources:
      {{- toYaml .values.resources | nindent 6 }}
    securityContext:
      {{- include "infermesh.containerSecurityContext" . | nindent 6 }}
    volumeMounts:
      {{- include "infermesh.service.mounts" . | nindent 6 }}
volumes:
  {{- include "infermesh.service.volumes" . | nindent 2 }}
{{- end -}}

{{- define "infermesh.service.probes" -}}
startupProbe:
  grpc: {port: 50052, service: liveness}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  grpc: {port: 50052, service: liveness}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  # The service itself waits for several failed checks before it says so.
  grpc: {port: 50052, service: readiness}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 1
{{- end -}}

{{- define "infermesh.service.databaseEnv" -}}
{{- $database := .root.Values.externalDatabase -}}
{{- if and .facts.data $database.enabled $database.existingSecret.urlKey }}
- name: INFERMESH_{{ upper .component }}__DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $database.existingSecret.name }}
      key: {{ $database.existingSecret.urlKey }}
{{- end }}
{{- end -}}

{{- define "infermesh.service.mounts" -}}
- name: config
  mountPath: /etc/infermesh
  readOnly: true
- name: secrets
  mountPath: /run/secrets/infermesh
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if .root.Values.mtls.enabled }}
- name: mtls
  mountPath: /run/secrets/infermesh-tls
  readOnly: true
{{- end }}
{{- if eq .workload "StatefulSet" }}
- name: data
  mountPath: /var/lib/infermesh
{{- end }}
{{- if eq (include "infermesh.service.databasePassword" .) "true" }}
- name: database
  mountPath: /run/secrets/infermesh-database
  readOnly: true
{{- end }}
{{- if eq (include "infermesh.service.usesVault" .) "true" }}
- name: vault
  mountPath: /run/secrets/infermesh-vault
  readOnly: true
{{- end }}
{{- if .root.Values.development.enabled }}
- name: development
  mountPath: /development
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "infermesh.service.usesVault" -}}
{{- and (has "vault" .facts.calls) (or .root.Values.vault.enabled .root.Values.externalVault.enabled) -}}
{{- end -}}

{{- define "infermesh.service.databasePassword" -}}
{{- $database := .root.Values.externalDatabase -}}
{{- and .facts.data $database.enabled $database.existingSecret.name $database.existingSecret.passwordKey | not | not -}}
{{- end -}}

{{- define "infermesh.service.volumes" -}}
- name: config
  configMap:
    name: {{ include "infermesh.fullname" .root }}-config
- name: secrets
  {{- include "infermesh.secretVolume" (dict "root" .root "names" .facts.secrets) | nindent 2 }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if .root.Values.development.enabled }}
- name: development
  emptyDir:
    sizeLimit: 64Mi
{{- end }}
{{- if .root.Values.mtls.enabled }}
{{ include "infermesh.mtls.volume" . }}
{{- end }}
{{- if eq (include "infermesh.service.databasePassword" .) "true" }}
- name: database
  secret:
    secretName: {{ .root.Values.externalDatabase.existingSecret.name }}
    defaultMode: 0440
    items:
      - {key: {{ .root.Values.externalDatabase.existingSecret.passwordKey }}, path: password}
{{- end }}
{{- if and (eq .workload "StatefulSet") (not .values.persistence.enabled) }}
- name: data
  emptyDir: {}
{{- end }}
{{- if eq (include "infermesh.service.usesVault" .) "true" }}
- name: vault
  projected:
    defaultMode: 0440
    sources:
      # By it the service signs in; Kubernetes renews it.
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
          {{- with ternary .root.Values.vault.audience .root.Values.externalVault.audience .root.Values.vault.enabled }}
          audience: {{ . | quote }}
          {{- end }}
      {{- with include "infermesh.vaultCA" .root | fromYaml }}
      - secret:
          name: {{ .name }}
          items:
            - {key: {{ .key }}, path: ca.crt}
      {{- end }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "infermesh.service.claims" -}}
{{- if .values.persistence.enabled -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: {{ ternary "Delete" "Retain" .values.persistence.deleteWithRelease }}
  whenScaled: Retain
volumeClaimTemplates:
  - metadata:
      name: data
      labels:
        {{- include "infermesh.selectorLabels" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .values.persistence.storageClassName }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ .values.persistence.size }}
{{- end }}
{{- end -}}

{{- define "infermesh.service.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
spec:
  # Every ready pod is an address of the name: callers choose among them call by call.
  clusterIP: None
  publishNotReadyAddresses: false
  selector:
    {{- include "infermesh.selectorLabels" . | nindent 4 }}
  ports:
    - name: grpc
      port: 50051
      targetPort: grpc
      {{- if not .root.Values.mtls.enabled }}
      appProtocol: kubernetes.io/h2c
      {{- end }}
    - name: metrics
      port: 9090
      targetPort: metrics
{{- end -}}

{{- define "infermesh.service.rbac" -}}
{{- $name := printf "%s-%s" (include "infermesh.fullname" .root) .component -}}
{{- $secrets := include "infermesh.readableSecrets" . | fromJsonArray -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
rules:
  - apiGroups: [infermesh.dev]
    resources: [providers, models, routepolicies, cachepolicies, tenants, apikeys]
    verbs: [get, list, watch]
  {{- if .facts.status }}
  - apiGroups: [infermesh.dev]
    resources:
      {{- range .facts.status }}
      - {{ . }}/status
      {{- end }}
    verbs: [update, patch]
  # Whoever writes status holds this Lease, among all releases of the namespace: they see the same resources.
  # Creation cannot be limited to a name.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [create]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [infermesh-{{ .component }}]
    verbs: [get, update]
  {{- end }}
  {{- if $secrets }}
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: {{ $secrets | toJson }}
    verbs: [get, list, watch]
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "infermesh.serviceAccountName" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}

{{/* Secrets that a service may read through the API server, as JSON. */}}
{{- define "infermesh.readableSecrets" -}}
{{- $values := .root.Values -}}
{{- $names := list -}}
{{- if eq (.facts.credentials | default "") "providers" -}}
  {{- $names = $values.providerSecrets -}}
  {{- if and $values.trial.enabled $values.model.enabled -}}
    {{- $names = append $names (include "infermesh.modelKey" .root | fromYaml).name -}}
  {{- end -}}
{{- else if eq (.facts.credentials | default "") "apiKeys" -}}
  {{- $names = $values.apiKeySecrets -}}
  {{- if $values.trial.enabled -}}
    {{- $names = append $names (include "infermesh.trialKey" .root | fromYaml).name -}}
  {{- end -}}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end -}}

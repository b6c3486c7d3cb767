{{/* Certificates that the chart makes. As with other secrets, what the cluster holds is used again; but one in the last third
     of its life, or for other names or another number of days, is replaced. */}}

{{/* The parts of mTLS that have a certificate. */}}
{{- define "infermesh.mtls.members" -}}
{{- append (include "infermesh.services" . | fromYaml | keys | sortAlpha) "envoy" | toJson -}}
{{- end -}}

{{/* Secret with the certificate of a component: (dict "root" $ "component" "router") */}}
{{- define "infermesh.mtls.secretName" -}}
{{- if eq .root.Values.mtls.source "existingSecret" -}}
{{- .root.Values.mtls.existingSecret -}}
{{- else -}}
{{- include "infermesh.fullname" .root }}-{{ .component }}-mtls
{{- end -}}
{{- end -}}

{{/* DNS names of a component's Service, as JSON: (dict "root" $ "component" "router") */}}
{{- define "infermesh.dnsNames" -}}
{{- $name := printf "%s-%s" (include "infermesh.fullname" .root) .component -}}
{{- $namespace := .root.Release.Namespace -}}
{{- list (printf "%s.%s.svc" $name $namespace) (printf "%s.%s" $name $namespace) $name | toJson -}}
{{- end -}}

{{/* The CA of generated certificates, as JSON {cert, key} of PEM in base64: (dict "root" $ "name" <Secret> "cn" <name>) */}}
{{- define "infermesh.generatedCA" -}}
{{- $memo := .root.Values.generatedSecrets | default dict -}}
{{- if not (hasKey $memo .name) -}}
  {{- $found := (lookup "v1" "Secret" .root.Release.Namespace .name).data | default dict -}}
  {{- if and (get $found "tls.crt") (get $found "tls.key") -}}
    {{- $_ := set $memo .name (dict "cert" (get $found "tls.crt") "key" (get $found "tls.key")) -}}
  {{- else -}}
    {{- $ca := genCAWithKey .cn 3650 (genPrivateKey "ecdsa") -}}
    {{- $_ := set $memo .name (dict "cert" (b64enc $ca.Cert) "key" (b64enc $ca.Key)) -}}
  {{- end -}}
  {{- $_ := set .root.Values "generatedSecrets" $memo -}}
{{- end -}}
{{- get $memo .name | toJson -}}
{{- end -}}

{{/* Secret with a CA: (dict "root" $ "component" "internal" "name" <Secret> "cn" <name>) */}}
{{- define "infermesh.generatedCASecret" -}}
{{- $ca := include "infermesh.generatedCA" . | fromJson -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
  annotations:
    helm.sh/resource-policy: keep
type: kubernetes.io/tls
data:
  tls.crt: {{ $ca.cert }}
  tls.key: {{ $ca.key }}
{{- end -}}

{{/* Secret with a certificate of that CA:
     (dict "root" $ "component" "router" "name" <Secret> "ca" <JSON of "infermesh.generatedCA"> "names" (list "a" "b") "days" 825) */}}
{{- define "infermesh.generatedCertificateSecret" -}}
{{- $names := join "," .names -}}
{{- $ca := fromJson .ca -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .name | default dict -}}
{{- $data := $found.data | default dict -}}
{{- $annotations := dig "metadata" "annotations" dict $found -}}
{{- $renewAfter := get $annotations "infermesh.dev/renew-after" -}}
{{- $usable := and (get $data "tls.crt") (get $data "tls.key") (eq (get $data "ca.crt") $ca.cert) (eq (get $annotations "infermesh.dev/names") $names) (eq (get $annotations "infermesh.dev/days") (toString (int .days))) -}}
{{- if and $usable $renewAfter -}}
  {{- $usable = gt (int64 $renewAfter) (now | unixEpoch | int64) -}}
{{- else -}}
  {{- $usable = false -}}
{{- end -}}
{{- if not $usable -}}
  {{- $signer := buildCustomCert $ca.cert $ca.key -}}
  {{- $made := genSignedCertWithKey (first .names) nil .names (int .days) $signer (genPrivateKey "ecdsa") -}}
  {{- $data = dict "tls.crt" (b64enc $made.Cert) "tls.key" (b64enc $made.Key) "ca.crt" $ca.cert -}}
  {{- /* Two thirds of the days are sixteen hours each. */ -}}
  {{- $renewAfter = now | dateModify (printf "+%dh" (mul (int .days) 16)) | unixEpoch -}}
{{- end -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
  annotations:
    helm.sh/resource-policy: keep
    infermesh.dev/names: {{ $names | quote }}
    infermesh.dev/days: {{ int .days | quote }}
    # Seconds since 1970. The first upgrade after it makes a new certificate.
    infermesh.dev/renew-after: {{ $renewAfter | quote }}
type: kubernetes.io/tls
data:
  tls.crt: {{ get $data "tls.crt" }}
  tls.key: {{ get $data "tls.key" }}
  ca.crt: {{ get $data "ca.crt" }}
{{- end -}}

{{/* Certificate of cert-manager:
     (dict "root" $ "component" "router" "name" <Secret and Certificate> "names" (list "a") "issuer" {name, kind, group} "duration" "2160h"
      "renewBefore" "720h" "usages" (list "server auth")) */}}
{{- define "infermesh.certificate" -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
spec:
  secretName: {{ .name }}
  duration: {{ .duration }}
  renewBefore: {{ .renewBefore }}
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  usages: {{ .usages | toJson }}
  dnsNames:
    {{- range .names }}
    - {{ . | quote }}
    {{- end }}
  issuerRef:
    name: {{ .issuer.name }}
    kind: {{ .issuer.kind }}
    group: {{ .issuer.group }}
{{- end -}}

{{/* A CA of the release's own, kept by cert-manager: (dict "root" $ "component" "internal" "name" <name>) */}}
{{- define "infermesh.mtls.ownIssuer" -}}
{{- $bootstrap := merge (dict "name" (printf "%s-bootstrap" .name)) . -}}
apiVersion: cert-manager.io/v1
kind: Issuer
metadata:
  {{- include "infermesh.metadata" $bootstrap | nindent 2 }}
spec:
  selfSigned: {}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
spec:
  isCA: true
  commonName: {{ .name }}
  secretName: {{ .name }}
  # Ten years: a CA cannot be replaced while its certificates are in use.
  duration: 87600h
  privateKey:
    algorithm: ECDSA
    size: 256
  issuerRef:
    name: {{ .name }}-bootstrap
    kind: Issuer
    group: cert-manager.io
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata:
  {{- include "infermesh.metadata" . | nindent 2 }}
spec:
  ca:
    secretName: {{ .name }}
{{- end -}}

{{/* Volume with the certificate of a component: (dict "root" $ "component" "router") */}}
{{- define "infermesh.mtls.volume" -}}
- name: mtls
  secret:
    secretName: {{ include "infermesh.mtls.secretName" . }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      - {key: ca.crt, path: ca.crt}
{{- end -}}

{{/* Parts of the bundled OpenBao. The argument is the root of this chart, or (dict "root" $ ...) where it is said. */}}

{{- define "infermesh.vault.sealSecret" -}}
{{- $name := printf "%s-vault-seal" (include "infermesh.fullname" .) -}}
{{- include "infermesh.secretSource" (dict "given" .Values.sealKey.existingSecret "name" $name "key" "seal-key") -}}
{{- end -}}

{{/* The generated seal key, in base64 as `data` has it: what the cluster holds, else a new one.
     (dict "root" $ "name" "secret" "key" "key") */}}
{{- define "infermesh.vault.sealKey" -}}
{{- $memo := .root.Values.generatedSecrets | default dict -}}
{{- if not (hasKey $memo .name) -}}
  {{- $found := (lookup "v1" "Secret" .root.Release.Namespace .name).data | default dict -}}
  {{- /* OpenBao takes 32 bytes as text in base64; `data` is base64 once more. */ -}}
  {{- $_ := set $memo .name (get $found .key | default (randBytes 32 | b64enc)) -}}
  {{- $_ = set .root.Values "generatedSecrets" $memo -}}
{{- end -}}
{{- get $memo .name -}}
{{- end -}}

{{/* Secret with its certificate; empty without TLS. */}}
{{- define "infermesh.vault.tlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" -}}
{{- .Values.tls.existingSecret -}}
{{- else if eq .Values.tls.mode "generated" -}}
{{- include "infermesh.fullname" . }}-vault-tls
{{- end -}}
{{- end -}}

{{- define "infermesh.vault.scheme" -}}
{{- ternary "http" "https" (eq .Values.tls.mode "none") -}}
{{- end -}}

{{/* openbao.hcl. */}}
{{- define "infermesh.vault.config" -}}
ui = false
log_level = "info"

storage "raft" {
  path = "/openbao/data"
  node_id = "vault-0"
  # The only one need not wait for others to be elected.
  performance_multiplier = 1
}

listener "tcp" {
  address = "0.0.0.0:8200"
  cluster_address = "127.0.0.1:8201"
  {{- if include "infermesh.vault.tlsSecret" . }}
  tls_cert_file = "/run/secrets/infermesh-vault-tls/tls.crt"
  tls_key_file = "/run/secrets/infermesh-vault-tls/tls.key"
  tls_min_version = "tls12"
  {{- else }}
  tls_disable = true
  {{- end }}
}

api_addr = "{{ include "infermesh.vault.scheme" . }}://{{ include "infermesh.fullname" . }}-vault.{{ .Release.Namespace }}.svc:8200"
cluster_addr = "https://127.0.0.1:8201"

seal "static" {
  current_key_id = "1"
  current_key = "file:///run/secrets/infermesh-vault-seal/seal-key"
}
{{- if .Values.audit }}

audit "file" "stdout" {
  options {
    file_path = "stdout"
  }
}
{{- end }}

# From here on: done once, at the first start, with a root token that nobody sees and that ends with it.
initialize "secrets" {
  request "mount" {
    operation = "update"
    path = "sys/mounts/infermesh"
    data = {
      type = "kv"
      description = "Secrets of InferMesh"
      options = {
        version = "2"
      }
    }
  }
}

initialize "policies" {
  {{- range $name, $rules := include "infermesh.vault.policies" . | fromYaml }}
  request "{{ $name }}" {
    operation = "update"
    path = "sys/policies/acl/{{ $name }}"
    data = {
      policy = <<EOT
{{- range $path, $capabilities := $rules }}
path "{{ $path }}" {
  capabilities = {{ toJson $capabilities }}
}
{{- end }}
EOT
    }
  }
  {{- end }}
}

initialize "sign-in" {
  request "enable" {
    operation = "update"
    path = "sys/auth/kubernetes"
    data = {
      type = "kubernetes"
    }
  }
  request "configure" {
    operation = "update"
    path = "auth/kubernetes/config"
    data = {
      # It asks with the token of its own ServiceAccount, which Kubernetes renews.
      kubernetes_host = "https://kubernetes.default.svc"
    }
  }
  {{- $root := . }}
  {{- range $role, $facts := include "infermesh.vault.roles" . | fromYaml }}
  request "role-{{ $role }}" {
    operation = "update"
    path = "auth/kubernetes/role/{{ $role }}"
    data = {
      bound_service_account_names = ["{{ $facts.serviceAccount }}"]
      bound_service_account_namespaces = ["{{ $root.Release.Namespace }}"]
      {{- with $root.Values.audience }}
      audience = "{{ . }}"
      {{- end }}
      token_policies = ["{{ $facts.policy }}"]
      token_ttl = {{ int $facts.ttlSeconds }}
    }
  }
  {{- end }}
}
{{- end -}}

{{/* What each policy allows: name -> path -> capabilities. */}}
{{- define "infermesh.vault.policies" -}}
router:
  infermesh/data/providers/*: [read]
governance:
  infermesh/data/api-keys/*: [read]
  infermesh/data/signing/*: [read]
operator:
  # To write and to delete, not to read.
  infermesh/data/*: [create, update, patch, delete]
  infermesh/delete/*: [update]
  infermesh/undelete/*: [update]
  infermesh/destroy/*: [update]
  infermesh/metadata: [list]
  infermesh/metadata/*: [create, read, update, patch, delete, list]
admin:
  "*": [create, read, update, patch, delete, list, scan, sudo]
{{- end -}}

{{/* Who may sign in: role -> policy, ServiceAccount and how long its tokens live. */}}
{{- define "infermesh.vault.roles" -}}
{{- $fullname := include "infermesh.fullname" . -}}
{{- range $service := list "router" "governance" }}
{{- $name := printf "%s-%s" $fullname $service }}
{{ $name }}:
  policy: {{ $service }}
  serviceAccount: {{ index $.Values.serviceAccounts $service | default $name }}
  ttlSeconds: {{ int $.Values.tokenTtlSeconds }}
{{- end }}
{{- range $person := list "operator" "admin" }}
{{- if index $.Values.serviceAccounts $person }}
{{ $person }}:
  policy: {{ $person }}
  serviceAccount: {{ $fullname }}-vault-{{ $person }}
  # For one command.
  ttlSeconds: 600
{{- end }}
{{- end }}
{{- end -}}

{{/* A script for people: the first line of its input is the token of a ServiceAccount, what follows is the command's. */}}
{{- define "infermesh.vault.as" -}}
#!/bin/sh
# as ROLE COMMAND...: runs a command of OpenBao in a role. The first line of the input is the token of the role's
# ServiceAccount; what follows is the input of the command.
set -eu
role=$1
shift
read -r jwt
BAO_TOKEN=$(printf '%s' "$jwt" | bao write -field=token auth/kubernetes/login "role=$role" jwt=-)
export BAO_TOKEN
# It cannot be, when the command has sealed it.
trap 'bao token revoke -self >/dev/null 2>&1 || true' EXIT
"$@"
{{- end -}}

{{- define "infermesh.vault.probes" -}}
{{- $scheme := include "infermesh.vault.scheme" . | upper -}}
startupProbe:
  httpGet: {path: "/v1/sys/health?sealedcode=200&uninitcode=200&standbycode=200", port: api, scheme: {{ $scheme }}}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  # Sealed is alive: somebody may have sealed it for a reason, and a new start would open it.
  httpGet: {path: "/v1/sys/health?sealedcode=200&uninitcode=200&standbycode=200", port: api, scheme: {{ $scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /v1/sys/health, port: api, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 3
{{- end -}}

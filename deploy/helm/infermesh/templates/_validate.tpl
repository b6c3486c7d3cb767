{{/* What cannot work, or is not safe, is refused with a sentence before anything is installed. */}}
{{- define "infermesh.validate" -}}
{{- $sentences := concat (include "infermesh.validate.stores" . | fromJsonArray) (include "infermesh.validate.workloads" . | fromJsonArray) (include "infermesh.validate.edge" . | fromJsonArray) (include "infermesh.validate.trial" . | fromJsonArray) -}}
{{- if $sentences -}}
{{- fail (printf "\n\nThese values cannot be used:\n  - %s\n" (join "\n  - " $sentences)) -}}
{{- end -}}
{{- end -}}

{{- define "infermesh.validate.stores" -}}
{{- $found := list -}}
{{- $redis := .Values.externalRedis -}}
{{- if and (not .Values.redis.enabled) (not $redis.url) -}}
{{- $found = append $found "redis.enabled is false and externalRedis.url is empty: state where Redis is." -}}
{{- end -}}
{{- if and .Values.redis.enabled $redis.url -}}
{{- $found = append $found "redis.enabled is true and externalRedis.url is given: choose one." -}}
{{- end -}}
{{- if regexMatch "^[a-z]+://[^/@]*:[^/@]+@" $redis.url -}}
{{- $found = append $found "externalRedis.url holds a password: put it into a Secret that externalRedis.existingSecret names." -}}
{{- end -}}
{{- $milvus := .Values.externalMilvus -}}
{{- if and .Values.milvus.enabled $milvus.uri -}}
{{- $found = append $found "milvus.enabled is true and externalMilvus.uri is given: choose one." -}}
{{- end -}}
{{- if and $milvus.existingSecret.name (not $milvus.uri) -}}
{{- $found = append $found "externalMilvus.existingSecret needs externalMilvus.uri: the bundled Milvus knows no users." -}}
{{- end -}}
{{- $judge := .Values.judge -}}
{{- if and (or $judge.url $judge.existingSecret.name $judge.cidrs) (not $judge.model) -}}
{{- $found = append $found "judge.url, judge.existingSecret and judge.cidrs need judge.model, the name of the model that compares answers." -}}
{{- end -}}
{{- if and (eq (include "infermesh.judgeIsThisMesh" .) "true") (eq (include "infermesh.envoy.hasTls" .) "true") -}}
{{- $found = append $found "judge.url is needed where envoy.tls is on: the cache would not know its own edge's certificate." -}}
{{- end -}}
{{- $database := .Values.externalDatabase -}}
{{- $secret := $database.existingSecret -}}
{{- if $database.enabled -}}
{{- if eq (empty $database.url) (empty $secret.urlKey) -}}
{{- $found = append $found "externalDatabase.enabled needs either externalDatabase.url or externalDatabase.existingSecret.urlKey." -}}
{{- end -}}
{{- if and $secret.urlKey (not $secret.name) -}}
{{- $found = append $found "externalDatabase.existingSecret.urlKey needs externalDatabase.existingSecret.name." -}}
{{- end -}}
{{- if regexMatch "^[a-z+]+://[^/@]*:[^/@]+@" $database.url -}}
{{- $found = append $found "externalDatabase.url holds a password: put it into a Secret that externalDatabase.existingSecret names." -}}
{{- end -}}
{{- end -}}
{{- $vault := .Values.externalVault -}}
{{- if and $vault.enabled (not $vault.address) -}}
{{- $found = append $found "externalVault.enabled needs externalVault.address." -}}
{{- end -}}
{{- if and $vault.enabled .Values.vault.enabled -}}
{{- $found = append $found "vault.enabled and externalVault.enabled are both true: choose one." -}}
{{- end -}}
{{- if and .Values.mtls.enabled (eq .Values.mtls.source "existingSecret") (not .Values.mtls.existingSecret) -}}
{{- $found = append $found "mtls.source existingSecret needs mtls.existingSecret, the name of the Secret with tls.crt, tls.key and ca.crt." -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "infermesh.validate.workloads" -}}
{{- $found := list -}}
{{- $root := . -}}
{{- $services := include "infermesh.services" . | fromYaml -}}
{{- range $component := append (keys $services | sortAlpha) "envoy" -}}
{{- $values := include "infermesh.componentValues" (dict "root" $root "component" $component) | fromJson -}}
{{- $facts := get $services $component | default dict -}}
{{- $scaling := $values.autoscaling -}}
{{- if and $facts.data (not $root.Values.externalDatabase.enabled) (or $scaling.enabled (gt (int $values.replicas) 1)) -}}
{{- $found = append $found (printf "%s keeps its data in SQLite, which one pod alone can use: state externalDatabase, or %s.replicas 1 and no autoscaling." $component $component) -}}
{{- end -}}
{{- if and $scaling.enabled (not $scaling.targetCPUUtilization) (not $scaling.targetRequestsInFlight) -}}
{{- $found = append $found (printf "autoscaling of %s has nothing to go by: state targetCPUUtilization or targetRequestsInFlight." $component) -}}
{{- end -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- $found = append $found (printf "autoscaling of %s: minReplicas is above maxReplicas." $component) -}}
{{- end -}}
{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) -}}
{{- $found = append $found (printf "%s: serviceAccount.create is false and serviceAccount.name is empty: name the ServiceAccount." $component) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "infermesh.validate.edge" -}}
{{- $found := list -}}
{{- $tls := .Values.envoy.tls -}}
{{- if and (eq $tls.mode "existingSecret") (not $tls.existingSecret) -}}
{{- $found = append $found "envoy.tls.mode existingSecret needs envoy.tls.existingSecret." -}}
{{- end -}}
{{- if and (eq $tls.mode "certManager") (not $tls.issuerRef.name) -}}
{{- $found = append $found "envoy.tls.mode certManager needs envoy.tls.issuerRef.name." -}}
{{- end -}}
{{- $gateway := .Values.gateway -}}
{{- if $gateway.enabled -}}
{{- if not $gateway.parentRefs -}}
{{- $found = append $found "gateway.enabled needs gateway.parentRefs: the Gateway to attach to." -}}
{{- end -}}
{{- if ne $tls.mode "none" -}}
{{- $found = append $found "gateway.enabled needs envoy.tls.mode none: TLS ends at the Gateway." -}}
{{- end -}}
{{- range $gateway.grpcHostnames -}}
{{- if has . $gateway.hostnames -}}
{{- $found = append $found (printf "gateway: the Gateway API does not allow %s in hostnames and in grpcHostnames." .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "infermesh.validate.trial" -}}
{{- $found := list -}}
{{- if and .Values.trial.enabled (not .Values.model.enabled) -}}
{{- $found = append $found "trial.enabled declares the embedded model, but model.enabled is false: turn both on or both off." -}}
{{- end -}}
{{- if and .Values.test.enabled .Values.test.existingSecret.name (not .Values.test.model) (not .Values.trial.enabled) -}}
{{- $found = append $found "test.existingSecret needs test.model: which model to ask." -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* What works but is for trials, as JSON. */}}
{{- define "infermesh.warnings" -}}
{{- $found := list -}}
{{- if .Values.redis.enabled -}}
{{- if .Values.redis.persistence.enabled -}}
{{- $found = append $found "Redis is one bundled pod; state externalRedis." -}}
{{- else -}}
{{- $found = append $found "The bundled Redis keeps nothing: issued API keys, budgets and events not yet in the ledger are lost with its pod. Set redis.persistence.enabled, or state externalRedis." -}}
{{- end -}}
{{- end -}}
{{- if not .Values.externalDatabase.enabled -}}
{{- if .Values.analytics.persistence.enabled -}}
{{- $found = append $found "The ledger is in SQLite with one pod; state externalDatabase." -}}
{{- else -}}
{{- $found = append $found "The ledger is lost with its pod. Set analytics.persistence.enabled, or state externalDatabase." -}}
{{- end -}}
{{- end -}}
{{- if .Values.trial.enabled -}}
{{- $found = append $found "A trial tenant and model are declared; set trial.enabled and model.enabled to false." -}}
{{- end -}}
{{- if and (eq .Values.envoy.tls.mode "none") (not .Values.ingress.tlsSecret) (not .Values.gateway.enabled) -}}
{{- $found = append $found "Clients speak plain HTTP, and API keys with it; set envoy.tls.mode, or put TLS in front." -}}
{{- end -}}
{{- if not .Values.mtls.enabled -}}
{{- $found = append $found "Services speak plain gRPC to each other; set mtls.enabled." -}}
{{- end -}}
{{- if not .Values.networkPolicy.enabled -}}
{{- $found = append $found "No NetworkPolicy keeps others from the services; set networkPolicy.enabled." -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

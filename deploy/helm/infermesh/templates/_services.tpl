{{/* What each service is: facts that no deployment changes. A further service is an entry here, a block in
     values.yaml and a template of one line.
       secrets    files in /run/secrets/infermesh
       resources  whether it follows the resources of infermesh.dev, all kinds of them: they name each other
       status     resources whose status it writes; their writer is elected with a Lease
       credentials  resources of which it reads the secrets: "providers" or "apiKeys"
       calls      whom it opens connections to; the NetworkPolicies of both ends follow from it
       data       whether it keeps data of its own in a volume */}}
{{- define "infermesh.services" -}}
router:
  secrets: [internal-token, redis-password]
  resources: true
  status: [providers, models, routepolicies, cachepolicies]
  credentials: providers
  calls: [cache, governance, redis, vault, model, providers, api-server, collector]
cache:
  secrets: [internal-token, redis-password, milvus-token, judge-key]
  resources: true
  calls: [governance, redis, milvus, judge, api-server, collector]
governance:
  secrets: [internal-token, operator-key, redis-password]
  resources: true
  status: [tenants, apikeys]
  credentials: apiKeys
  calls: [redis, vault, api-server, collector]
analytics:
  secrets: [internal-token, redis-password]
  calls: [governance, redis, database, collector]
  data: true
{{- end -}}

{{/* Facts of one service, as JSON: (dict "component" "router") */}}
{{- define "infermesh.facts" -}}
{{- get (include "infermesh.services" . | fromYaml) .component | toJson -}}
{{- end -}}

{{/* Values of a component over those of `defaults`, as JSON: (dict "root" $ "component" "router") */}}
{{- define "infermesh.componentValues" -}}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (index .root.Values .component) | toJson -}}
{{- end -}}

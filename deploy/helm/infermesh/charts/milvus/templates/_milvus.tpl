{{/* etcd inside the process, for it alone. */}}
{{- define "infermesh.milvus.etcd" -}}
listen-client-urls: http://127.0.0.1:2379
advertise-client-urls: http://127.0.0.1:2379
quota-backend-bytes: 4294967296
auto-compaction-mode: revision
auto-compaction-retention: "1000"
{{- end -}}

"""Every metric, span attribute and log event field of the mesh, declared once.

Labels have bounded cardinality: no request ids, no prompts, no key ids.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """Type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric as it will be exposed.

    Attributes:
        name: Prometheus name with its unit; counters end in _total.
        kind: type of the metric.
        help: one sentence.
        labels: names of its labels.
        buckets: upper bounds of a histogram.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

METRICS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "infermesh_rpc_requests_total",
            Kind.COUNTER,
            "RPCs served, by method and gRPC status code.",
            ("service", "method", "code"),
        ),
        MetricSpec(
            "infermesh_rpc_duration_seconds",
            Kind.HISTOGRAM,
            "Time to serve an RPC.",
            ("service", "method"),
            _SECONDS,
        ),
        MetricSpec(
            "infermesh_rpc_in_flight",
            Kind.GAUGE,
            "RPCs being served.",
            ("service",),
        ),
        MetricSpec(
            "infermesh_breaker_state",
            Kind.GAUGE,
            "State of a circuit breaker: 0 closed, 1 half-open, 2 open.",
            ("dependency",),
        ),
        MetricSpec(
            "infermesh_dependency_failures_total",
            Kind.COUNTER,
            "Calls of a dependency that failed, by reason.",
            ("dependency", "reason"),
        ),
        MetricSpec(
            "infermesh_identity_snapshot_age_seconds",
            Kind.GAUGE,
            "Time since governance confirmed the identity snapshot.",
        ),
        MetricSpec(
            "infermesh_resources_invalid",
            Kind.GAUGE,
            "Resources that were refused; their last valid version stays in force.",
        ),
        MetricSpec(
            "infermesh_resource_reload_failures_total",
            Kind.COUNTER,
            "Reloads of the resources that failed as a whole; what was in force stays.",
        ),
        MetricSpec(
            "infermesh_background_failures_total",
            Kind.COUNTER,
            "Background tasks that ended with a defect.",
            ("task",),
        ),
        MetricSpec(
            "infermesh_events_published_total",
            Kind.COUNTER,
            "Usage events acknowledged by the stream.",
        ),
        MetricSpec(
            "infermesh_events_dropped_total",
            Kind.COUNTER,
            "Usage events lost because the stream was away for too long.",
        ),
        MetricSpec(
            "infermesh_events_queued",
            Kind.GAUGE,
            "Usage events waiting for the stream.",
        ),
        MetricSpec(
            "infermesh_inferences_total",
            Kind.COUNTER,
            "Inferences, by tenant, model, cache status and outcome.",
            ("tenant", "model", "cache_status", "outcome"),
        ),
        MetricSpec(
            "infermesh_inference_cost_usd_total",
            Kind.COUNTER,
            "What inferences of known price cost. The ledger is exact; this is for panels.",
            ("tenant", "model"),
        ),
        MetricSpec(
            "infermesh_inference_saved_usd_total",
            Kind.COUNTER,
            "Baseline less cost. The ledger is exact; this is for panels.",
            ("tenant", "model"),
        ),
        MetricSpec(
            "infermesh_stage_duration_seconds",
            Kind.HISTOGRAM,
            "Time spent in one stage of an inference.",
            ("stage",),
            _SECONDS,
        ),
        MetricSpec(
            "infermesh_provider_requests_total",
            Kind.COUNTER,
            "Calls of a provider, by result.",
            ("provider", "model", "result"),
        ),
        MetricSpec(
            "infermesh_cache_lookups_total",
            Kind.COUNTER,
            "Lookups in the exact tier, by tenant and outcome.",
            ("tenant", "outcome"),
        ),
        MetricSpec(
            "infermesh_near_cache_lookups_total",
            Kind.COUNTER,
            "Lookups among the copies of entries in a router, by outcome.",
            ("outcome",),
        ),
        MetricSpec(
            "infermesh_cache_stores_total",
            Kind.COUNTER,
            "Entries offered to the exact tier, by tenant and outcome.",
            ("tenant", "outcome"),
        ),
        MetricSpec(
            "infermesh_cache_evictions_total",
            Kind.COUNTER,
            "Entries evicted because the tenant reached its size bound.",
            ("tenant",),
        ),
        MetricSpec(
            "infermesh_keys",
            Kind.GAUGE,
            "API keys known, by state.",
            ("state",),
        ),
        MetricSpec(
            "infermesh_identity_watchers",
            Kind.GAUGE,
            "Services following the identity snapshot.",
        ),
        MetricSpec(
            "infermesh_ledger_events_total",
            Kind.COUNTER,
            "Usage events read from the stream, by result.",
            ("result",),
        ),
        MetricSpec(
            "infermesh_ledger_lag_events",
            Kind.GAUGE,
            "Usage events in the stream that the ledger has not read.",
        ),
        MetricSpec(
            "infermesh_ledger_overruns_total",
            Kind.COUNTER,
            "Times the usage stream was found trimmed past what the ledger had read: events lost.",
        ),
        MetricSpec(
            "infermesh_declared_keys_invalid",
            Kind.GAUGE,
            "Secrets of declared API keys that cannot be used; the key they were before stays.",
        ),
        MetricSpec(
            "infermesh_cache_corrupt_entries_total",
            Kind.COUNTER,
            "Stored entries that could not be decoded and were removed.",
            ("tenant",),
        ),
        MetricSpec(
            "infermesh_provider_retries_total",
            Kind.COUNTER,
            "Attempts beyond the first of a request, by the provider asked first; result refused: "
            "the retry budget did not allow it.",
            ("provider", "kind", "result"),
        ),
        MetricSpec(
            "infermesh_provider_hedges_total",
            Kind.COUNTER,
            "Calls made because another model took long to begin, by how they ended.",
            ("provider", "result"),
        ),
        MetricSpec(
            "infermesh_provider_cooldowns_total",
            Kind.COUNTER,
            "Times a key of a provider was left alone, by why.",
            ("provider", "why"),
        ),
        MetricSpec(
            "infermesh_provider_key_calls_total",
            Kind.COUNTER,
            "Calls of a provider by key, as its place in the resource.",
            ("provider", "key"),
        ),
        MetricSpec(
            "infermesh_resources_revision",
            Kind.GAUGE,
            "One for the revision of the resources in force.",
            ("revision",),
        ),
        MetricSpec(
            "infermesh_kubernetes_watch_age_seconds",
            Kind.GAUGE,
            "Time since the API server last said anything of what is followed; up to a minute in a "
            "quiet cluster.",
            ("source",),
        ),
        MetricSpec(
            "infermesh_kubernetes_watch_failures_total",
            Kind.COUNTER,
            "Lists and watches of the API server that failed.",
            ("source",),
        ),
        MetricSpec(
            "infermesh_kubernetes_leader",
            Kind.GAUGE,
            "One in the process that holds the lease.",
            ("lease",),
        ),
        MetricSpec(
            "infermesh_status_writes_total",
            Kind.COUNTER,
            "Writes of the status of custom resources, by kind and result.",
            ("kind", "result"),
        ),
        MetricSpec(
            "infermesh_certificate_reads_total",
            Kind.COUNTER,
            "New files of the certificate between services, by result: renewed, failed.",
            ("result",),
        ),
        MetricSpec(
            "infermesh_secret_age_seconds",
            Kind.GAUGE,
            "Time since the source last confirmed the secret that has waited for it longest.",
            ("source",),
        ),
        MetricSpec(
            "infermesh_secret_failures_total",
            Kind.COUNTER,
            "Looks at a secret that failed, by why.",
            ("source", "reason"),
        ),
        MetricSpec(
            "infermesh_semantic_lookups_total",
            Kind.COUNTER,
            "Requests without an exact entry that the semantic tier was asked about, by tenant, by "
            "what was done and why.",
            ("tenant", "verdict", "reason"),
        ),
        MetricSpec(
            "infermesh_semantic_outcomes_total",
            Kind.COUNTER,
            "Proposals of the semantic tier that were compared with the answer of a model, by "
            "result: right, wrong, left_out, not_learnt.",
            ("tenant", "result"),
        ),
        MetricSpec(
            "infermesh_semantic_judge_verdicts_total",
            Kind.COUNTER,
            "Verdicts of the model that compares answers: same, different, none (no verdict).",
            ("result",),
        ),
        MetricSpec(
            "infermesh_semantic_judge_tokens_total",
            Kind.COUNTER,
            "Tokens that comparing answers by a model took, by direction: input, output.",
            ("direction",),
        ),
        MetricSpec(
            "infermesh_semantic_feedback_total",
            Kind.COUNTER,
            "Feedback on answers of the semantic tier: right, wrong, refused.",
            ("tenant", "verdict"),
        ),
        MetricSpec(
            "infermesh_semantic_drifts_total",
            Kind.COUNTER,
            "Times the semantic tier found that what it had learnt no longer holds.",
            ("tenant",),
        ),
        MetricSpec(
            "infermesh_semantic_error_bound",
            Kind.GAUGE,
            "Upper limit, at the policy's confidence, of the share of requests that the semantic "
            "tier answered wrongly.",
            ("tenant", "category"),
        ),
        MetricSpec(
            "infermesh_semantic_error_estimate",
            Kind.GAUGE,
            "Estimate of the share of requests that the semantic tier answered wrongly.",
            ("tenant", "category"),
        ),
        MetricSpec(
            "infermesh_semantic_error_permitted",
            Kind.GAUGE,
            "Share of requests that the policy permits the semantic tier to answer wrongly.",
            ("tenant", "category"),
        ),
        MetricSpec(
            "infermesh_semantic_exploration_usd_total",
            Kind.COUNTER,
            "Cost of model calls made only to learn whether a proposed answer was right. It is in "
            "infermesh_inference_cost_usd_total too.",
            ("tenant",),
        ),
        MetricSpec(
            "infermesh_embedding_texts_total",
            Kind.COUNTER,
            "Texts to embed, by what became of them: embedded, remembered, refused, late, invalid, "
            "failed.",
            ("result",),
        ),
        MetricSpec(
            "infermesh_vector_records",
            Kind.GAUGE,
            "Stored questions in the index of this process.",
        ),
        MetricSpec(
            "infermesh_vector_evictions_total",
            Kind.COUNTER,
            "Stored questions that left the index of a process because of a bound.",
            ("tenant",),
        ),
        MetricSpec(
            "infermesh_vector_queue",
            Kind.GAUGE,
            "Writes that wait for the vector store.",
        ),
        MetricSpec(
            "infermesh_vector_writes_total",
            Kind.COUNTER,
            "Writes for the vector store, by result: written, dropped.",
            ("result",),
        ),
        MetricSpec(
            "infermesh_vector_loaded_total",
            Kind.COUNTER,
            "Stored questions read from the vector store, by why: warm_up, other_replica.",
            ("why",),
        ),
        MetricSpec(
            "infermesh_vector_lookups_total",
            Kind.COUNTER,
            "Lookups among stored questions, by what answered: index, index_and_store, index_only "
            "(the store was wanted and did not answer).",
            ("by",),
        ),
    )
}

SPAN_ATTRIBUTES = frozenset(
    {
        # OpenTelemetry GenAI semantic conventions.
        "gen_ai.operation.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        # Ours.
        "infermesh.cache.status",
        "infermesh.decision.id",
        "infermesh.tenant",
    }
)
"""Attributes that a span of the mesh may carry."""

LOG_FIELDS = frozenset(
    {
        "tier",
        "cache_status",
        "model",
        "provider",
        "requested_model",
        "cost_usd",
        "saved_usd",
        "decision_id",
        "store_outcome",
        "outcome",
        "count",
        "semantic",
    }
)
"""Fields a handler may add to the canonical log line of its RPC. None of them holds a prompt."""

"""Writes inferences down: a usage event for the ledger, metrics for panels."""

from collections.abc import Callable

from prometheus_client import Counter, Histogram

from infermesh.analytics.v1 import events_pb2
from infermesh_common.context import current_or_none
from infermesh_common.events import UsageEventPublisher
from infermesh_common.identity.model import Identity
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.usage import plain
from infermesh_router.adapters.decision_proto import fill_decision
from infermesh_router.domain.decision import Decision, Outcome
from infermesh_router.domain.request import InferenceRequest

_OUTCOMES = {
    Outcome.SUCCEEDED: events_pb2.OUTCOME_SUCCEEDED,
    Outcome.FAILED: events_pb2.OUTCOME_FAILED,
    Outcome.CANCELLED: events_pb2.OUTCOME_CANCELLED,
}
_LONGEST_MODEL_NAME_CHARS = 200


class EventUsageSink:
    """Implements `UsageSink`.

    Args:
        publisher: hands events to the stream.
        metrics: of the process.
        written_within_s: longest wait of `written`; 0: it does not wait.
    """

    def __init__(
        self, publisher: UsageEventPublisher, metrics: Metrics, *, written_within_s: float
    ) -> None:
        self._publisher = publisher
        self._written_within_s = written_within_s
        self._inferences = _Children(metrics.counter("infermesh_inferences_total").labels)
        self._cost = _Children(metrics.counter("infermesh_inference_cost_usd_total").labels)
        self._explored = _Children(
            metrics.counter("infermesh_semantic_exploration_usd_total").labels
        )
        self._saved = _Children(metrics.counter("infermesh_inference_saved_usd_total").labels)
        self._stages: dict[str, Histogram] = {}
        self._stage = metrics.histogram("infermesh_stage_duration_seconds").labels

    def record(
        self,
        request: InferenceRequest,
        caller: Identity,
        decision: Decision,
        outcome: Outcome,
        *,
        error_reason: str,
        duration_us: int,
        first_byte_us: int,
        request_time_s: float,
    ) -> None:
        """See `UsageSink.record`."""
        if caller.tenant:
            event = events_pb2.UsageEvent(
                event_id=decision.decision_id,
                request_id=decision.request_id,
                tenant=caller.tenant,
                key_id=caller.key_id,
                requested_model=request.model[:_LONGEST_MODEL_NAME_CHARS],
                protocol=request.wire or request.surface.value,
                task=request.task,
                tags=request.tags,
                streamed=request.stream,
                outcome=_OUTCOMES[outcome],
                error_reason=error_reason,
                duration_us=duration_us,
                first_byte_us=first_byte_us,
            )
            # In place: assigning a finished message would copy it.
            fill_decision(event.decision, decision)
            event.request_time.FromMicroseconds(int(request_time_s * 1_000_000))
            self._publisher.publish(event)
        self._count(caller.tenant, decision, outcome)
        self._log(request, decision, outcome)

    async def written(self) -> None:
        """See `UsageSink.written`."""
        if self._written_within_s:
            await self._publisher.written(self._written_within_s)

    def _count(self, tenant: str, decision: Decision, outcome: Outcome) -> None:
        self._inferences(tenant, decision.model, decision.cache_status.value, outcome.value).inc()
        if decision.cost:
            self._cost(tenant, decision.model).inc(float(decision.cost))
            if decision.explores:
                self._explored(tenant).inc(float(decision.cost))
        saved = decision.saved
        if saved is not None and saved > 0:
            self._saved(tenant, decision.model).inc(float(saved))
        for stage, duration_us in decision.stages:
            histogram = self._stages.get(stage)
            if histogram is None:
                histogram = self._stages[stage] = self._stage(stage)
            histogram.observe(duration_us / 1e6)

    def _log(self, request: InferenceRequest, decision: Decision, outcome: Outcome) -> None:
        call = current_or_none()
        if call is None:
            return
        saved = decision.saved
        call.log_fields.update(
            decision_id=decision.decision_id,
            tier=decision.tier.value,
            cache_status=decision.cache_status.value,
            model=decision.model,
            provider=decision.provider,
            requested_model=request.model[:_LONGEST_MODEL_NAME_CHARS],
            outcome=outcome.value,
            cost_usd=None if decision.cost is None else plain(decision.cost),
            saved_usd=None if saved is None else plain(saved),
            store_outcome=decision.store_outcome,
        )
        if decision.semantic is not None:
            call.log_fields["semantic"] = decision.semantic.reason.lower()


class _Children:
    """The labelled children of a counter that are in use: `labels` costs more than an increment.

    Models and tenants come and go; what is kept is bounded, what is counted is not.
    """

    _MOST = 10_000

    def __init__(self, labels: Callable[..., Counter]) -> None:
        self._labels = labels
        self._known: dict[tuple[str, ...], Counter] = {}

    def __call__(self, *values: str) -> Counter:
        child = self._known.get(values)
        if child is None:
            if len(self._known) >= self._MOST:
                self._known.clear()
            child = self._known[values] = self._labels(*values)
        return child

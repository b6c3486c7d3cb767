"""Writes into the status of custom resources what became of them.

Each kind is written by the leader of one service only. Two conditions, as Kubernetes' conventions
have them: Accepted, what the resource says is in force; Ready, what is in force works.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from infermesh_common.kubernetes.client import JsonObject
from infermesh_common.kubernetes.lease import Leadership, LeaseTiming
from infermesh_common.resources.declaration import plural
from infermesh_common.resources.in_force import ResourcesInForce
from infermesh_common.resources.kubernetes_store import KubernetesResourceStore
from infermesh_common.resources.types import API_VERSION, Resource
from infermesh_common.telemetry.logs import without_text
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_log = structlog.get_logger(__name__)
# After a conflict the watch brings the newer version; anything else is for all that is written.
_RESULTS: dict[int | None, str] = {404: "gone", 409: "conflict", 422: "refused"}
_TIMEOUTS_S = (2.0, 5.0)
_LONGEST_MESSAGE = 2000
# What is applied together, or follows from what was just written, is looked at together.
_SETTLE_S = 0.2
_TASK = "resource-status"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a resource that is in force works.

    Attributes:
        ready: whether it does.
        reason: one CamelCase word.
        message: what is the matter and what to do.
    """

    ready: bool
    reason: str
    message: str


Assess = Callable[[Resource], Readiness]


class StatusReporter:
    """Keeps the status of some kinds in step with what is in force.

    Args:
        resources: what is in force.
        assess: by kind, how ready a resource of it is; the kinds that are written.
        metrics: counts what is written.
        interval_s: time between two looks; what changes in between is looked at at once, so this
            is how late a change of readiness is seen, and how often one resource is written.
    """

    def __init__(
        self,
        resources: KubernetesResourceStore,
        assess: Mapping[str, Assess],
        metrics: Metrics,
        *,
        interval_s: float = 5.0,
    ) -> None:
        self._resources = resources
        self._assess = dict(assess)
        self._interval_s = interval_s
        self._writes = metrics.counter("infermesh_status_writes_total")
        self._defects = metrics.counter("infermesh_background_failures_total")
        self._wake = asyncio.Event()
        self._written_over: dict[tuple[str, str], object] = {}
        self._away = False
        resources.after_load(self._wake.set)

    async def run(self) -> None:
        """Writes until cancelled."""
        # A leader anew knows nothing of what others wrote meanwhile.
        self._written_over.clear()
        await self._resources.wait_until_loaded()
        thread = ThreadPoolExecutor(1, _TASK)
        try:
            while True:
                self._wake.clear()
                try:
                    await self._look(thread)
                except Exception as error:  # of an assessment: the next look may be luckier
                    self._defects.labels(_TASK).inc()
                    _log.error("background_task_failed", task=_TASK, error=without_text(error))
                await asyncio.sleep(min(_SETTLE_S, self._interval_s))
                with suppress(TimeoutError):  # then a look is due
                    async with asyncio.timeout(self._interval_s):
                        await self._wake.wait()
        finally:
            thread.shutdown(wait=False)

    async def _look(self, thread: ThreadPoolExecutor) -> None:
        faults: dict[str, list[tuple[str, str]]] = {}
        for fault in self._resources.current.faults:
            faults.setdefault(fault.where, []).append((fault.reason, fault.message))
        for kind in self._assess:
            for name, found in self._resources.objects(kind).items():
                desired = self._desired(kind, name, found, faults.get(f"{kind} {name}", []))
                if desired is None or not await self._write(thread, kind, name, found, desired):
                    continue
                if self._away:
                    return

    def _desired(
        self, kind: str, name: str, found: JsonObject, faults: list[tuple[str, str]]
    ) -> dict[str, object] | None:
        """The status as it should be; None where it is so already."""
        in_force = self._resources.current.by_key.get((kind, name))
        accepted = Readiness(True, "InForce", "What it says is in force.")
        if faults:
            message = "; ".join(text for _, text in faults)
            kept = ". Its last valid version stays in force" if in_force is not None else ""
            accepted = Readiness(False, faults[0][0], f"Not accepted: {message}{kept}.")
        if in_force is None:
            ready = Readiness(False, "NotAccepted", "It is not in force: see Accepted.")
        else:
            ready = self._assess[kind](in_force)
        metadata = found["metadata"]
        generation = metadata.get("generation", 0) if isinstance(metadata, dict) else 0
        conditions = {"Accepted": accepted, "Ready": ready}
        return _status(found.get("status"), generation, conditions)

    async def _write(
        self,
        thread: ThreadPoolExecutor,
        kind: str,
        name: str,
        found: JsonObject,
        status: dict[str, object],
    ) -> bool:
        """Writes a status; False when that has to wait for a newer version of the resource."""
        metadata = found["metadata"]
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if self._written_over.get((kind, name)) == version:
            return False  # the watch is behind what was written
        body: dict[str, object] = {"metadata": {"resourceVersion": version}, "status": status}
        client, namespace = self._resources.client, self._resources.namespace
        result, error = await asyncio.get_running_loop().run_in_executor(
            thread, _patch, client, namespace, kind, name, body
        )
        self._writes.labels(kind, result).inc()
        if result == "written":
            self._written_over[kind, name] = version
        elif result == "refused" or (result == "failed" and not self._away):
            _log.warning("status_not_written", kind=kind, name=name, error=error)
        self._away = result == "failed"
        return True


def _status(
    found: object, generation: object, conditions: Mapping[str, Readiness]
) -> dict[str, object] | None:
    """A status with these conditions; None where `found` says the same already."""
    old = found if isinstance(found, dict) else {}
    listed = old.get("conditions") or []
    before: dict[str, dict[str, Any]] = {condition["type"]: condition for condition in listed}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    written = []
    for kind, state in conditions.items():
        fresh: dict[str, object] = {
            "type": kind,
            "status": str(state.ready),
            "observedGeneration": generation,
            "reason": state.reason,
            "message": state.message[:_LONGEST_MESSAGE],
        }
        earlier = before.pop(kind, {})
        same = earlier.get("status") == fresh["status"]
        fresh["lastTransitionTime"] = earlier.get("lastTransitionTime", now) if same else now
        written.append(fresh)
    # Those that others put there are theirs.
    status = {"observedGeneration": generation, "conditions": [*written, *before.values()]}
    unchanged = old.get("observedGeneration") == generation and _by_type(listed) == _by_type(
        status["conditions"]
    )
    return None if unchanged else status


def _by_type(conditions: Any) -> dict[object, object]:
    return {condition["type"]: condition for condition in conditions}


def _patch(
    client: "ApiClient", namespace: str, kind: str, name: str, body: dict[str, object]
) -> tuple[str, str]:
    """Writes a status over the version of the resource that it is about.

    Returns what came of it, and why.
    """
    from kubernetes.client import ApiException, CustomObjectsApi

    group, _, version = API_VERSION.partition("/")
    api: Any = CustomObjectsApi(client)
    try:
        api.patch_namespaced_custom_object_status(
            group,
            version,
            namespace,
            plural(kind),
            name,
            body,
            _content_type="application/merge-patch+json",
            _request_timeout=_TIMEOUTS_S,
        )
    except ApiException as error:
        return _RESULTS.get(error.status, "failed"), f"{error.status} {error.reason}"
    except Exception as error:  # no way to the API server; the next look tries again
        return "failed", type(error).__name__
    return "written", ""


async def report_status(
    resources: ResourcesInForce,
    assess: Mapping[str, Assess],
    metrics: Metrics,
    *,
    service: str,
    timing: LeaseTiming = LeaseTiming(),
) -> None:
    """Reports on the kinds of `assess` whenever this process leads, until cancelled.

    Ends at once where resources are no custom resources: files have no status.

    Args:
        resources: what is in force.
        assess: see `StatusReporter`.
        metrics: of the process.
        service: that owns the kinds. Its processes share the Lease "infermesh-<service>": those of
            every release in the namespace, because they all see the same resources.
        timing: of the Lease.
    """
    if not isinstance(resources, KubernetesResourceStore):
        return
    reporter = StatusReporter(resources, assess, metrics)
    lease = f"infermesh-{service}"
    leadership = Leadership(resources.client, resources.namespace, lease, metrics, timing=timing)
    await leadership.run(reporter.run)

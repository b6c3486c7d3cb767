"""One process of several leads, by holding a Lease of `coordination.k8s.io`.

Not `kubernetes.leaderelection` (37.0.1): it can be neither stopped nor made to give its lease up,
ends with the first call that finds no API server, and goes by the clock on the wall, which jumps.
The rules are those of client-go's leaderelection: who sees a lease unchanged for as long as it
lasts may take it, and who cannot renew its own stops leading before that.
"""

import asyncio
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from infermesh_common.background import end_tasks
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_log = structlog.get_logger(__name__)
_GROUP = ("coordination.k8s.io", "v1")
_NOT_FOUND, _CONFLICT = 404, 409
_TIMEOUTS_S = (2.0, 3.0)


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """In seconds; client-go's.

    Attributes:
        lasts_s: how long a lease that is not renewed keeps others out; whole seconds.
        renew_within_s: a leader that has not renewed it for so long stops; shorter than `lasts_s`.
        retry_s: between two tries to take or renew it.
    """

    lasts_s: int = 15
    renew_within_s: float = 10.0
    retry_s: float = 2.0


class Leadership:
    """Takes the lease when it can be had, and gives it up at the end.

    Args:
        client: of the cluster.
        namespace: of the Lease.
        name: of the Lease.
        metrics: says whether this process leads.
        timing: see `LeaseTiming`.

    Attributes:
        identity: of this process, as the Lease shows it.
    """

    def __init__(
        self,
        client: "ApiClient",
        namespace: str,
        name: str,
        metrics: Metrics,
        *,
        timing: LeaseTiming = LeaseTiming(),
    ) -> None:
        # The name of a pod is its host's; a restarted container is another process.
        self.identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
        self._client = client
        self._where = (*_GROUP, namespace, "leases")
        self._namespace = namespace
        self._name = name
        self._timing = timing
        self._leads = metrics.gauge("infermesh_kubernetes_leader").labels(name)
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0
        self._away = False

    async def run(self, lead: Callable[[], Coroutine[None, None, None]]) -> None:
        """Runs `lead()` whenever this process leads, until cancelled.

        `lead()` is cancelled when the lease is lost. Its failure is raised, after the lease has
        been given up.
        """
        self._leads.set(0)
        # A thread of its own: a renewal must not queue behind the calls of others.
        thread = ThreadPoolExecutor(1, f"lease-{self._name}")
        loop = asyncio.get_running_loop()

        def in_thread(call: Callable[[], bool]) -> Awaitable[bool]:
            return loop.run_in_executor(thread, call)

        try:
            while True:
                if await in_thread(self._take):
                    await self._lead(lead, in_thread)
                await asyncio.sleep(self._timing.retry_s * random.uniform(1, 1.2))
        finally:
            # Behind a try that may be under way, and may yet take it.
            await in_thread(self._give_up)
            thread.shutdown(wait=False)

    async def _lead(
        self,
        lead: Callable[[], Coroutine[None, None, None]],
        in_thread: Callable[[Callable[[], bool]], Awaitable[bool]],
    ) -> None:
        _log.info("leading_began", lease=self._name, identity=self.identity)
        self._leads.set(1)
        work = asyncio.create_task(lead(), name=f"lead-{self._name}")
        renewed_at = time.monotonic()
        try:
            while time.monotonic() - renewed_at < self._timing.renew_within_s:
                await asyncio.wait({work}, timeout=self._timing.retry_s)
                if work.done():
                    break
                tried_at = time.monotonic()
                if await in_thread(self._take):
                    renewed_at = tried_at
        finally:
            self._leads.set(0)
            await end_tasks([work])
            _log.info("leading_ended", lease=self._name, identity=self.identity)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    def _take(self) -> bool:
        """Takes or renews the lease; whether it is held now. Runs in the thread."""
        from kubernetes.client import ApiException

        try:
            held = self._try_to_take()
        except Exception as error:  # whatever a network or the library may come up with
            if isinstance(error, ApiException) and error.status == _CONFLICT:
                return False  # another one was faster
            if not self._away:
                self._away = True
                status = error.status if isinstance(error, ApiException) else None
                _log.warning(
                    "lease_unreachable",
                    lease=self._name,
                    status=status,
                    error=type(error).__name__,
                )
            return False
        self._away = False
        return held

    def _try_to_take(self) -> bool:
        lease = self._read()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if lease is None:
            fresh = {
                "apiVersion": "/".join(_GROUP),
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": self._spec(now, acquired=now, transitions=0),
            }
            self._api().create_namespaced_custom_object(
                *self._where, fresh, _request_timeout=_TIMEOUTS_S
            )
            return True
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self.identity) and not self._has_run_out(spec):
            return False
        transitions = int(spec.get("leaseTransitions") or 0)
        if holder == self.identity:
            spec |= self._spec(
                now, acquired=spec.get("acquireTime") or now, transitions=transitions
            )
        else:
            spec |= self._spec(now, acquired=now, transitions=transitions + 1)
        self._replace(lease)
        return True

    def _has_run_out(self, spec: dict[str, Any]) -> bool:
        """Whether the lease of another has not changed for as long as it lasts.

        By the time this process has seen it: clocks of several machines do not agree.
        """
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        lasts_s = float(spec.get("leaseDurationSeconds") or self._timing.lasts_s)
        return now - self._seen_at > lasts_s

    def _spec(self, now: str, *, acquired: str, transitions: int) -> dict[str, object]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._timing.lasts_s,
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _give_up(self) -> bool:
        """Lets another process take the lease at once; nothing if that fails: it runs out."""
        try:
            lease = self._read()
            if lease is None or lease["spec"].get("holderIdentity") != self.identity:
                return False
            lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
            self._replace(lease)
        except Exception as error:  # as in _take
            _log.info("lease_not_given_up", lease=self._name, error=type(error).__name__)
            return False
        return True

    def _read(self) -> dict[str, Any] | None:
        from kubernetes.client import ApiException

        try:
            lease: dict[str, Any] = self._api().get_namespaced_custom_object(
                *self._where, self._name, _request_timeout=_TIMEOUTS_S
            )
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return lease

    def _replace(self, lease: dict[str, Any]) -> None:
        # With the version that was read: refused when another process was faster.
        self._api().replace_namespaced_custom_object(
            *self._where, self._name, lease, _request_timeout=_TIMEOUTS_S
        )

    def _api(self) -> Any:
        from kubernetes.client import CustomObjectsApi

        return CustomObjectsApi(self._client)

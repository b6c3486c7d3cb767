"""The stages that every service has: access log, metrics, identity."""

import time
from collections.abc import Container

import structlog
from prometheus_client import Counter, Histogram

from infermesh_common.context import RequestContext
from infermesh_common.errors import PermissionDenied
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_common.identity.model import Role
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.registry import LOG_FIELDS


class AccessLog:
    """One canonical line an RPC. Never holds a prompt, a key or a body."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("infermesh.access")

    def began(self, call: RequestContext) -> None:
        """Nothing: the line is written at the end."""

    def ended(self, call: RequestContext, code: str) -> None:
        """Writes the line."""
        identity = call.identity
        self._log.info(
            "rpc",
            method=call.method,
            request_id=call.request_id,
            tenant=identity.tenant if identity else None,
            key_id=identity.key_id if identity else None,
            code=code,
            duration_us=(time.perf_counter_ns() - call.started_ns) // 1000,
            **{name: value for name, value in call.log_fields.items() if name in LOG_FIELDS},
        )


class RpcMetrics:
    """Counts and times RPCs.

    Args:
        service: name of the service, a label.
        metrics: where to.
    """

    def __init__(self, service: str, metrics: Metrics) -> None:
        self._service = service
        self._requests = metrics.counter("infermesh_rpc_requests_total")
        self._duration = metrics.histogram("infermesh_rpc_duration_seconds")
        self._in_flight = metrics.gauge("infermesh_rpc_in_flight").labels(service)
        # labels() costs more than the increment; the set of methods and codes is small.
        self._counters: dict[tuple[str, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def began(self, call: RequestContext) -> None:
        """One more in flight."""
        self._in_flight.inc()

    def ended(self, call: RequestContext, code: str) -> None:
        """One less in flight, counted and timed."""
        self._in_flight.dec()
        method = call.method
        counter = self._counters.get((method, code))
        if counter is None:
            counter = self._requests.labels(self._service, method, code)
            self._counters[method, code] = counter
        counter.inc()
        histogram = self._histograms.get(method)
        if histogram is None:
            histogram = self._duration.labels(self._service, method)
            self._histograms[method] = histogram
        histogram.observe((time.perf_counter_ns() - call.started_ns) / 1e9)


class IdentityGuard:
    """Verifies the caller of every RPC, but of those that need no identity.

    Args:
        directory: what to verify against.
        open_methods: full methods that anybody may call.
    """

    def __init__(self, directory: IdentityDirectory, open_methods: Container[str] = ()) -> None:
        self._directory = directory
        self._open_methods = open_methods

    def admit(self, call: RequestContext) -> None:
        """Sets `call.identity`; errors as `IdentityDirectory.authenticate`."""
        if call.method not in self._open_methods:
            call.identity = self._directory.authenticate(call.metadata)


class RoleGuard:
    """Refuses methods to callers below a role.

    Args:
        roles: roles that may call a method; methods not named are open to every caller.
    """

    def __init__(self, roles: dict[str, frozenset[Role]]) -> None:
        self._roles = roles

    def admit(self, call: RequestContext) -> None:
        """Raises PermissionDenied (ROLE_REQUIRED) when the caller's role does not suffice."""
        allowed = self._roles.get(call.method)
        if allowed is not None and call.caller().role not in allowed:
            needed = " or ".join(sorted(role.name.lower() for role in allowed))
            raise PermissionDenied("ROLE_REQUIRED", f"This operation needs the role {needed}.")

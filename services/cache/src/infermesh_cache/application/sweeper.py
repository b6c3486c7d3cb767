"""Background maintenance: indexes forget what has expired, also when nobody asks for it."""

import asyncio

import structlog

from infermesh_cache.application.cache import Cache
from infermesh_cache.ports import Policies
from infermesh_common.errors import InfermeshError

_log = structlog.get_logger(__name__)
# Batches a tenant and round: no tenant keeps the others waiting for long.
_ROUNDS = 200


class Sweeper:
    """Goes through the tenants, a bounded piece of work each.

    Args:
        cache: what to maintain.
        policies: whose entries, and their bounds.
        interval_ms: time between two rounds, in milliseconds.
    """

    def __init__(self, cache: Cache, policies: Policies, *, interval_ms: int) -> None:
        self._cache = cache
        self._policies = policies
        self._interval_s = interval_ms / 1000

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.sweep()

    async def sweep(self) -> None:
        """One round. What fails is left for the next one."""
        for tenant, rules in self._policies.tenants().items():
            bound = rules.max_tenant_bytes if rules is not None else None
            try:
                await self._cache.maintain(tenant, bound, rounds=_ROUNDS)
            except InfermeshError as error:
                _log.warning("sweep_failed", tenant=tenant, reason=error.reason)
                return

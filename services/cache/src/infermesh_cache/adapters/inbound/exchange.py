"""`Exchange`: many operations over one stream."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator

from infermesh.cache.v1 import cache_pb2
from infermesh_cache.adapters.inbound.operations import Operations
from infermesh_common import context as request_context
from infermesh_common.background import end_tasks
from infermesh_common.context import RequestContext
from infermesh_common.errors import InvalidArgument, ResourceExhausted, to_status
from infermesh_common.identity.model import Identity, Role
from infermesh_common.rpc.pipeline import map_error

# Of one stream; a caller that has more under way is told so, operation by operation.
_MOST_UNDER_WAY = 4_096


class Exchange:
    """One stream of one caller.

    Each operation is a task of its own. Outcomes that are ready at the same time go out together.

    Args:
        operations: what serves them.
        stream: the RPC.
    """

    def __init__(self, operations: Operations, stream: RequestContext) -> None:
        self._operations = operations
        self._stream = stream
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcomes: list[cache_pb2.Outcome] = []
        self._ready = asyncio.Event()
        self._ended = False

    async def serve(
        self, requests: AsyncIterator[cache_pb2.ExchangeRequest]
    ) -> AsyncGenerator[cache_pb2.ExchangeResponse, None]:
        """The outcomes of all operations in `requests`; ends after the last of them."""
        reader = asyncio.create_task(self._read(requests), name="exchange-reader")
        try:
            while not self._ended or self._tasks or self._outcomes:
                await self._ready.wait()
                self._ready.clear()
                if self._outcomes:
                    outcomes, self._outcomes = self._outcomes, []
                    yield cache_pb2.ExchangeResponse(outcomes=outcomes)
            await reader
        finally:
            await end_tasks([reader, *self._tasks])

    async def _read(self, requests: AsyncIterator[cache_pb2.ExchangeRequest]) -> None:
        try:
            async for request in requests:
                for operation in request.operations:
                    self._begin(operation)
        finally:
            self._ended = True
            self._ready.set()

    def _begin(self, operation: cache_pb2.Operation) -> None:
        task = asyncio.create_task(self._run(operation))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ready.set()

    async def _run(self, operation: cache_pb2.Operation) -> None:
        call = self._call_of(operation)
        request_context.bind(call)
        outcome = cache_pb2.Outcome(id=operation.id)
        try:
            if len(self._tasks) > _MOST_UNDER_WAY:
                raise ResourceExhausted("TOO_MANY_OPERATIONS", "Too many operations are under way.")
            async with asyncio.timeout(call.remaining_s()):
                await self._serve(operation, outcome)
        except Exception as error:
            outcome.error.CopyFrom(to_status(map_error(call, error)))
        self._outcomes.append(outcome)

    def _call_of(self, operation: cache_pb2.Operation) -> RequestContext:
        """Each operation has a deadline of its own, and a tenant that the caller has verified."""
        stream = self._stream
        timeout_s = operation.timeout.ToMicroseconds() / 1e6
        limit_s = min(timeout_s, stream.remaining_s()) if timeout_s > 0 else stream.remaining_s()
        return RequestContext(
            method=stream.method,
            request_id=stream.request_id,
            metadata=stream.metadata,
            deadline_s=time.monotonic() + limit_s,
            started_ns=time.perf_counter_ns(),
            identity=Identity(operation.tenant, stream.caller().key_id, Role.SERVICE),
        )

    async def _serve(self, operation: cache_pb2.Operation, outcome: cache_pb2.Outcome) -> None:
        """Fills `outcome`."""
        tenant, serves = operation.tenant, self._operations
        kind = operation.WhichOneof("call")
        if kind == "lookup":
            outcome.lookup.CopyFrom(await serves.lookup(tenant, operation.lookup))
        elif kind == "store":
            outcome.store.CopyFrom(await serves.store(tenant, operation.store))
        elif kind == "renew_lease":
            renewed = await serves.renew_lease(tenant, operation.renew_lease)
            outcome.renew_lease.CopyFrom(renewed)
        elif kind == "release_lease":
            released = await serves.release_lease(tenant, operation.release_lease)
            outcome.release_lease.CopyFrom(released)
        else:
            raise InvalidArgument("CALL_MISSING", "An operation names its call.", field="call")

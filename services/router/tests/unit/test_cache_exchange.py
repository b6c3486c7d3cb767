"""Operations over shared streams end in their outcome or an error, whatever becomes of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh_common.errors import InvalidArgument, Unavailable, to_status
from infermesh_router.adapters.outbound.cache_exchange import CacheExchange

Requests = AsyncIterator[cache_pb2.ExchangeRequest]
Script = Callable[[Requests], AsyncIterator[cache_pb2.ExchangeResponse]]


class ScriptedCache(cache_pb2_grpc.CacheServiceServicer):
    """Counts streams and answers them by a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.streams: list[tuple[tuple[str, str | bytes], ...]] = []
        self.messages: list[int] = []
        self.open = 0

    async def Exchange(
        self, request_iterator: Requests, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[cache_pb2.ExchangeResponse]:
        self.streams.append(tuple(context.invocation_metadata() or ()))
        self.open += 1
        try:
            async for response in self.script(self._counted(request_iterator)):
                yield response
        finally:
            self.open -= 1

    async def _counted(self, requests: Requests) -> Requests:
        async for request in requests:
            self.messages.append(len(request.operations))
            yield request


def held(operation: cache_pb2.Operation) -> cache_pb2.Outcome:
    return cache_pb2.Outcome(id=operation.id, renew_lease=cache_pb2.RenewLeaseResponse(held=True))


async def obliging(requests: Requests) -> AsyncIterator[cache_pb2.ExchangeResponse]:
    async for request in requests:
        yield cache_pb2.ExchangeResponse(outcomes=map(held, request.operations))


def operation(tenant: str = "acme") -> cache_pb2.Operation:
    return cache_pb2.Operation(tenant=tenant, renew_lease=cache_pb2.RenewLeaseRequest())


@asynccontextmanager
async def exchange(
    cache: ScriptedCache, *, streams: int = 1, renew_after_s: float = 600.0
) -> AsyncIterator[CacheExchange]:
    server = grpc.aio.server()
    cache_pb2_grpc.add_CacheServiceServicer_to_server(cache, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        asked = CacheExchange(
            channel, internal_token="token", streams=streams, renew_after_s=renew_after_s
        )
        yield asked
        await asked.close()
    await server.stop(0)


async def test_operations_share_streams_and_messages() -> None:
    cache = ScriptedCache(obliging)
    async with exchange(cache, streams=2) as asked:
        outcomes = await asyncio.gather(*(asked.ask(operation(), 30) for _ in range(500)))
    assert all(outcome.renew_lease.held for outcome in outcomes)
    assert len({outcome.id for outcome in outcomes}) == 500
    assert len(cache.streams) == 2
    assert sum(cache.messages) == 500 and len(cache.messages) < 250
    assert all(("x-infermesh-internal-token", "token") in metadata for metadata in cache.streams)


async def test_outcomes_find_their_operation_in_whatever_order_they_come() -> None:
    async def backwards(requests: Requests) -> AsyncIterator[cache_pb2.ExchangeResponse]:
        kept: list[cache_pb2.Operation] = []
        async for request in requests:
            kept += request.operations
            if len(kept) == 20:
                break
        for late in reversed(kept):
            found = cache_pb2.StoreResponse(reason=late.tenant)
            yield cache_pb2.ExchangeResponse(outcomes=[cache_pb2.Outcome(id=late.id, store=found)])

    async with exchange(ScriptedCache(backwards)) as asked:
        tenants = [f"t{n}" for n in range(20)]
        outcomes = await asyncio.gather(*(asked.ask(operation(name), 30) for name in tenants))
    assert [outcome.store.reason for outcome in outcomes] == tenants


async def test_an_error_is_that_of_its_operation_alone() -> None:
    async def picky(requests: Requests) -> AsyncIterator[cache_pb2.ExchangeResponse]:
        async for request in requests:
            for asked in request.operations:
                outcome = held(asked)
                if asked.tenant == "bad":
                    refusal = InvalidArgument("TENANT_INVALID", "No.", field="tenant")
                    outcome.error.CopyFrom(to_status(refusal))
                yield cache_pb2.ExchangeResponse(outcomes=[outcome])

    async with exchange(ScriptedCache(picky)) as asked:
        good, bad = await asyncio.gather(
            asked.ask(operation("good"), 30),
            asked.ask(operation("bad"), 30),
            return_exceptions=True,
        )
    assert isinstance(good, cache_pb2.Outcome) and good.renew_lease.held
    assert isinstance(bad, InvalidArgument)
    assert (bad.reason, bad.field) == ("TENANT_INVALID", "tenant")


async def test_one_that_gets_no_outcome_times_out_and_the_stream_lives_on() -> None:
    async def deaf_at_first(requests: Requests) -> AsyncIterator[cache_pb2.ExchangeResponse]:
        seen = 0
        async for request in requests:
            for asked in request.operations:
                seen += 1
                if seen > 1:
                    yield cache_pb2.ExchangeResponse(outcomes=[held(asked)])

    cache = ScriptedCache(deaf_at_first)
    async with exchange(cache) as asked:
        with pytest.raises(TimeoutError):
            await asked.ask(operation(), 0.2)
        assert (await asked.ask(operation(), 30)).renew_lease.held
    assert len(cache.streams) == 1


async def test_a_stream_that_breaks_fails_what_is_on_it_and_the_next_opens_another() -> None:
    async def breaking(requests: Requests) -> AsyncIterator[cache_pb2.ExchangeResponse]:
        async for request in requests:
            if len(cache.streams) == 1:
                return
            yield cache_pb2.ExchangeResponse(outcomes=map(held, request.operations))

    cache = ScriptedCache(breaking)
    async with exchange(cache) as asked:
        first = await asyncio.gather(
            *(asked.ask(operation(), 30) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(outcome, Unavailable) for outcome in first)
        assert (await asked.ask(operation(), 30)).renew_lease.held
    assert len(cache.streams) == 2


async def test_a_cache_that_is_not_there_is_unavailable() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        asked = CacheExchange(channel, internal_token="t", streams=1, renew_after_s=600)
        with pytest.raises(Unavailable):
            await asked.ask(operation(), 30)
        await asked.close()


async def test_an_old_stream_is_replaced_and_ends_once_nothing_is_under_way() -> None:
    cache = ScriptedCache(obliging)
    async with exchange(cache, renew_after_s=0.0) as asked:
        for _ in range(5):
            assert (await asked.ask(operation(), 30)).renew_lease.held
        assert len(cache.streams) == 5
        async with asyncio.timeout(20):
            while cache.open > 1:
                await asyncio.sleep(0)


async def test_closing_leaves_no_task_behind() -> None:
    before = len(asyncio.all_tasks())
    async with exchange(ScriptedCache(obliging), streams=3) as asked:
        await asyncio.gather(*(asked.ask(operation(), 30) for _ in range(9)))
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0)

"""A router over real gRPC, with a scripted provider and an in-memory cache service."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import orjson
import pytest
import yaml
from google.api import httpbody_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from redis import Redis

from infermesh.analytics.v1 import events_pb2
from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh.common.v1 import semantic_pb2
from infermesh.router.v1 import (
    anthropic_pb2_grpc,
    inference_pb2_grpc,
    openai_pb2_grpc,
    operations_pb2_grpc,
)
from infermesh_common.background import end_tasks
from infermesh_common.context import bind, current
from infermesh_common.errors import InfermeshError, Unavailable, to_status
from infermesh_common.events import EVENT_FIELD, USAGE_STREAM
from infermesh_common.identity.model import Identity, Role
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.rpc.stages import IdentityGuard
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.resources import Document, model, resource
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import settings_for
from infermesh_common.testing.upstream import ScriptedUpstream
from infermesh_router.bootstrap import bootstrap
from infermesh_router.settings import RouterSettings


class FakeCache(cache_pb2_grpc.CacheServiceServicer):
    """The cache's contract in memory, and its ways to fail."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, bytes], cache_pb2.Entry] = {}
        self.flights: dict[tuple[str, bytes], str] = {}
        self.changed = asyncio.Condition()
        self.lookups = 0
        self.renewals = 0
        self.down = False
        self.stuck = False
        self.lease_ttl_s = 5.0
        # What the semantic tier says to whoever asks it, and the answer it serves.
        self.match: semantic_pb2.SemanticMatch | None = None
        self.meant: cache_pb2.Entry | None = None
        self.asked: list[cache_pb2.LookupRequest] = []
        self.learnt: list[str] = []

    async def _check(self) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        if self.down:
            raise Unavailable("REDIS_UNAVAILABLE", "redis failed.")

    async def Lookup(
        self, request: cache_pb2.LookupRequest, context: object
    ) -> cache_pb2.LookupResponse:
        self.lookups += 1
        await self._check()
        key = (current().caller().tenant, request.fingerprint)
        self.asked.append(request)
        if (entry := self.entries.get(key)) is not None:
            return cache_pb2.LookupResponse(hit=entry)
        if request.HasField("semantic") and self.meant is not None:
            return cache_pb2.LookupResponse(hit=self.meant, semantic=self.match)
        response = await self._miss(request, key)
        if request.HasField("semantic") and self.match is not None:
            response.semantic.CopyFrom(self.match)
            response.semantic_token = "lesson"
        return response

    async def _miss(
        self, request: cache_pb2.LookupRequest, key: tuple[str, bytes]
    ) -> cache_pb2.LookupResponse:
        if not request.single_flight:
            return cache_pb2.LookupResponse(miss=cache_pb2.Miss(reason="NOT_FOUND"))
        if key in self.flights:
            try:
                async with asyncio.timeout(request.wait.ToMilliseconds() / 1000):
                    async with self.changed:
                        await self.changed.wait_for(lambda: key not in self.flights)
            except TimeoutError:
                return cache_pb2.LookupResponse(miss=cache_pb2.Miss(reason="WAIT_TIMED_OUT"))
            if (entry := self.entries.get(key)) is not None:
                return cache_pb2.LookupResponse(hit=entry, shared=True)
        token = self.flights[key] = secrets.token_hex(8)
        lease = cache_pb2.Lease(token=token)
        lease.ttl.FromMilliseconds(int(self.lease_ttl_s * 1000))
        return cache_pb2.LookupResponse(lease=lease)

    async def Store(
        self, request: cache_pb2.StoreRequest, context: object
    ) -> cache_pb2.StoreResponse:
        await self._check()
        self.learnt.append(request.semantic_token)
        key = (current().caller().tenant, request.fingerprint)
        entry = cache_pb2.Entry()
        entry.CopyFrom(request.entry)
        entry.create_time.GetCurrentTime()
        self.entries[key] = entry
        await self._end(key)
        return cache_pb2.StoreResponse(stored=True, version=1)

    async def RenewLease(
        self, request: cache_pb2.RenewLeaseRequest, context: object
    ) -> cache_pb2.RenewLeaseResponse:
        await self._check()
        self.renewals += 1
        return cache_pb2.RenewLeaseResponse(held=True)

    async def ReleaseLease(
        self, request: cache_pb2.ReleaseLeaseRequest, context: object
    ) -> cache_pb2.ReleaseLeaseResponse:
        await self._check()
        key = (current().caller().tenant, request.fingerprint)
        if self.flights.get(key) == request.lease_token:
            await self._end(key)
        return cache_pb2.ReleaseLeaseResponse()

    async def PollChanges(
        self, request: cache_pb2.PollChangesRequest, context: object
    ) -> cache_pb2.PollChangesResponse:
        # No lease: every lookup is to be seen here.
        return cache_pb2.PollChangesResponse(cursor="0-0", all=True)

    async def Exchange(
        self, request_iterator: AsyncIterator[cache_pb2.ExchangeRequest], context: object
    ) -> AsyncIterator[cache_pb2.ExchangeResponse]:
        outcomes: asyncio.Queue[cache_pb2.Outcome] = asyncio.Queue()
        stream, tasks = current(), set()

        async def serve(operation: cache_pb2.Operation) -> None:
            identity = Identity(operation.tenant, "internal", Role.SERVICE)
            bind(replace(stream, identity=identity))
            outcome = cache_pb2.Outcome(id=operation.id)
            try:
                kind = operation.WhichOneof("call")
                if kind == "lookup":
                    outcome.lookup.CopyFrom(await self.Lookup(operation.lookup, context))
                elif kind == "store":
                    outcome.store.CopyFrom(await self.Store(operation.store, context))
                elif kind == "renew_lease":
                    renewed = await self.RenewLease(operation.renew_lease, context)
                    outcome.renew_lease.CopyFrom(renewed)
                else:
                    released = await self.ReleaseLease(operation.release_lease, context)
                    outcome.release_lease.CopyFrom(released)
            except InfermeshError as error:
                outcome.error.CopyFrom(to_status(error))
            await outcomes.put(outcome)

        async def read() -> None:
            async for request in request_iterator:
                for operation in request.operations:
                    task = asyncio.create_task(serve(operation))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)

        tasks.add(asyncio.create_task(read()))
        try:
            while True:
                yield cache_pb2.ExchangeResponse(outcomes=[await outcomes.get()])
        finally:
            await end_tasks(tasks)

    async def _end(self, key: tuple[str, bytes]) -> None:
        async with self.changed:
            self.flights.pop(key, None)
            self.changed.notify_all()


@dataclass
class Reply:
    """What a client of the OpenAI surface sees."""

    parts: list[httpbody_pb2.HttpBody]
    headers: dict[str, str]

    @property
    def data(self) -> bytes:
        return b"".join(part.data for part in self.parts)

    @property
    def body(self) -> dict[str, object]:
        parsed = orjson.loads(self.data)
        assert isinstance(parsed, dict)
        return parsed

    @property
    def events(self) -> list[dict[str, object]]:
        lines = self.data.decode().split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        return [orjson.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    @property
    def named_events(self) -> list[dict[str, object]]:
        """Events of wires whose events have names."""
        return [
            orjson.loads(e.split("\ndata: ", 1)[1]) for e in self.data.decode().split("\n\n")[:-1]
        ]

    @property
    def text(self) -> str:
        deltas = [c["delta"] for e in self.events for c in e["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


@dataclass
class Mesh:
    """A running router and everything around it."""

    upstream: ScriptedUpstream
    cache: FakeCache
    governance: FakeGovernance
    redis: Redis
    folder: Path
    api_key: str
    channel: grpc.aio.Channel | None = None
    metrics_port: int = 0
    _written: dict[str, Document] = field(default_factory=dict)

    @property
    def openai(self) -> openai_pb2_grpc.OpenAIServiceAsyncStub:
        return openai_pb2_grpc.OpenAIServiceStub(self.channel)

    @property
    def anthropic(self) -> anthropic_pb2_grpc.AnthropicServiceAsyncStub:
        return anthropic_pb2_grpc.AnthropicServiceStub(self.channel)

    @property
    def inference(self) -> inference_pb2_grpc.InferenceServiceAsyncStub:
        return inference_pb2_grpc.InferenceServiceStub(self.channel)

    @property
    def operations(self) -> operations_pb2_grpc.OperationsServiceAsyncStub:
        return operations_pb2_grpc.OperationsServiceStub(self.channel)

    @staticmethod
    def body(value: bytes | dict[str, object]) -> httpbody_pb2.HttpBody:
        data = value if isinstance(value, bytes) else orjson.dumps(value)
        return httpbody_pb2.HttpBody(data=data)

    def metadata(
        self, api_key: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[tuple[str, str], ...]:
        return (*bearer(api_key or self.api_key), *(headers or {}).items())

    async def chat(
        self,
        prompt: str = "Capital of France?",
        *,
        api_key: str | None = None,
        headers: dict[str, str] | None = None,
        **body: object,
    ) -> Reply:
        """Asks on the OpenAI surface."""
        full = {"model": "cheap", "messages": [{"role": "user", "content": prompt}], **body}
        return await self.post(orjson.dumps(full), api_key=api_key, headers=headers)

    async def post(
        self,
        data: bytes,
        *,
        api_key: str | None = None,
        headers: dict[str, str] | None = None,
        path: str = "chat",
    ) -> Reply:
        methods = {
            "chat": self.openai.CreateChatCompletion,
            "completions": self.openai.CreateCompletion,
            "embeddings": self.openai.CreateEmbedding,
            "messages": self.anthropic.CreateMessage,
            "responses": self.openai.CreateResponse,
        }
        call = methods[path](
            httpbody_pb2.HttpBody(data=data),
            metadata=self.metadata(api_key, headers),
            timeout=30,
        )
        parts = [part async for part in call]
        initial = await call.initial_metadata()
        return Reply(parts, {name: str(value) for name, value in initial or ()})

    def declare(self, *documents: Document) -> None:
        """Declares resources; the router reloads them."""
        for document in documents:
            metadata = document["metadata"]
            assert isinstance(metadata, dict)
            self._written[f"{document['kind']}-{metadata['name']}"] = document
        target = self.folder / "resources" / "all.yaml"
        fresh = target.with_suffix(".tmp")
        fresh.write_text(yaml.safe_dump_all(self._written.values()))
        fresh.rename(target)

    def events(self) -> list[events_pb2.UsageEvent]:
        """Usage events in the stream, oldest first."""
        entries = self.redis.xrange(USAGE_STREAM)
        assert isinstance(entries, list)
        return [events_pb2.UsageEvent.FromString(fields[EVENT_FIELD]) for _, fields in entries]

    async def event(self, number: int = -1, *, at_least: int = 1) -> events_pb2.UsageEvent:
        """One usage event, once enough are there."""
        await eventually(lambda: len(self.events()) >= at_least, what="usage events")
        return self.events()[number]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as server:
        yield server


@pytest.fixture
async def mesh(
    tmp_path: Path,
    redis_server: RedisServer,
    governance: FakeGovernance,
    upstream: ScriptedUpstream,
) -> AsyncIterator[Mesh]:
    cache = FakeCache()
    pipeline = ServerPipeline(
        observers=[], guards=[IdentityGuard(governance.directory)], default_deadline_ms=60_000
    )
    cache_server = grpc.aio.server(interceptors=[pipeline])
    cache_pb2_grpc.add_CacheServiceServicer_to_server(cache, cache_server)
    cache_port = cache_server.add_insecure_port("127.0.0.1:0")
    await cache_server.start()
    settings = settings_for(
        RouterSettings,
        "router",
        tmp_path,
        redis_server,
        targets={"cache": f"127.0.0.1:{cache_port}"},
        cache={"flight_poll_ms": 300},
        breaker={"failure_threshold": 3, "open_ms": 300},
    )
    api_key = governance.issue("acme", team="search")
    governance.issue("globex")
    with redis_server.client() as redis:
        running = Mesh(upstream, cache, governance, redis, tmp_path, api_key)
        timeouts = {"connectMs": 1000, "firstTokenMs": 1500, "betweenTokensMs": 700}
        running.declare(
            resource("Provider", "main", baseUrl=upstream.base_url, timeouts=timeouts),
            model("cheap", price="1", quality={"general": 0.5, "math": 0.2}),
            model("dear", price="10", quality={"general": 0.9}, aliases=["best"]),
            resource("RoutePolicy", "default", baselineModel="dear"),
            resource("CachePolicy", "default"),
            resource("Tenant", "acme"),
            resource("Tenant", "globex"),
        )
        async with bootstrap(settings, directory=governance.directory) as server:
            await server.start()
            running.metrics_port = server.metrics_port
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                running.channel = channel
                yield running
            await server.stop()
    await cache_server.stop(0)


@pytest.fixture
def reason_of() -> Callable[[grpc.aio.AioRpcError], str]:
    """The stable reason of a failed call."""

    def read(error: grpc.aio.AioRpcError) -> str:
        status = rpc_status.from_call(error)
        assert status is not None
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert info.domain == "infermesh.dev"
        return info.reason

    return read


@pytest.fixture
def openai_body() -> Callable[[grpc.aio.AioRpcError], dict[str, object]]:
    """The error of a failed call as OpenAI's SDKs see it."""

    def read(error: grpc.aio.AioRpcError) -> dict[str, object]:
        trailers = dict(error.trailing_metadata() or ())
        body = orjson.loads(trailers["x-infermesh-error"])["error"]
        assert isinstance(body, dict) and set(body) == {"message", "type", "param", "code"}
        return body

    return read

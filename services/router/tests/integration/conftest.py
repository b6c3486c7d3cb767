"""Models behind a provider that fails by hand, at any point of its HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import cast

import orjson
import pytest

from infermesh_common.background import BackgroundTasks
from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_common.secrets.facade import Secrets
from infermesh_common.settings import BreakerSettings, TelemetrySettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing
from infermesh_common.testing.resources import Document, model, resource
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import chunks, completion, sse
from infermesh_router.adapters.outbound.providers.pool import ProviderPool
from infermesh_router.application.attempts import ModelCall
from infermesh_router.application.model_stage import ModelStage, RetryRules
from infermesh_router.domain.decision import Decision
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import InferenceRequest, Surface
from infermesh_router.domain.resilience.key_ring import RestRules
from infermesh_router.domain.routing import Route

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MAX_BYTES = 1_000_000
TELEMETRY = TelemetrySettings(
    log_level="INFO", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=0
)


class RawUpstream:
    """An HTTP/1.1 server without a library in between.

    Attributes:
        script: by upstream model, what to do with a request; a proper answer where there is none.
        requests: bodies, oldest first; `keys` the key that came with each.
        accepted: connections so far; `open` those that are open.
    """

    def __init__(self) -> None:
        self.script: dict[str, Behaviour] = {}
        self.requests: list[dict[str, object]] = []
        self.keys: list[str] = []
        self.accepted = 0
        self.open = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        self.open += 1
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = orjson.loads(await reader.readexactly(int(fields["content-length"])))
                self.requests.append(body)
                self.keys.append(fields.get("authorization", "").removeprefix("bearer "))
                behaviour = self.script.get(body["model"])
                if behaviour is None:
                    writer.write(self.proper(body))
                else:
                    await behaviour(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client has closed the connection.
        finally:
            self.open -= 1
            writer.close()

    def proper(self, body: dict[str, object]) -> bytes:
        """A response that answers `body`."""
        return self.streamed() if body.get("stream") else self.whole()

    def whole(self, **headers: str) -> bytes:
        """A response with a whole answer."""
        data = orjson.dumps(completion())
        fields = {**headers, "content-length": str(len(data))}
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        return b"HTTP/1.1 200 OK\r\n" + named.encode() + b"\r\n" + data

    def streamed(self) -> bytes:
        """A response with a streamed answer."""
        events = [*map(sse, chunks()), b"data: [DONE]\n\n"]
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
        return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"


class Models:
    """Models a and b of one provider, c of another, as the router reaches them."""

    def __init__(self, upstream: RawUpstream, other: RawUpstream) -> None:
        self.upstream, self.other = upstream, other
        self.metrics = Metrics()
        self.background = BackgroundTasks()
        self.pool = ProviderPool(
            BreakerSettings(failure_threshold=50, open_ms=60_000, max_concurrent=64),
            RestRules(first_s=30, refused_s=60, longest_s=300),
            self.metrics,
            self.background,
            Tracing("router", TELEMETRY),
            Secrets(self.metrics, stale_after_s=60),
            max_response_bytes=MAX_BYTES,
        )
        self.stage = ModelStage(self.pool, self.metrics, RetryRules(share=1, per_second=10))
        self.decision = Decision("r")
        # Set once the first content of a stream is there.
        self.begun = asyncio.Event()
        self.declare()

    def declare(self, timeouts: dict[str, int] | None = None, **spec: object) -> None:
        """Declares the resources, with `spec` in the first provider."""
        limits = {"connectMs": 300, "firstTokenMs": 300, "betweenTokensMs": 300, "totalMs": 900}
        one: dict[str, object] = {"baseUrl": f"http://127.0.0.1:{self.upstream.port}/v1"}
        documents: list[Document] = [
            resource("Provider", "one", **{**one, "timeouts": timeouts or limits, **spec}),
            resource("Provider", "two", baseUrl=f"http://127.0.0.1:{self.other.port}/v1"),
            model("a", provider="one"),
            model("b", provider="one"),
            model("c", provider="two"),
        ]
        built = build([("test", document) for document in documents], ResourceSet())
        assert not built.faults
        self.registry = ModelRegistry(built)

    async def ask(self, *chain: str, stream: bool, hedge_ms: int | None = None) -> str:
        """The text of the answer."""
        self.decision = Decision("r")
        models = tuple(self.registry.models[name] for name in chain)
        body = {"messages": [{"role": "user", "content": "Hello"}]}
        request = InferenceRequest(Surface.CHAT, body, "auto", stream=stream)
        call = ModelCall(request, Route(models, (), "first"), 3, hedge_ms)
        if not stream:
            answer = await self.stage.complete(call, self.registry, self.decision)
            (choice,) = cast(list[dict[str, dict[str, str]]], answer.value["choices"])
            return choice["message"]["content"]
        text = ""
        async with aclosing(self.stage.stream(call, self.registry, self.decision)) as pieces:
            async for piece in pieces:
                self.begun.set()
                for chunk in piece:
                    choices = chunk.value["choices"]
                    assert isinstance(choices, list)
                    text += "".join(c["delta"].get("content") or "" for c in choices)
        return text

    async def close(self) -> None:
        """Closes everything; nothing of it may be left."""
        await self.pool.close()
        await self.background.drain(5)
        await eventually(lambda: not self.upstream.open, what="no connection is left open")
        await eventually(lambda: not self.other.open, what="no connection is left open")


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    upstream, other = RawUpstream(), RawUpstream()
    await upstream.start()
    await other.start()
    made = Models(upstream, other)
    yield made
    await made.close()
    await upstream.stop()
    await other.stop()
    # aiohttp closes resolvers and transports in tasks of their own, which end by themselves.
    me = {asyncio.current_task()}
    await eventually(lambda: asyncio.all_tasks() == me, what="no task is left behind")

"""The contract of all dialects: each wire's sample (`infermesh_router.testing.wires`) stands for a
provider, reached over HTTP through the same adapter as any other. A new dialect adds its sample
there and nothing here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import orjson
import pytest

from infermesh_common.background import BackgroundTasks
from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import Model, Provider
from infermesh_common.secrets.facade import Secrets
from infermesh_common.settings import BreakerSettings, TelemetrySettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing
from infermesh_common.testing.resources import model, resource
from infermesh_router.adapters.outbound.providers.pool import ProviderPool
from infermesh_router.domain.chat_stream import ChatStreamAssembler
from infermesh_router.domain.request import JsonObject, Surface
from infermesh_router.domain.resilience.key_ring import RestRules
from infermesh_router.ports import Attempt
from infermesh_router.testing.scripted_http import Reply, ScriptedHttp
from infermesh_router.testing.wire_sample import Heard, Part, Said, Turn, WireSample
from infermesh_router.testing.wires import WIRES

MAX_RESPONSE_BYTES = 200_000
QUESTION: JsonObject = {"messages": [{"role": "user", "content": "Where is it?"}]}


class Mesh:
    """The adapter to providers, and the provider it calls."""

    def __init__(self, wire: WireSample, upstream: ScriptedHttp, key_file: Path) -> None:
        self.wire = wire
        self.upstream = upstream
        self.background = BackgroundTasks()
        key_file.write_text(wire.secret + "\n")
        base_url = f"http://127.0.0.1:{upstream.port}{wire.base_path}"
        provider = parse(
            resource(
                "Provider",
                "main",
                protocol=wire.protocol,
                baseUrl=base_url,
                auth={"file": str(key_file)},
                **wire.spec,
            ),
            "test",
        )
        chosen = parse(model("m"), "test")
        assert isinstance(provider, Provider) and isinstance(chosen, Model)
        self.provider, self.model = provider, chosen
        telemetry = TelemetrySettings(
            log_level="INFO", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=0
        )
        metrics = Metrics()
        self.pool = ProviderPool(
            BreakerSettings(failure_threshold=1000, open_ms=1000, max_concurrent=10),
            RestRules(first_s=0.0, refused_s=0.0, longest_s=0.0),
            metrics,
            self.background,
            Tracing("router", telemetry),
            Secrets(metrics, stale_after_s=60),
            max_response_bytes=MAX_RESPONSE_BYTES,
        )

    async def close(self) -> None:
        await self.pool.close()
        await self.background.drain(1)

    def answers(self, said: Said) -> None:
        """The provider's next answers, whole."""
        self.upstream.reply = Reply([self.wire.whole(said)], headers=_JSON)

    def streams(self, pieces: Sequence[bytes], *, ends: bool = True) -> None:
        """The provider's next answers, as streams of `pieces`."""
        self.upstream.reply = Reply(pieces, headers=self.wire.stream_headers(), ends=ends)

    def refuses(self, status: int, message: str, **headers: str) -> None:
        """The provider's next answers, as refusals."""
        body = self.wire.error(status, message)
        self.upstream.reply = Reply([body], status, {**_JSON, **headers})

    async def complete(
        self, body: JsonObject = QUESTION, surface: Surface = Surface.CHAT
    ) -> JsonObject:
        """The provider's whole answer, in canonical form."""
        answer = await self.pool.complete(self.provider, self.model, surface, body, Attempt())
        return as_json(answer.data)

    async def stream(self, body: JsonObject = QUESTION) -> JsonObject:
        """The answer that the provider's stream amounts to."""
        assembler = ChatStreamAssembler()
        pieces = self.pool.stream(self.provider, self.model, Surface.CHAT, body, Attempt())
        async with aclosing(pieces):
            async for chunks in pieces:
                for chunk in chunks:
                    assembler.add(as_json(chunk.data))
        assert assembler.finished, "the stream ended without an answer and without an error"
        assert assembler.usage_seen
        return assembler.body()

    async def either(self, said: Said, *, stream: bool, body: JsonObject = QUESTION) -> JsonObject:
        """How `said` arrives."""
        if stream:
            self.streams(self.wire.streamed(said))
            return await self.stream(body)
        self.answers(said)
        return await self.complete(body)

    async def heard(self, body: JsonObject) -> Heard:
        """What the provider understands when it is asked `body`; the same whole and streamed."""
        said = Said(("Yes.",))
        await self.either(said, stream=False, body=body)
        await self.either(said, stream=True, body={**body, "stream": True})
        asked = self.upstream.received[-2:]
        assert all(request.headers["content-type"] == "application/json" for request in asked)
        whole, streamed = [self.wire.heard(request) for request in asked]
        assert (whole.stream, streamed.stream) == (False, True)
        assert joined(streamed.turns) == joined(whole.turns)
        return whole


_JSON = {"content-type": "application/json"}


def as_json(data: bytes) -> JsonObject:
    value = orjson.loads(data)
    assert isinstance(value, dict)
    return value


def joined(turns: Sequence[Turn]) -> list[tuple[str, list[Part]]]:
    """The conversation, with neighbouring turns of one side and neighbouring texts made one."""
    sides: list[tuple[str, list[Part]]] = []
    for turn in turns:
        if not sides or sides[-1][0] != turn.side:
            sides.append((turn.side, []))
        sides[-1][1].extend(turn.parts)
    return sides


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> WireSample:
    sample: WireSample = request.param
    return sample


@pytest.fixture
async def mesh(wire: WireSample, tmp_path: Path) -> AsyncIterator[Mesh]:
    async with ScriptedHttp() as upstream:
        running = Mesh(wire, upstream, tmp_path / "key")
        yield running
        await running.close()

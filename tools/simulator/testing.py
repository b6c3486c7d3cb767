"""Speaks to a simulator without a library in between, which would hide what is wrong."""

import asyncio
import time
from collections.abc import Callable
from http.client import HTTPResponse, IncompleteRead
from io import BytesIO
from socket import socket
from typing import Literal, NamedTuple, cast

import orjson

from tools.simulator.faults import Fault
from tools.simulator.server import Simulator

DEADLINE_S = 20
SILENCE_S = 0.1
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
REQUESTS: dict[tuple[str, bool], tuple[str, dict[str, object]]] = {
    ("openai", False): ("/v1/chat/completions", {**CHAT}),
    ("openai", True): ("/v1/chat/completions", {**CHAT, **WITH_USAGE}),
    ("anthropic", False): ("/v1/messages", {**CHAT, "max_tokens": 9}),
    ("anthropic", True): ("/v1/messages", {**CHAT, "max_tokens": 9, "stream": True}),
    ("gemini", False): ("/v1beta/models/m:generateContent", {**CONTENTS}),
    ("gemini", True): ("/v1beta/models/m:streamGenerateContent?alt=sse", {**CONTENTS}),
    ("bedrock", False): ("/model/m/converse", {**CONVERSE}),
    ("bedrock", True): ("/model/m/converse-stream", {**CONVERSE}),
}
HANGS = {fault for fault in Fault if fault.endswith("_hang")}
RESETS = {fault for fault in Fault if fault.endswith("_reset")}
# What the wire promises at the end of an answer, and how it looks.
TERMINATORS = {
    "openai": b"data: [DONE]",
    "anthropic": b"message_stop",
    "gemini": b"finishReason",
    "bedrock": b"messageStop",
}
FINISHES = {
    "openai": b'"finish_reason":"stop"',
    "anthropic": b'"end_turn"',
    "gemini": b"finishReason",
    "bedrock": b"stopReason",
}
USAGES = {
    "openai": b"prompt_tokens",
    "anthropic": b"output_tokens",
    "gemini": b"usageMetadata",
    "bedrock": b"totalTokens",
}


class Spoken(NamedTuple):
    """What came over a connection.

    Attributes:
        data: all bytes.
        end: how it ended.
    """

    data: bytes
    end: Literal["closed", "reset", "silent"]

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self._response().status

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        return {name.lower(): value for name, value in self._response().getheaders()}

    def body(self) -> bytes:
        """Without its framing.

        Raises:
            http.client.IncompleteRead: it is not all there; has what there is.
        """
        return self._response().read()

    def part(self) -> tuple[bytes, bool]:
        """What there is of the body, and whether that is all."""
        try:
            return self.body(), True
        except IncompleteRead as error:
            return error.partial, False

    def _response(self) -> HTTPResponse:
        # All it does with a socket is to make a file of it.
        response = HTTPResponse(cast(socket, _Received(self.data)))
        response.begin()
        return response


class _Received:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self._data)


class Speaker:
    """Speaks HTTP without a library in between, which would hide what is wrong.

    Args:
        sim: to speak to.
    """

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    async def ask(self, wire: str, stream: bool, *, silent: bool = False) -> Spoken:
        """One request on a connection of its own, until that ends.

        Args:
            wire: which.
            stream: events are wanted.
            silent: the end is that nothing comes any more.
        """
        path, body = REQUESTS[wire, stream]
        data = orjson.dumps(body)
        closing = "" if silent else "connection: close\r\n"
        head = f"POST {path} HTTP/1.1\r\ncontent-length: {len(data)}\r\n{closing}\r\n"
        done = len(self._sim.journal())
        over = (lambda: len(self._sim.journal()) > done) if silent else None
        return await self.say(head.encode() + data, over)

    async def say(self, data: bytes, over: Callable[[], bool] | None = None) -> Spoken:
        """Sends `data`, and hears until the connection ends, or is silent once it is `over`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._sim.port)
        received, deadline = b"", time.monotonic() + DEADLINE_S
        try:
            writer.write(data)
            while time.monotonic() < deadline:
                silent = over is not None and over()
                try:
                    piece = await asyncio.wait_for(reader.read(1 << 20), SILENCE_S)
                except TimeoutError:
                    if silent:
                        return Spoken(received, "silent")
                    continue
                if not piece:
                    return Spoken(received, "closed")
                received += piece
        except ConnectionResetError:
            return Spoken(received, "reset")
        finally:
            writer.close()
        raise AssertionError(f"no end after {received[-200:]!r}")


def is_whole(wire: str, stream: bool, body: bytes) -> bool:
    """Everything that the wire promises is there."""
    promised = [FINISHES[wire], USAGES[wire], *([TERMINATORS[wire]] if stream else [])]
    if not stream:
        try:
            orjson.loads(body)
        except ValueError:
            return False
    return all(part in body for part in promised)


async def strikes(sim: Simulator, fault: Fault, **more: object) -> None:
    """All requests from now on have this fault; nothing is counted yet."""
    await sim.load({"rules": [{"fault": {"name": fault, "size": 50_000, **more}}]})
    sim.reset()

"""A provider for tests: speaks OpenAI's wire over real HTTP and does what it is told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

import orjson
from aiohttp import web

Handler = Callable[[web.Request, dict[str, object]], Awaitable[web.StreamResponse]]


def completion(
    text: str = "Paris.", *, finish_reason: str = "stop", model: str = "upstream-model"
) -> dict[str, object]:
    """A chat completion with a usage of 9 + 4 tokens."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }


def chunks(
    texts: Sequence[str] = ("Par", "is."), *, finish_reason: str = "stop"
) -> list[dict[str, object]]:
    """The chunks of the same answer, with a usage chunk at the end."""
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "upstream-model",
    }

    def part(delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    return [
        part({"role": "assistant", "content": ""}),
        *(part({"content": text}) for text in texts),
        part({}, finish_reason),
        {**head, "choices": [], "usage": usage},
    ]


def sse(payload: object) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


class ScriptedUpstream:
    """A provider that records what it is asked and answers as scripted.

    Attributes:
        requests: bodies received, oldest first.
        headers: headers received with them.
        disconnected: set when a client left before the end.
        handler: what to do next; answers properly when None.
        host: address it listens on.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.requests: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.disconnected = asyncio.Event()
        self.handler: Handler | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def base_url(self) -> str:
        """For a Provider resource."""
        return f"http://{self.host}:{self.port}/v1"

    async def __aenter__(self) -> "ScriptedUpstream":
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.requests.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        try:
            if self.handler is not None:
                return await self.handler(request, body)
            return await self.answer(request, body)
        except asyncio.CancelledError:
            self.disconnected.set()
            raise

    async def answer(self, request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        """A proper answer."""
        if request.path.endswith("/embeddings"):
            return web.json_response(
                {
                    "object": "list",
                    "model": "upstream-model",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
                    "usage": {"prompt_tokens": 3, "total_tokens": 3},
                }
            )
        if not body.get("stream"):
            return web.json_response(completion())
        return await self.stream(request, [*map(sse, chunks()), b"data: [DONE]\n\n"])

    async def stream(
        self, request: web.Request, pieces: Sequence[bytes], *, then: Handler | None = None
    ) -> web.StreamResponse:
        """Streams `pieces`, then ends properly, or does what `then` says."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if then is not None:
            return await then(request, {})
        await response.write_eof()
        return response


def failing(status: int, error: dict[str, object], **headers: str) -> Handler:
    """A handler that answers with an OpenAI-shaped error."""

    async def handle(request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"error": error}, status=status, headers=named)

    return handle


async def break_off(request: web.Request, body: dict[str, object]) -> web.StreamResponse:
    """A handler that cuts the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(request: web.Request, body: dict[str, object]) -> web.StreamResponse:
    """A handler that never answers."""
    await asyncio.Event().wait()
    return web.Response()

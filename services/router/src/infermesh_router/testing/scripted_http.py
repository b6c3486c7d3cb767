"""An HTTP server for tests that answers with bytes it is given, in the pieces it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web

from infermesh_router.testing.wire_sample import Received

_LARGEST_REQUEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """One response.

    Attributes:
        pieces: body, each piece written by itself.
        status: of HTTP.
        headers: besides those of the transport.
        ends: False cuts the connection after the last piece.
    """

    pieces: Sequence[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    ends: bool = True


class ScriptedHttp:
    """Answers every POST with `reply` and remembers what it got.

    Attributes:
        port: where it listens on 127.0.0.1.
        reply: the next responses; refused with 599 while there is none.
        received: requests, oldest first.
    """

    def __init__(self) -> None:
        self.port = 0
        self.reply: Reply | None = None
        self.received: list[Received] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "ScriptedHttp":
        app = web.Application(client_max_size=_LARGEST_REQUEST_BYTES)
        app.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
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
        path, _, query = request.raw_path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(path, query, headers, await request.read()))
        reply = self.reply or Reply((b"no reply is scripted",), 599)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        await response.prepare(request)
        for piece in reply.pieces:
            await response.write(piece)
        if reply.ends:
            await response.write_eof()
        elif request.transport is not None:
            request.transport.abort()
        return response

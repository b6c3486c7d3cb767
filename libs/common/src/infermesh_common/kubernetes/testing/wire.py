"""The HTTP side of `FakeApiServer`."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked.

    Attributes:
        method: of HTTP.
        path: without the query.
        query: each parameter once.
        body: parsed; None without one.
        content_type: of the body.
    """

    method: str
    path: str
    query: dict[str, str]
    body: Any
    content_type: str

    @property
    def watches(self) -> bool:
        """Whether it is a watch."""
        return self.query.get("watch") in ("true", "True")


class ApiError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    def body(self) -> Object:
        """As the API has it."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": self.reason,
            "message": self.reason,
            "code": self.status,
        }


class Api(Protocol):
    """What answers are made of."""

    silent: bool

    @property
    def cuts(self) -> int:
        """How often open connections have been broken."""

    def opened(self, connection: socket.socket) -> None:
        """There is a connection."""

    def closed(self, connection: socket.socket) -> None:
        """It has ended."""

    def heard(self, request: Request) -> None:
        """There is a request."""

    def answer(self, request: Request) -> Object:
        """The body of any answer but that of a watch; raises ApiError."""

    def watched(self, request: Request) -> Iterator[bytes]:
        """The lines of a watch, empty ones where there is nothing to say; raises ApiError."""

    def pause(self) -> None:
        """A moment between two looks at what a test wants."""


def handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            api.opened(self.connection)

        def finish(self) -> None:
            api.closed(self.connection)
            super().finish()

        def log_message(self, format: str, *args: object) -> None:
            return

        def _serve(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            request = Request(
                self.command,
                url.path,
                {name: values[0] for name, values in parse_qs(url.query).items()},
                json.loads(self.rfile.read(length)) if length else None,
                self.headers.get("content-type") or "",
            )
            api.heard(request)
            cuts = api.cuts
            while api.silent and cuts == api.cuts and not request.watches:
                api.pause()
            try:
                if request.watches:
                    self._watch(request)
                else:
                    self._send(200, api.answer(request))
            except ApiError as error:
                self._send(error.status, error.body())

        do_GET = do_POST = do_PUT = do_PATCH = _serve

        def _send(self, status: int, body: Object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _watch(self, request: Request) -> None:
            lines = api.watched(request)
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for line in lines:
                if line:
                    self._chunk(line)
                else:
                    api.pause()
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the client, or a test, has broken the connection

    return Handler

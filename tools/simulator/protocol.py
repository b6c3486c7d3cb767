"""HTTP/1.1 on one connection: reads requests one after another and carries out what is planned."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

import httptools

from tools.simulator.counts import Counts
from tools.simulator.engine import Engine, Request
from tools.simulator.faults import Fault
from tools.simulator.plan import Ending, Plan, Step

CONTROL = "/_simulator/"
# What was sent before a reset has reached the client by then: a reset overtakes what waits.
_BEFORE_RESET_S = 0.01
_LINGER = struct.pack("ii", 1, 0)
_GREETING = b"220 smtp.example.test ESMTP ready\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
Control = Callable[[Request], Awaitable[bytes]]


class Service:
    """What connections share.

    Args:
        engine: in force; may be replaced.
        counts: kept by connections.
        control: answers below `CONTROL`.
    """

    def __init__(self, engine: Engine, counts: Counts, control: Control) -> None:
        self.engine = engine
        self.counts = counts
        self.control = control
        self.connections: set[Connection] = set()


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        service: it belongs to.
        faulty: it may fail as a script says of connections.
    """

    def __init__(self, service: Service, *, faulty: bool) -> None:
        self._service = service
        self.faulty = faulty
        self._deaf = False
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False
        self._steps: tuple[Step, ...] = ()
        self._at = 0
        self._plan: Plan | None = None
        self._request: Request | None = None
        self._keep_alive = True
        self._timer: asyncio.TimerHandle | None = None
        self._control: asyncio.Task[None] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serves it, or fails."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._service.connections.add(self)
        fault = None
        if self.faulty:
            self._service.counts.accepted += 1
            self._service.counts.open += 1
            fault = self._service.engine.rules.connection()
        if fault is not None:
            self._fail(fault)

    def connection_lost(self, error: Exception | None) -> None:
        """Forgets it; what was not yet said is abandoned."""
        self._service.connections.discard(self)
        if self.faulty:
            self._service.counts.open -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._control is not None:
            self._control.cancel()
        if self._plan is not None:
            self._done(self._plan, sent=False)

    def data_received(self, data: bytes) -> None:
        """Parses."""
        if self._deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # A defect of ours must not look like an answer to a request that is bad.
            self.close()
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._deaf = True
            self._transport.write(_BAD_REQUEST)
            self._transport.close()

    # httptools

    def on_url(self, url: bytes) -> None:
        """A piece of the target of the request."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        """Answers it, after those before it."""
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, query, self._headers, self._body)
        self._url, self._headers, self._body = b"", [], b""
        keep_alive = self._parser.should_keep_alive()
        if self._busy:
            self._waiting.append((request, keep_alive))
        else:
            self._start(request, keep_alive)

    # Answers

    @property
    def idle(self) -> bool:
        """No request is being answered."""
        return not self._busy

    def close(self) -> None:
        """At once."""
        self._transport.abort()

    def _start(self, request: Request, keep_alive: bool) -> None:
        self._busy = True
        self._keep_alive = keep_alive
        if request.path.startswith(CONTROL):
            self._control = self._loop.create_task(self._controlled(request))
            return
        plan = self._service.engine.respond(request)
        if isinstance(plan, bytes):
            self._transport.write(plan)
            self._next()
            return
        self._service.counts.asked(plan)
        self._plan, self._request = plan, request
        self._steps, self._at = plan.steps, 0
        self._go_on()

    def _go_on(self) -> None:
        """Carries out steps until there is one to wait for."""
        self._timer = None
        while self._at < len(self._steps):
            step = self._steps[self._at]
            self._at += 1
            if isinstance(step, float):
                self._timer = self._loop.call_later(step, self._go_on)
                return
            self._transport.write(step)
        plan = self._plan
        assert plan is not None
        self._plan = None
        self._done(plan, sent=not self._transport.is_closing())
        if plan.ending is Ending.KEEP:
            self._next()
        else:
            self._end(plan.ending, said=bool(plan.steps))

    def _done(self, plan: Plan, *, sent: bool) -> None:
        counts = self._service.counts
        name = None
        if counts.journal.maxlen and self._request is not None:
            name = self._request.header("x-request-id") or None
        counts.done(plan, name, sent=sent)

    def _next(self) -> None:
        if not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            self._loop.call_soon(self._start, *self._waiting.popleft())
        else:
            self._busy = False

    def _end(self, ending: Ending, *, said: bool) -> None:
        # Stays busy: what comes after is never answered.
        self._deaf = True
        if ending is Ending.CLOSE:
            self._transport.close()
        elif ending is Ending.RESET and said:
            self._timer = self._loop.call_later(_BEFORE_RESET_S, self._reset)
        elif ending is Ending.RESET:
            self._reset()

    def _fail(self, fault: Fault) -> None:
        self._service.counts.faults[fault].requests += 1
        self._busy = True
        self._deaf = True
        if fault is Fault.CONNECT_GARBAGE:
            self._transport.write(_GREETING)
        elif fault is Fault.CONNECT_CLOSE:
            self._transport.close()
        elif fault is Fault.CONNECT_RESET:
            self._reset()

    def _reset(self) -> None:
        """Ends the connection with a reset instead of an orderly end."""
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._transport.abort()

    async def _controlled(self, request: Request) -> None:
        try:
            self._transport.write(await self._service.control(request))
        except Exception:
            # Nor like one that hangs.
            self.close()
            raise
        self._control = None
        self._next()

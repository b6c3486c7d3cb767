"""The simulator as it runs: in an event loop, or in a thread with one of its own."""

import asyncio
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import orjson
import uvloop

from tools.simulator.counts import Counts, CountsReport, JournalEntry
from tools.simulator.engine import Engine, Request
from tools.simulator.faults import Fault
from tools.simulator.plan import response
from tools.simulator.protocol import CONTROL, Connection, Service
from tools.simulator.replay import Recordings, read_recordings
from tools.simulator.script import Latency, Script, ScriptError, as_script, parse_script
from tools.simulator.wire import JSON_TYPE

HOST = "127.0.0.1"
_BACKLOG = 1024
_T = TypeVar("_T")


class Simulator:
    """A simulator that listens; `simulator` makes one.

    Args:
        script: in force at first.
        recordings: to replay.
        latency_ms: before headers, of a script that does not say.
        journal: how many requests it holds.
    """

    def __init__(
        self, script: Script, recordings: Recordings | None, latency_ms: float, journal: int
    ) -> None:
        self._recordings = recordings
        self._latency_ms = latency_ms
        self._counts = Counts(deque(maxlen=journal))
        self._script = self._with_latency(script)
        self._service = Service(self._engine(), self._counts, self._control)
        self._host = HOST
        self._listener: asyncio.Server | None = None
        self._control_listener: asyncio.Server | None = None
        self.port = 0
        self.control_port = 0

    @property
    def url(self) -> str:
        """Without a path."""
        return f"http://{HOST}:{self.port}"

    @property
    def control_url(self) -> str:
        """Without a path; answers when `url` does not."""
        return f"http://{HOST}:{self.control_port}"

    def counts(self) -> CountsReport:
        """As the README has it."""
        return self._counts.report()

    def journal(self) -> list[JournalEntry]:
        """The last requests, oldest first."""
        return list(self._counts.journal)

    def reset(self) -> None:
        """Counts and journal empty, rules count from the start."""
        self._counts.reset()
        self._service.engine = self._engine()

    async def load(self, script: object) -> None:
        """Puts another script into force.

        Raises:
            ScriptError: it is none; then the old one stays.
        """
        self._script = self._with_latency(as_script(script))
        self._service.engine = self._engine()
        await self._listen_or_not()
        if self._script.connections is not None:
            # Only a new connection can fail as one.
            self._close(lambda connection: connection.faulty and connection.idle)

    async def start(self, port: int, control_port: int, host: str = HOST) -> None:
        """Listens; a port of 0 is any free one.

        Raises:
            OSError: a port is taken.
        """
        self._host = host
        bound = _bound(host, port)
        self.port = bound.getsockname()[1]
        if self._refuses:
            bound.close()
        else:
            self._listener = await self._served(bound, faulty=True)
        bound = _bound(host, control_port)
        self.control_port = bound.getsockname()[1]
        self._control_listener = await self._served(bound, faulty=False)

    async def stop(self) -> None:
        """Ends all connections."""
        for listener in (self._listener, self._control_listener):
            if listener is not None:
                listener.close()
        self._close(lambda connection: True)
        while self._service.connections:
            await asyncio.sleep(0)

    @property
    def _refuses(self) -> bool:
        connections = self._script.connections
        return connections is not None and connections.fault is Fault.CONNECT_REFUSED

    async def _listen_or_not(self) -> None:
        if self._refuses and self._listener is not None:
            self._listener.close()
            self._listener = None
        elif not self._refuses and self._listener is None:
            self._listener = await self._served(_bound(self._host, self.port), faulty=True)

    async def _served(self, listening: socket.socket, *, faulty: bool) -> asyncio.Server:
        def connection() -> Connection:
            return Connection(self._service, faulty=faulty)

        loop = asyncio.get_running_loop()
        return await loop.create_server(connection, sock=listening, backlog=_BACKLOG)

    def _close(self, which: Callable[[Connection], bool]) -> None:
        for connection in [*self._service.connections]:
            if which(connection):
                connection.close()

    def _engine(self) -> Engine:
        return Engine(self._script, self._recordings)

    def _with_latency(self, script: Script) -> Script:
        if "latency" in script.model_fields_set or not self._latency_ms:
            return script
        return script.model_copy(update={"latency": Latency(headers_ms=self._latency_ms)})

    async def _control(self, request: Request) -> bytes:
        what = (request.method, request.path.removeprefix(CONTROL))
        match what:
            case ("GET", "counts"):
                return _json(200, self.counts())
            case ("GET", "journal"):
                return _json(200, self.journal())
            case ("POST", "reset"):
                self.reset()
                return _json(200, {})
            case ("PUT", "script"):
                try:
                    await self.load(parse_script(request.body))
                except ScriptError as error:
                    return _json(400, {"error": str(error)})
                return _json(200, {"rules": len(self._script.rules)})
            case _:
                return _json(404, {"error": f"no {what[0]} {request.path} here"})


@asynccontextmanager
async def simulator(
    script: object = None,
    *,
    replay: Path | None = None,
    latency_ms: float = 0,
    journal: int = 1000,
    port: int = 0,
    control_port: int = 0,
    host: str = HOST,
) -> AsyncIterator[Simulator]:
    """A simulator that runs in this event loop while the block does.

    Args:
        script: a `Script`, a mapping of that form, or None: one fixed answer.
        replay: folder with recorded outcomes.
        latency_ms: before headers, of a script that does not say.
        journal: how many requests it holds.
        port: to listen on; 0: any free one. The same for `control_port`.
        host: address to listen on; loopback, unless it runs in a pod of its own.

    Raises:
        ScriptError: `script` is none.
        ReplayError: nothing can be replayed from there.
        OSError: a port is taken.
    """
    recordings = read_recordings(replay) if replay is not None else None
    running = Simulator(as_script(script), recordings, latency_ms, journal)
    try:
        await running.start(port, control_port, host)
        yield running
    finally:
        await running.stop()


class SimulatorInThread:
    """A simulator in a thread of its own; its methods may be called from any other.

    Args:
        running: it.
        loop: of that thread.
    """

    def __init__(self, running: Simulator, loop: asyncio.AbstractEventLoop) -> None:
        self._running = running
        self._loop = loop
        self.port = running.port
        self.control_port = running.control_port
        self.url = running.url
        self.control_url = running.control_url

    def counts(self) -> CountsReport:
        """As the README has it."""
        return self._there(_called(self._running.counts))

    def journal(self) -> list[JournalEntry]:
        """The last requests, oldest first."""
        return self._there(_called(self._running.journal))

    def reset(self) -> None:
        """Counts and journal empty, rules count from the start."""
        self._there(_called(self._running.reset))

    def load(self, script: object) -> None:
        """Puts another script into force.

        Raises:
            ScriptError: it is none; then the old one stays.
        """
        self._there(self._running.load(script))

    def _there(self, call: Coroutine[object, object, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


@contextmanager
def simulator_in_thread(
    script: object = None, *, replay: Path | None = None, latency_ms: float = 0, journal: int = 1000
) -> Iterator[SimulatorInThread]:
    """A simulator that runs while the block does, for callers that block.

    Args and errors: see `simulator`.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        context = simulator(script, replay=replay, latency_ms=latency_ms, journal=journal)
        running = runner.run(context.__aenter__())
        thread = threading.Thread(target=loop.run_forever, name="simulator")
        thread.start()
        try:
            yield SimulatorInThread(running, loop)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            runner.run(context.__aexit__(None, None, None))


async def _called(function: Callable[[], _T]) -> _T:
    return function()


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _json(status: int, value: object) -> bytes:
    return response(status, JSON_TYPE, orjson.dumps(value))

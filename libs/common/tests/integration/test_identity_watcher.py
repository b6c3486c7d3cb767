"""The directory follows governance through everything that happens to the stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import grpc
import pytest

from infermesh.governance.v1 import identity_pb2, identity_pb2_grpc
from infermesh_common.identity.directory import INTERNAL_TOKEN_HEADER, IdentityDirectory
from infermesh_common.identity.watch import IdentityWatcher
from infermesh_common.rpc.client import Channels
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.servers import eventually, free_port

TOKEN = "token-of-the-mesh"
Response = identity_pb2.WatchIdentitiesResponse
Request = identity_pb2.WatchIdentitiesRequest
Context = grpc.aio.ServicerContext[Request, Response]
Script = Callable[[], AsyncIterator[Response]]


def snapshot(version: int) -> Response:
    return Response(version=version, snapshot=identity_pb2.IdentitySnapshot())


class ScriptedGovernance(identity_pb2_grpc.IdentityServiceServicer):
    """Streams what a test says, on a port that stays the same when it is started again."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.target = f"127.0.0.1:{free_port()}"
        self.watchers: list[str] = []
        self.tokens: list[object] = []
        self.connected_at: list[float] = []
        self._server: grpc.aio.Server | None = None

    async def WatchIdentities(self, request: Request, context: Context) -> AsyncIterator[Response]:
        self.watchers.append(request.watcher)
        self.tokens.append(dict(context.invocation_metadata() or ()).get(INTERNAL_TOKEN_HEADER))
        self.connected_at.append(asyncio.get_running_loop().time())
        async for response in self.script():
            yield response

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        identity_pb2_grpc.add_IdentityServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.target)
        await self._server.start()

    async def kill(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


@pytest.fixture
def directory() -> IdentityDirectory:
    return IdentityDirectory(internal_token=TOKEN, max_age_s=300)


@asynccontextmanager
async def watching(
    governance: ScriptedGovernance, directory: IdentityDirectory, *, silence_s: float = 20.0
) -> AsyncIterator[asyncio.Task[None]]:
    """A watcher of a running `governance`; both are ended at the end."""
    channels = Channels(max_message_bytes=1_000_000)
    watcher = IdentityWatcher(
        channels.to(governance.target),
        directory,
        internal_token=TOKEN,
        watcher="probe",
        silence_s=silence_s,
    )
    await governance.start()
    task = asyncio.create_task(watcher.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await governance.kill()
        await channels.close()


def connected(governance: ScriptedGovernance, times: int) -> bool:
    return len(governance.connected_at) == times


async def once_then_silence() -> AsyncIterator[Response]:
    yield snapshot(1)
    await asyncio.Event().wait()


async def test_a_snapshot_is_in_force_as_soon_as_it_is_pushed(
    directory: IdentityDirectory,
) -> None:
    issuer = FakeGovernance(IdentityDirectory(internal_token=TOKEN, max_age_s=300))
    key = issuer.issue("acme")
    pushed: asyncio.Queue[Response] = asyncio.Queue()

    async def script() -> AsyncIterator[Response]:
        yield snapshot(1)
        while True:
            yield await pushed.get()

    governance = ScriptedGovernance(script)
    async with watching(governance, directory):
        await eventually(directory.is_fresh)
        message = snapshot(2)
        message.snapshot.keys.extend(issuer.records.values())
        message.snapshot.tenants.add(tenant="acme")
        await pushed.put(message)
        await eventually(lambda: directory.version == 2)
        assert directory.authenticate(dict(bearer(key))).tenant == "acme"
    assert governance.watchers == ["probe"] and governance.tokens == [TOKEN]


async def test_the_watch_survives_the_death_of_the_server(directory: IdentityDirectory) -> None:
    governance = ScriptedGovernance(once_then_silence)
    async with watching(governance, directory):
        for connections in (1, 2, 3):
            await eventually(partial(connected, governance, connections))
            await governance.kill()
            await governance.start()
        await eventually(lambda: len(governance.watchers) == 4)
    assert directory.version == 1


async def test_the_watch_begins_before_governance_is_there(directory: IdentityDirectory) -> None:
    governance = ScriptedGovernance(once_then_silence)
    channels = Channels(max_message_bytes=1_000_000)
    watcher = IdentityWatcher(
        channels.to(governance.target),
        directory,
        internal_token=TOKEN,
        watcher="probe",
        silence_s=0.2,
    )
    task = asyncio.create_task(watcher.run())
    try:
        await asyncio.wait({task}, timeout=0.5)
        assert not task.done() and not directory.is_fresh()
        await governance.start()
        await eventually(directory.is_fresh)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await governance.kill()
        await channels.close()


async def test_a_silent_stream_is_taken_for_dead(directory: IdentityDirectory) -> None:
    governance = ScriptedGovernance(once_then_silence)
    async with watching(governance, directory, silence_s=0.1):
        await eventually(lambda: len(governance.watchers) >= 3)


async def test_a_stream_that_ends_is_begun_anew(directory: IdentityDirectory) -> None:
    async def script() -> AsyncIterator[Response]:
        yield snapshot(1)

    governance = ScriptedGovernance(script)
    async with watching(governance, directory):
        await eventually(lambda: len(governance.watchers) >= 3)


async def test_the_delay_grows_while_nothing_comes_and_starts_again_when_something_does(
    directory: IdentityDirectory,
) -> None:
    answers = False

    async def script() -> AsyncIterator[Response]:
        if answers:
            yield snapshot(1)

    governance = ScriptedGovernance(script)
    async with watching(governance, directory):
        await eventually(lambda: len(governance.connected_at) == 5)
        answers = True
        await eventually(lambda: len(governance.connected_at) == 8)
    gaps = [
        later - earlier
        for earlier, later in zip(governance.connected_at[:-1], governance.connected_at[1:])
    ]
    assert gaps[0] < gaps[2] and gaps[1] < gaps[3]
    assert min(gaps[5:]) < gaps[3]


async def test_a_key_of_a_role_yet_unknown_does_not_end_the_watch(
    directory: IdentityDirectory,
) -> None:
    async def script() -> AsyncIterator[Response]:
        message = snapshot(1)
        setattr(message.snapshot.keys.add(key_id="0" * 16, tenant="acme"), "role", 99)
        yield message
        yield snapshot(2)
        await asyncio.Event().wait()

    governance = ScriptedGovernance(script)
    async with watching(governance, directory) as task:
        await eventually(lambda: directory.version == 2)
        assert not task.done()


async def test_cancelling_the_watch_leaves_no_task_and_no_stream(
    directory: IdentityDirectory,
) -> None:
    before = asyncio.all_tasks()
    closed = asyncio.Event()

    async def script() -> AsyncIterator[Response]:
        try:
            yield snapshot(1)
            await asyncio.Event().wait()
        finally:
            closed.set()

    governance = ScriptedGovernance(script)
    async with watching(governance, directory) as task:
        await eventually(directory.is_fresh)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(closed.is_set, what="the server sees the watcher leave")
    await eventually(lambda: asyncio.all_tasks() <= before, what="no task is left")

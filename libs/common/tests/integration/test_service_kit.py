"""What every composition root is built on comes up as a whole and ends as a whole."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from infermesh.governance.v1 import identity_pb2, identity_pb2_grpc
from infermesh_common.background import end_tasks
from infermesh_common.context import RequestContext
from infermesh_common.errors import InfermeshError
from infermesh_common.identity.model import Role
from infermesh_common.rpc.health import Health
from infermesh_common.rpc.kit import service_kit
from infermesh_common.rpc.pipeline import Trailers
from infermesh_common.settings import CommonSettings, Settings, SettingsError
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.rpc import (
    METHODS,
    SERVICE,
    ScriptedService,
    scripted_client,
)
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import INTERNAL_TOKEN, settings_for

pytestmark = pytest.mark.usefixtures("probe_packages")
FAILED = "infermesh_background_failures_total"


class Limits(Settings):
    depth: int
    width: int


class ProbeSettings(CommonSettings):
    greeting: str
    limits: Limits


@pytest.fixture
def settings(tmp_path: Path, redis_server: RedisServer) -> ProbeSettings:
    """Settings on free ports; Redis is not asked for anything."""
    return settings_for(ProbeSettings, "probe", tmp_path, redis_server, greeting="hi")


async def test_settings_for_tests_are_the_shipped_ones_with_what_the_test_says(
    settings: ProbeSettings, redis_server: RedisServer
) -> None:
    assert (settings.greeting, settings.limits.depth) == ("hi", 3)
    assert settings.redis.url == redis_server.url
    assert settings.breaker.failure_threshold == 5


async def test_a_server_of_the_kit_has_the_standard_stages(
    settings: ProbeSettings, governance: FakeGovernance
) -> None:
    def trailers(call: RequestContext, error: InfermeshError) -> Trailers:
        return (("x-surface", error.reason),)

    async with service_kit("probe", settings, governance.directory) as kit:
        server = kit.server(
            service_names=[SERVICE],
            checks={"identity": kit.identities_fresh},
            roles={METHODS["unary_unary"]: frozenset({Role.ADMIN})},
            open_methods=frozenset({METHODS["stream_unary"]}),
            error_trailers=trailers,
        )
        ScriptedService().add_to(server.grpc)
        await server.start()
        try:
            async with scripted_client(f"127.0.0.1:{server.port}") as client:
                admin = bearer(governance.issue("acme", Role.ADMIN))
                member = bearer(governance.issue("acme"))
                assert await client.answers("unary_unary", "a", metadata=admin) == ["a"]
                assert await client.answers("unary_stream", "a", metadata=member) == ["a"]
                assert await client.answers("stream_unary", "a") == ["a"]
                call = client.start("unary_unary", metadata=member)
                assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
                assert dict(await call.trailing_metadata())["x-surface"] == "ROLE_REQUIRED"
        finally:
            await server.stop()
        labels = {"service": "probe", "method": METHODS["unary_unary"], "code": "OK"}
        assert kit.metrics.sample("infermesh_rpc_requests_total", labels) == 1


async def test_a_health_of_its_own_may_be_brought(
    settings: ProbeSettings, governance: FakeGovernance
) -> None:
    async with service_kit("probe", settings, governance.directory) as kit:
        health = Health({})
        server = kit.server(service_names=[], checks={}, health=health)
        await server.start()
        await eventually(lambda: health.ready)
        await server.stop()
        assert not health.ready


async def test_a_background_task_that_fails_is_counted_and_logged_without_its_text(
    settings: ProbeSettings, governance: FakeGovernance, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(text: str) -> None:
        raise ValueError(text)

    async with service_kit("probe", settings, governance.directory) as kit:
        kit.spawn(fail("a customer's prompt"), "doomed")
        await eventually(lambda: kit.metrics.sample(FAILED, {"task": "doomed"}) == 1)
    output = capsys.readouterr().out
    (line,) = [json.loads(text) for text in output.splitlines() if "background_task" in text]
    assert line["task"] == "doomed" and line["error"].startswith("ValueError\n")
    assert "customer" not in output


async def test_leaving_the_kit_ends_its_tasks_and_its_channels(
    settings: ProbeSettings, governance: FakeGovernance
) -> None:
    before = asyncio.all_tasks()
    ended = asyncio.Event()

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with service_kit("probe", settings, governance.directory) as kit:
        kit.spawn(for_ever(), "for-ever")
        channel = kit.channels.to("127.0.0.1:1")
        await asyncio.sleep(0)
        labels = {"task": "for-ever"}
    assert ended.is_set() and asyncio.all_tasks() <= before
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    assert kit.metrics.sample(FAILED, labels) == 0, "to be cancelled is no failure"


async def test_a_token_that_cannot_be_read_ends_the_start(settings: ProbeSettings) -> None:
    settings.identity.internal_token_file.unlink()
    with pytest.raises(SettingsError, match="secret file"):
        async with service_kit("probe", settings):
            raise AssertionError("started")


class Governance(identity_pb2_grpc.IdentityServiceServicer):
    """Pushes one snapshot and remembers who asked."""

    def __init__(self, snapshot: identity_pb2.IdentitySnapshot) -> None:
        self.snapshot = snapshot
        self.asked: list[tuple[str, object]] = []

    async def WatchIdentities(
        self,
        request: identity_pb2.WatchIdentitiesRequest,
        context: grpc.aio.ServicerContext[
            identity_pb2.WatchIdentitiesRequest, identity_pb2.WatchIdentitiesResponse
        ],
    ) -> AsyncIterator[identity_pb2.WatchIdentitiesResponse]:
        metadata = dict(context.invocation_metadata() or ())
        self.asked.append((request.watcher, metadata.get("x-infermesh-internal-token")))
        yield identity_pb2.WatchIdentitiesResponse(version=1, snapshot=self.snapshot)
        await asyncio.Event().wait()


async def test_a_service_that_follows_governance_becomes_able_to_verify_callers(
    tmp_path: Path, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    key = governance.issue("acme")
    tenants = [identity_pb2.TenantRecord(tenant="acme")]
    snapshot = identity_pb2.IdentitySnapshot(keys=governance.records.values(), tenants=tenants)
    servicer = Governance(snapshot)
    server = grpc.aio.server()
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    targets = {"governance": f"127.0.0.1:{port}"}
    settings = settings_for(
        ProbeSettings, "probe", tmp_path, redis_server, targets=targets, greeting="hi"
    )
    try:
        async with service_kit("probe", settings) as kit:
            age = "infermesh_identity_snapshot_age_seconds"
            assert not await kit.identities_fresh()
            kit.follow_identities()
            assert kit.metrics.sample(age) == float("inf")
            await eventually(kit.identities_fresh)
            assert kit.directory.authenticate(dict(bearer(key))).tenant == "acme"
            assert 0 <= kit.metrics.sample(age) < float("inf")
    finally:
        await server.stop(None)
    assert servicer.asked == [("probe", INTERNAL_TOKEN)]


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end_tasks([task])
    assert task.done() and swallowed == 2
    await end_tasks([])

"""With certificates, services talk to each other and to nobody else, and a renewal is not felt."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from infermesh_common.rpc.kit import ServiceKit, service_kit
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.settings import CommonSettings, Settings, SettingsError
from infermesh_common.testing.certificates import CertificateAuthority, MountedSecret
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.rpc import SERVICE, ScriptedClient, ScriptedService
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import settings_for

pytestmark = pytest.mark.usefixtures("probe_packages")
READS = "infermesh_certificate_reads_total"


class Limits(Settings):
    depth: int
    width: int


class ProbeSettings(CommonSettings):
    greeting: str
    limits: Limits


Running = tuple[ServiceKit, GrpcServer]
Start = Callable[[MountedSecret | None], AbstractAsyncContextManager[Running]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """The CA of the mesh."""
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def mounted(tmp_path: Path, authority: CertificateAuthority) -> MountedSecret:
    """The certificate of the mesh."""
    secret = MountedSecret(tmp_path / "tls")
    secret.write(authority.issue())
    return secret


@pytest.fixture
def start(tmp_path: Path, redis_server: RedisServer, governance: FakeGovernance) -> Start:
    """Runs a service that has a certificate, or none; its connections end after a moment."""

    @asynccontextmanager
    async def run(secret: MountedSecret | None) -> AsyncIterator[Running]:
        settings = settings_for(
            ProbeSettings,
            "probe",
            tmp_path,
            redis_server,
            greeting="hi",
            mtls=None if secret is None else secret.mtls.model_dump(mode="json"),
            server={"health_address": "127.0.0.1:0", "max_connection_age_ms": 300},
        )
        async with service_kit("probe", settings, governance.directory) as kit:
            server = kit.server(service_names=[SERVICE], checks={})
            ScriptedService(slow).add_to(server.grpc)
            await server.start()
            try:
                yield kit, server
            finally:
                await server.stop()

    return run


async def slow(text: str) -> AsyncGenerator[str, None]:
    """In so many steps."""
    for step in range(int(text)):
        await asyncio.sleep(0.002)
        yield str(step)


async def refused(target: str, credentials: grpc.ChannelCredentials | None) -> str:
    """Why a call is."""
    channel = (
        grpc.aio.insecure_channel(target)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials)
    )
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ScriptedClient(channel).answers("unary_unary", "1")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return str(caught.value.details())


async def test_services_reach_each_other_and_nobody_else_reaches_them(
    start: Start,
    mounted: MountedSecret,
    authority: CertificateAuthority,
    tmp_path: Path,
    governance: FakeGovernance,
) -> None:
    key = bearer(governance.issue("acme"))
    stranger = CertificateAuthority(tmp_path).issue()
    async with start(mounted) as (kit, server):
        target = f"127.0.0.1:{server.port}"
        client = ScriptedClient(kit.channels.to(target))
        assert await client.answers("unary_unary", "1", metadata=key) == ["0"]
        await refused(target, None)
        await refused(target, grpc.ssl_channel_credentials(authority.certificate))
        await refused(
            target,
            grpc.ssl_channel_credentials(
                authority.certificate, stranger["tls.key"], stranger["tls.crt"]
            ),
        )


async def test_a_server_with_another_name_is_not_talked_to(
    start: Start, mounted: MountedSecret, authority: CertificateAuthority
) -> None:
    async with start(mounted) as (kit, _):
        credentials = kit.certificates.channel_credentials() if kit.certificates else None
        mounted.write(authority.issue(["DNS:mesh-cache.ns.svc"]))
        async with start(mounted) as (_, impostor):
            assert "mesh-cache.ns.svc" not in (impostor_target := f"127.0.0.1:{impostor.port}")
            await refused(impostor_target, credentials)


async def test_a_wildcard_stands_for_the_services_of_a_namespace(
    start: Start,
    mounted: MountedSecret,
    authority: CertificateAuthority,
    governance: FakeGovernance,
) -> None:
    mounted.write(authority.issue(["DNS:*.ns.svc"]))
    async with start(mounted) as (kit, server):
        assert kit.certificates is not None
        names = {"mesh-cache.ns.svc": True, "mesh-cache.other.svc": False, "a.b.ns.svc": False}
        for name, accepted in names.items():
            async with grpc.aio.secure_channel(
                f"127.0.0.1:{server.port}",
                kit.certificates.channel_credentials(),
                options=[("grpc.ssl_target_name_override", name)],
            ) as channel:
                call = ScriptedClient(channel).start("unary_unary", "1")
                unknown_caller = await call.code() is grpc.StatusCode.UNAUTHENTICATED
                assert unknown_caller == accepted, name


async def test_probes_need_no_certificate_and_find_health_alone(
    start: Start, mounted: MountedSecret
) -> None:
    async with start(mounted) as (_, server):
        target = f"127.0.0.1:{server.health_port}"
        async with grpc.aio.insecure_channel(target) as channel:
            call = ScriptedClient(channel).start("unary_unary", "1")
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("arity", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_renewal_under_load_fails_no_call(
    start: Start,
    mounted: MountedSecret,
    authority: CertificateAuthority,
    tmp_path: Path,
    governance: FakeGovernance,
    arity: str,
) -> None:
    """The CA changes too: first both are trusted, then the new one signs, then the old one goes."""
    key = bearer(governance.issue("acme"))
    fresh = CertificateAuthority(tmp_path)
    both = authority.certificate + fresh.certificate
    steps = [
        {**authority.issue(), "ca.crt": both},
        {**fresh.issue(), "ca.crt": both},
        fresh.issue(),
    ]
    async with start(mounted) as (kit, server):
        client = ScriptedClient(kit.channels.to(f"127.0.0.1:{server.port}"))
        done = asyncio.Event()
        answered = 0

        async def load() -> None:
            nonlocal answered
            while not done.is_set():
                answers = await client.answers(arity, "40", metadata=key)
                assert answers[-1] == "39"
                answered += 1

        async def more(calls: int) -> None:
            goal = answered + calls
            await eventually(lambda: answered >= goal)

        async def renewed(times: int) -> None:
            await eventually(lambda: kit.metrics.sample(READS, {"result": "renewed"}) == times)

        callers = [asyncio.ensure_future(load()) for _ in range(8)]
        for number, files in enumerate(steps, start=1):
            await more(20)
            mounted.write(files)
            await renewed(number)
        await more(40)
        done.set()
        await asyncio.gather(*callers)
        # Who still shows the old certificate is a stranger now.
        old = authority.issue()
        await refused(
            f"127.0.0.1:{server.port}",
            grpc.ssl_channel_credentials(fresh.certificate, old["tls.key"], old["tls.crt"]),
        )


async def test_files_that_do_not_belong_together_change_nothing(
    start: Start,
    mounted: MountedSecret,
    authority: CertificateAuthority,
    governance: FakeGovernance,
) -> None:
    key = bearer(governance.issue("acme"))
    async with start(mounted) as (kit, server):
        mounted.write({**authority.issue(), "tls.key": authority.issue()["tls.key"]})
        await eventually(lambda: kit.metrics.sample(READS, {"result": "failed"}) == 1)
        client = ScriptedClient(kit.channels.to(f"127.0.0.1:{server.port}"))
        assert await client.answers("unary_unary", "1", metadata=key) == ["0"]
        mounted.write(authority.issue())
        await eventually(lambda: kit.metrics.sample(READS, {"result": "renewed"}) == 1)
        assert await client.answers("unary_unary", "1", metadata=key) == ["0"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tls.key", b"", "do not belong together"),
        ("tls.crt", b"nonsense", "do not belong together"),
        ("ca.crt", b"nonsense", "do not belong together|not PEM"),
        ("ca.crt", b"\xff", "not PEM"),
    ],
)
async def test_a_service_does_not_start_with_files_it_cannot_use(
    start: Start,
    mounted: MountedSecret,
    authority: CertificateAuthority,
    name: str,
    content: bytes,
    says: str,
) -> None:
    mounted.write({**authority.issue(), name: content})
    with pytest.raises(SettingsError, match=says):
        async with start(mounted):
            raise AssertionError("started")


async def test_a_service_does_not_start_without_its_files(
    start: Start, mounted: MountedSecret
) -> None:
    (mounted.folder / "ca.crt").unlink()
    with pytest.raises(SettingsError, match=r"ca\.crt: No such file"):
        async with start(mounted):
            raise AssertionError("started")

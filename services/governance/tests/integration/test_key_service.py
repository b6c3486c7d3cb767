"""KeyService and TenantService over gRPC, on a real Redis."""

import asyncio
import time
import uuid
from collections.abc import Awaitable

import grpc
import pytest
from google.protobuf import timestamp_pb2

from infermesh.common.v1 import page_pb2
from infermesh.governance.v1 import keys_pb2, tenants_pb2
from infermesh_common.errors import (
    AlreadyExists,
    FailedPrecondition,
    InfermeshError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    from_rpc_error,
)
from infermesh_common.identity.model import hash_key, parse_key_id
from infermesh_common.testing.identity import bearer, new_api_key
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_governance.testing import INTERNAL, Deployment, Replica


@pytest.fixture
async def replica(mesh: Deployment, redis_server: RedisServer) -> Replica:
    """A ready replica."""
    return await mesh.ready(redis_server)


async def _refusal(call: Awaitable[object]) -> InfermeshError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return from_rpc_error(refused.value)


async def _list(
    replica: Replica, caller: str, tenant: str = "", size: int = 0, token: str = ""
) -> keys_pb2.ListKeysResponse:
    page = page_pb2.PageRequest(page_size=size, page_token=token)
    return await replica.keys.ListKeys(
        keys_pb2.ListKeysRequest(tenant=tenant, page=page), metadata=bearer(caller), timeout=20
    )


def _ids(keys: list[str]) -> list[str]:
    return [key.split("_")[1] for key in keys]


async def test_a_key_is_what_was_asked_for(mesh: Deployment, replica: Replica) -> None:
    before = time.time()
    expires = timestamp_pb2.Timestamp(seconds=int(before) + 3600, nanos=5_000)
    response = await replica.keys.CreateKey(
        keys_pb2.CreateKeyRequest(
            request_id=str(uuid.uuid4()),
            tenant="acme",
            role=keys_pb2.ROLE_ADMIN,
            description="naïve ✓",
            expire_time=expires,
            team="search",
        ),
        metadata=bearer(mesh.operator_key),
        timeout=20,
    )
    key = response.key

    assert parse_key_id(response.secret) == key.key_id
    assert (key.tenant, key.role, key.description) == ("acme", keys_pb2.ROLE_ADMIN, "naïve ✓")
    assert key.expire_time == expires and key.team == "search"
    assert before - 1 <= key.create_time.ToMicroseconds() / 1e6 <= time.time() + 1
    assert not key.HasField("revoke_time")
    listed = await _list(replica, mesh.operator_key, "acme")
    assert list(listed.keys) == [key]


async def test_a_key_works_from_the_answer_on_and_not_after_its_revocation(
    mesh: Deployment, replica: Replica
) -> None:
    member = await replica.create(mesh.operator_key, "acme")
    assert await replica.admits(member)
    revoked = await replica.revoke(mesh.operator_key, member)
    assert revoked.HasField("revoke_time")
    assert not await replica.admits(member)
    # For good, and the same answer however often.
    assert await replica.revoke(mesh.operator_key, member) == revoked


async def test_a_member_manages_no_keys(mesh: Deployment, replica: Replica) -> None:
    member = await replica.create(mesh.operator_key, "acme")
    metadata = bearer(member)
    for call in (
        replica.keys.CreateKey(keys_pb2.CreateKeyRequest(), metadata=metadata, timeout=20),
        replica.keys.ListKeys(keys_pb2.ListKeysRequest(), metadata=metadata, timeout=20),
        replica.keys.RevokeKey(keys_pb2.RevokeKeyRequest(), metadata=metadata, timeout=20),
    ):
        refused = await _refusal(call)
        assert isinstance(refused, PermissionDenied)
        assert refused.reason == "ROLE_REQUIRED"


async def test_nobody_manages_keys_without_a_key(replica: Replica) -> None:
    assert isinstance(
        await _refusal(replica.keys.ListKeys(keys_pb2.ListKeysRequest(), timeout=20)),
        Unauthenticated,
    )
    # The internal token identifies a service, which has no business here.
    refused = await _refusal(
        replica.keys.ListKeys(keys_pb2.ListKeysRequest(), metadata=INTERNAL, timeout=20)
    )
    assert refused.reason == "ROLE_REQUIRED"


async def test_an_admin_never_touches_another_tenants_keys(
    mesh: Deployment, replica: Replica
) -> None:
    admin = await replica.create(mesh.operator_key, "acme", keys_pb2.ROLE_ADMIN)
    own = await replica.create(admin)
    foreign = await replica.create(mesh.operator_key, "globex")

    for tenant in ("globex", "initech"):
        with pytest.raises(PermissionDenied):
            await replica.create(admin, tenant)
        assert isinstance(await _refusal(_list(replica, admin, tenant)), PermissionDenied)
    with pytest.raises(PermissionDenied):
        await replica.create(admin, "", keys_pb2.ROLE_OPERATOR)
    nothing = new_api_key()[1]
    answers = []
    for key in (foreign, mesh.operator_key, nothing):
        with pytest.raises(NotFound) as refused:
            await replica.revoke(admin, key)
        answers.append((refused.value.reason, refused.value.message, refused.value.metadata))
    assert len({str(answer) for answer in answers}) == 1

    assert await replica.admits(foreign)
    listed = await _list(replica, admin)
    assert [key.key_id for key in listed.keys] == _ids([admin, own])


async def test_an_operator_manages_every_tenant(mesh: Deployment, replica: Replica) -> None:
    second = await replica.create(mesh.operator_key, "", keys_pb2.ROLE_OPERATOR)
    of_acme = await replica.create(second, "acme")
    of_globex = await replica.create(second, "globex")

    with pytest.raises(NotFound) as refused:
        await replica.create(second, "initech")
    assert refused.value.reason == "TENANT_NOT_FOUND"
    everything = await _list(replica, second)
    assert [key.key_id for key in everything.keys] == _ids(
        [mesh.operator_key, second, of_acme, of_globex]
    )
    assert [key.key_id for key in (await _list(replica, second, "acme")).keys] == _ids([of_acme])
    await replica.revoke(second, of_acme)
    assert not await replica.admits(of_acme)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (keys_pb2.CreateKeyRequest(tenant="acme"), "REQUEST_ID_INVALID"),
        (
            keys_pb2.CreateKeyRequest(
                tenant="acme", request_id=str(uuid.uuid4()), role=keys_pb2.ROLE_SERVICE
            ),
            "ROLE_NOT_ISSUABLE",
        ),
        (
            keys_pb2.CreateKeyRequest(
                tenant="acme",
                request_id=str(uuid.uuid4()),
                expire_time=timestamp_pb2.Timestamp(seconds=1),
            ),
            "EXPIRE_TIME_INVALID",
        ),
        (
            keys_pb2.CreateKeyRequest(
                tenant="acme",
                request_id=str(uuid.uuid4()),
                expire_time=timestamp_pb2.Timestamp(seconds=2**62),
            ),
            "EXPIRE_TIME_INVALID",
        ),
        (keys_pb2.CreateKeyRequest(request_id=str(uuid.uuid4())), "TENANT_REQUIRED"),
    ],
)
async def test_a_wrong_request_makes_no_key(
    mesh: Deployment, replica: Replica, request_: keys_pb2.CreateKeyRequest, reason: str
) -> None:
    refused = await _refusal(
        replica.keys.CreateKey(request_, metadata=bearer(mesh.operator_key), timeout=20)
    )
    assert isinstance(refused, InvalidArgument)
    assert refused.reason == reason
    assert len((await _list(replica, mesh.operator_key)).keys) == 1


async def test_a_role_of_the_future_is_refused(mesh: Deployment, replica: Replica) -> None:
    request = keys_pb2.CreateKeyRequest(request_id=str(uuid.uuid4()), tenant="acme")
    request.MergeFromString(b"\x18\x63")  # role = 99
    refused = await _refusal(
        replica.keys.CreateKey(request, metadata=bearer(mesh.operator_key), timeout=20)
    )
    assert refused.reason == "ROLE_UNKNOWN"


async def test_a_repeated_request_makes_one_key(mesh: Deployment, replica: Replica) -> None:
    request = keys_pb2.CreateKeyRequest(request_id=str(uuid.uuid4()), tenant="acme")
    metadata = bearer(mesh.operator_key)
    answers = await asyncio.gather(
        *(replica.keys.CreateKey(request, metadata=metadata, timeout=20) for _ in range(8)),
        return_exceptions=True,
    )
    (made,) = [a for a in answers if isinstance(a, keys_pb2.CreateKeyResponse)]
    for answer in answers:
        if isinstance(answer, grpc.aio.AioRpcError):
            refused = from_rpc_error(answer)
            assert isinstance(refused, AlreadyExists)
            assert refused.reason == "REQUEST_ALREADY_DONE"
            assert refused.metadata == {"key_id": made.key.key_id}
            assert made.secret not in refused.message
    assert len((await _list(replica, mesh.operator_key, "acme")).keys) == 1


async def test_the_same_request_id_of_two_tenants_makes_two_keys(
    mesh: Deployment, replica: Replica
) -> None:
    request_id = str(uuid.uuid4())
    for tenant in ("acme", "globex"):
        await replica.keys.CreateKey(
            keys_pb2.CreateKeyRequest(request_id=request_id, tenant=tenant),
            metadata=bearer(mesh.operator_key),
            timeout=20,
        )
    assert len((await _list(replica, mesh.operator_key)).keys) == 3


async def test_the_pages_of_a_list_are_the_list(mesh: Deployment, replica: Replica) -> None:
    keys = [await replica.create(mesh.operator_key, "acme") for _ in range(7)]
    seen: list[str] = []
    token = ""
    while True:
        page = await _list(replica, mesh.operator_key, "acme", 3, token)
        seen += [key.key_id for key in page.keys]
        token = page.page.next_page_token
        if not token:
            break
        refused = await _refusal(_list(replica, mesh.operator_key, "globex", 3, token))
        assert refused.reason == "PAGE_TOKEN_INVALID"
    assert seen == _ids(keys)
    for size, token in ((-1, ""), (1, "made-up")):
        refused = await _refusal(_list(replica, mesh.operator_key, "acme", size, token))
        assert isinstance(refused, InvalidArgument)


async def test_a_declared_key_works_is_listed_and_is_withdrawn_with_its_resource(
    mesh: Deployment, replica: Replica
) -> None:
    key_id, declared = new_api_key()
    (mesh.folder / "ci-key").write_text(declared)
    spec: dict[str, object] = {
        "tenant": "acme",
        "role": "admin",
        "secretRef": {"file": str(mesh.folder / "ci-key")},
    }
    mesh.declare("ApiKey", "ci", spec)
    await eventually(lambda: replica.admits(declared))

    (listed,) = (await _list(replica, declared)).keys
    assert (listed.key_id, listed.tenant) == (key_id, "acme")
    assert not listed.HasField("create_time")
    for key in (declared, mesh.operator_key):
        with pytest.raises(FailedPrecondition) as refused:
            await replica.revoke(mesh.operator_key, key)
        assert refused.value.reason == "KEY_IS_DECLARED"

    rotated = new_api_key()[1]
    (mesh.folder / "ci-key").write_text(rotated)
    await eventually(lambda: replica.admits(rotated))
    assert not await replica.admits(declared)
    mesh.withdraw("ApiKey", "ci")

    async def withdrawn() -> bool:
        return not await replica.admits(rotated)

    await eventually(withdrawn)


async def test_a_caller_sees_the_tenants_it_may_see(mesh: Deployment, replica: Replica) -> None:
    async def names(metadata: tuple[tuple[str, str], ...], size: int = 0) -> list[str]:
        seen: list[str] = []
        token = ""
        while True:
            page = page_pb2.PageRequest(page_size=size, page_token=token)
            response = await replica.tenants.ListTenants(
                tenants_pb2.ListTenantsRequest(page=page), metadata=metadata, timeout=20
            )
            seen += [tenant.name for tenant in response.tenants]
            token = response.page.next_page_token
            if not token:
                return seen

    for role in (keys_pb2.ROLE_MEMBER, keys_pb2.ROLE_ADMIN):
        key = await replica.create(mesh.operator_key, "acme", role)
        assert await names(bearer(key)) == ["acme"]
    assert await names(bearer(mesh.operator_key), 1) == ["acme", "globex"]
    assert await names(INTERNAL) == ["acme", "globex"]
    response = await replica.tenants.ListTenants(
        tenants_pb2.ListTenantsRequest(), metadata=bearer(mesh.operator_key), timeout=20
    )
    assert response.tenants[0].display_name == "Acme Corporation"


async def test_redis_holds_hashes_under_the_tenants_name(
    mesh: Deployment, replica: Replica, redis_server: RedisServer
) -> None:
    api_key = await replica.create(mesh.operator_key, "acme")
    await replica.create(mesh.operator_key, "", keys_pb2.ROLE_OPERATOR)
    key_id = api_key.split("_")[1]
    with redis_server.client() as redis:
        names = [name.decode() for name in redis.scan_iter()]
        assert all(name.startswith(("acme:governance:", "-:governance:")) for name in names)
        held = redis.hget(f"acme:governance:key:{key_id}", "sha256")
    assert held == hash_key(api_key).hex().encode()

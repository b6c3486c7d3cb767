"""Real governance replicas for tests, of this service and of those that depend on it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import yaml

from infermesh.governance.v1 import (
    identity_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    tenants_pb2,
    tenants_pb2_grpc,
)
from infermesh_common.background import end_tasks
from infermesh_common.errors import InfermeshError, from_rpc_error
from infermesh_common.identity.directory import INTERNAL_TOKEN_HEADER, IdentityDirectory
from infermesh_common.identity.watch import IdentityWatcher
from infermesh_common.resources.types import API_VERSION
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.testing.identity import bearer, new_api_key
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import INTERNAL_TOKEN, settings_for
from infermesh_governance.bootstrap import bootstrap
from infermesh_governance.settings import GovernanceSettings

INTERNAL = ((INTERNAL_TOKEN_HEADER, INTERNAL_TOKEN),)
"""Metadata of a service of the mesh."""
_CALL_S = 20.0


def accepts(directory: IdentityDirectory, api_key: str) -> bool:
    """Whether a service with this directory would let the bearer of the key in."""
    try:
        directory.authenticate(dict(bearer(api_key)))
    except InfermeshError:
        return False
    return True


@dataclass
class Replica:
    """One governance replica as its callers see it."""

    channel: grpc.aio.Channel
    target: str
    metrics_port: int

    @property
    def keys(self) -> "keys_pb2_grpc.KeyServiceAsyncStub":
        """KeyService of this replica."""
        return keys_pb2_grpc.KeyServiceStub(self.channel)

    @property
    def tenants(self) -> "tenants_pb2_grpc.TenantServiceAsyncStub":
        """TenantService of this replica."""
        return tenants_pb2_grpc.TenantServiceStub(self.channel)

    @property
    def identities(self) -> "identity_pb2_grpc.IdentityServiceAsyncStub":
        """IdentityService of this replica."""
        return identity_pb2_grpc.IdentityServiceStub(self.channel)

    async def create(
        self, caller: str, tenant: str = "", role: keys_pb2.Role.ValueType = keys_pb2.ROLE_MEMBER
    ) -> str:
        """A new API key, made by the bearer of `caller`.

        Raises:
            InfermeshError: it was refused.
        """
        request = keys_pb2.CreateKeyRequest(request_id=str(uuid.uuid4()), tenant=tenant, role=role)
        try:
            response = await self.keys.CreateKey(request, metadata=bearer(caller), timeout=_CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return response.secret

    async def revoke(self, caller: str, api_key: str) -> keys_pb2.Key:
        """Revokes a key, as the bearer of `caller`; errors as `create`."""
        request = keys_pb2.RevokeKeyRequest(key_id=api_key.split("_")[1])
        try:
            response = await self.keys.RevokeKey(request, metadata=bearer(caller), timeout=_CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return response.key

    async def exposed(self) -> dict[str, float]:
        """The mesh's own metrics as this replica exposes them, by name and labels."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.metrics_port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        lines = (await reader.read()).decode().splitlines()
        writer.close()
        samples = (line.rsplit(" ", 1) for line in lines if line.startswith("infermesh_"))
        return {name: float(value) for name, value in samples}

    async def admits(self, api_key: str) -> bool:
        """Whether this replica itself lets the bearer of the key in."""
        try:
            await self.tenants.ListTenants(
                tenants_pb2.ListTenantsRequest(), metadata=bearer(api_key), timeout=_CALL_S
            )
        except grpc.aio.AioRpcError:
            return False
        return True


@dataclass
class OwnReplica(Replica):
    """A replica in the process of the test."""

    server: GrpcServer


class Deployment:
    """Resources, secrets and any number of replicas. Make it with `deployment`."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.operator_key = new_api_key()[1]
        self.operator_key_file = folder / "operator-key"
        self.operator_key_file.write_text(self.operator_key)
        (folder / "resources").mkdir()
        for kind in ("RoutePolicy", "CachePolicy"):
            self.declare(kind, "default", {})

    def declare(self, kind: str, name: str, spec: dict[str, object]) -> None:
        """Writes a resource, in place of an earlier one of that name."""
        resource = {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        self._file(kind, name).write_text(yaml.safe_dump(resource))

    def withdraw(self, kind: str, name: str) -> None:
        """Removes a resource."""
        self._file(kind, name).unlink()

    def settings(self, redis: RedisServer, /, **values: object) -> GovernanceSettings:
        """Settings of a replica on that Redis; `values` are of governance's section."""
        return settings_for(
            GovernanceSettings,
            "governance",
            self.folder,
            redis,
            targets=None,
            bootstrap_operator_key_file=str(self.operator_key_file),
            **values,
        )

    async def start(self, redis: RedisServer, /, **values: object) -> OwnReplica:
        """A started replica; not necessarily ready."""
        server = await self._stack.enter_async_context(bootstrap(self.settings(redis, **values)))
        await server.start()
        self._stack.push_async_callback(server.stop)
        target = f"127.0.0.1:{server.port}"
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(target))
        return OwnReplica(channel, target, server.metrics_port, server)

    async def ready(self, redis: RedisServer, /, **values: object) -> OwnReplica:
        """A started replica that lets its operator in."""
        replica = await self.start(redis, **values)
        await eventually(lambda: replica.admits(self.operator_key), what="replica is ready")
        return replica

    async def watch(self, *replicas: Replica) -> IdentityDirectory:
        """The directory of a service that follows these replicas, each in turn."""
        addresses = ",".join(replica.target for replica in replicas)
        channel = await self._stack.enter_async_context(
            grpc.aio.insecure_channel(f"ipv4:{addresses}")
        )
        directory = IdentityDirectory(internal_token=INTERNAL_TOKEN, max_age_s=300)
        watcher = IdentityWatcher(
            channel, directory, internal_token=INTERNAL_TOKEN, watcher="a-service"
        )
        task = asyncio.create_task(watcher.run())
        self._stack.push_async_callback(end_tasks, [task])
        await eventually(lambda: accepts(directory, self.operator_key), what="watcher follows")
        return directory

    def _file(self, kind: str, name: str) -> Path:
        return self.folder / "resources" / f"{kind.lower()}-{name}.yaml"


@asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    """A deployment with its files in `folder`; stops its replicas on the way out."""
    async with AsyncExitStack() as stack:
        yield Deployment(folder, stack)

"""The gRPC services of governance: messages to domain and back, nothing else."""

from collections.abc import AsyncIterator
from typing import TypeVar

import grpc
import structlog

from infermesh.common.v1 import page_pb2
from infermesh.governance.v1 import (
    identity_pb2,
    identity_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    tenants_pb2,
    tenants_pb2_grpc,
)
from infermesh_common.context import current
from infermesh_common.telemetry.metrics import Metrics
from infermesh_governance.adapters.inbound import wire
from infermesh_governance.adapters.inbound.identity_updates import IdentityUpdates
from infermesh_governance.application.key_manager import KeyManager
from infermesh_governance.application.tenant_list import TenantList

_log = structlog.get_logger(__name__)
_LONGEST_WATCHER_CHARS = 64
Request = TypeVar("Request")
Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Request, Response]


class KeyServicer(keys_pb2_grpc.KeyServiceServicer):
    """KeyService.

    Args:
        manager: its use cases.
    """

    def __init__(self, manager: KeyManager) -> None:
        self._manager = manager

    async def CreateKey(
        self,
        request: keys_pb2.CreateKeyRequest,
        context: Context[keys_pb2.CreateKeyRequest, keys_pb2.CreateKeyResponse],
    ) -> keys_pb2.CreateKeyResponse:
        """See the proto."""
        record, api_key = await self._manager.create(current().caller(), wire.key_request(request))
        return keys_pb2.CreateKeyResponse(key=wire.key_message(record), secret=api_key)

    async def ListKeys(
        self,
        request: keys_pb2.ListKeysRequest,
        context: Context[keys_pb2.ListKeysRequest, keys_pb2.ListKeysResponse],
    ) -> keys_pb2.ListKeysResponse:
        """See the proto."""
        page = await self._manager.list(
            current().caller(), request.tenant, wire.page_request(request.page)
        )
        current().log_fields["count"] = len(page.items)
        return keys_pb2.ListKeysResponse(
            keys=[wire.key_message(record) for record in page.items],
            page=page_pb2.PageResponse(next_page_token=page.next_token),
        )

    async def RevokeKey(
        self,
        request: keys_pb2.RevokeKeyRequest,
        context: Context[keys_pb2.RevokeKeyRequest, keys_pb2.RevokeKeyResponse],
    ) -> keys_pb2.RevokeKeyResponse:
        """See the proto."""
        record = await self._manager.revoke(current().caller(), request.key_id)
        return keys_pb2.RevokeKeyResponse(key=wire.key_message(record))


class TenantServicer(tenants_pb2_grpc.TenantServiceServicer):
    """TenantService.

    Args:
        tenants: its use case.
    """

    def __init__(self, tenants: TenantList) -> None:
        self._tenants = tenants

    async def ListTenants(
        self,
        request: tenants_pb2.ListTenantsRequest,
        context: Context[tenants_pb2.ListTenantsRequest, tenants_pb2.ListTenantsResponse],
    ) -> tenants_pb2.ListTenantsResponse:
        """See the proto."""
        page = self._tenants.list(current().caller(), wire.page_request(request.page))
        current().log_fields["count"] = len(page.items)
        return tenants_pb2.ListTenantsResponse(
            tenants=[wire.tenant_message(tenant) for tenant in page.items],
            page=page_pb2.PageResponse(next_page_token=page.next_token),
        )


class IdentityServicer(identity_pb2_grpc.IdentityServiceServicer):
    """IdentityService.

    Args:
        updates: what watchers get.
        metrics: counts watchers.
    """

    def __init__(self, updates: IdentityUpdates, metrics: Metrics) -> None:
        self._updates = updates
        self._watchers = metrics.gauge("infermesh_identity_watchers")

    async def WatchIdentities(
        self,
        request: identity_pb2.WatchIdentitiesRequest,
        context: Context[identity_pb2.WatchIdentitiesRequest, identity_pb2.WatchIdentitiesResponse],
    ) -> AsyncIterator[identity_pb2.WatchIdentitiesResponse]:
        """See the proto."""
        watcher = request.watcher[:_LONGEST_WATCHER_CHARS]
        _log.info("identity_watch_began", watcher=watcher)
        self._watchers.inc()
        try:
            async for message in self._updates.stream():
                yield message
        finally:
            self._watchers.dec()
            _log.info("identity_watch_ended", watcher=watcher)

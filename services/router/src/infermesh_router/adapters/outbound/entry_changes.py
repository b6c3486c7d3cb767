"""The cache service as the one that tells what has become of entries."""

import grpc

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh_common.errors import from_rpc_error
from infermesh_common.identity.directory import INTERNAL_TOKEN_HEADER
from infermesh_router.ports import EntryChanges


class GrpcEntryChangeFeed:
    """Implements `EntryChangeFeed`.

    Args:
        channel: channel to the cache service.
        internal_token: proves that a service of the mesh is asking.
        timeout_ms: longest time of a poll, in milliseconds.
    """

    def __init__(self, channel: grpc.aio.Channel, *, internal_token: str, timeout_ms: int) -> None:
        self._stub = cache_pb2_grpc.CacheServiceStub(channel)
        self._metadata = ((INTERNAL_TOKEN_HEADER, internal_token),)
        self._timeout_s = timeout_ms / 1000

    async def poll(self, cursor: str) -> EntryChanges:
        """See `EntryChangeFeed.poll`."""
        request = cache_pb2.PollChangesRequest(cursor=cursor)
        try:
            response = await self._stub.PollChanges(
                request, timeout=self._timeout_s, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return EntryChanges(
            cursor=response.cursor,
            tenants=None if response.all else frozenset(response.tenants),
            lease_s=response.lease.ToMilliseconds() / 1000,
        )

"""Keeps an `IdentityDirectory` in step with governance."""

import asyncio

import grpc
import structlog

from infermesh.governance.v1 import identity_pb2, identity_pb2_grpc
from infermesh_common.identity.directory import INTERNAL_TOKEN_HEADER, IdentityDirectory

_log = structlog.get_logger(__name__)
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 2.0


class IdentityWatcher:
    """Follows governance's Watch stream for ever; reconnects with a bounded, growing delay.

    Args:
        channel: channel to governance.
        directory: what to keep in step.
        internal_token: proves that a service of the mesh is watching.
        watcher: name of this service.
        silence_s: a stream silent for longer is taken for dead; governance sends heartbeats.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        directory: IdentityDirectory,
        *,
        internal_token: str,
        watcher: str,
        silence_s: float = 3.0,
    ) -> None:
        self._stub = identity_pb2_grpc.IdentityServiceStub(channel)
        self._directory = directory
        self._metadata = ((INTERNAL_TOKEN_HEADER, internal_token),)
        self._watcher = watcher
        self._silence_s = silence_s
        self._delay_s = _FIRST_DELAY_S

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            try:
                await self._follow()
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                reason = error.code().name if isinstance(error, grpc.aio.AioRpcError) else "SILENT"
                _log.warning("identity_watch_interrupted", reason=reason, retry_s=self._delay_s)
            await asyncio.sleep(self._delay_s)
            self._delay_s = min(self._delay_s * 2, _LONGEST_DELAY_S)

    async def _follow(self) -> None:
        request = identity_pb2.WatchIdentitiesRequest(watcher=self._watcher)
        call = self._stub.WatchIdentities(request, metadata=self._metadata, wait_for_ready=True)
        try:
            while True:
                async with asyncio.timeout(self._silence_s):
                    message = await call.read()
                if not isinstance(message, identity_pb2.WatchIdentitiesResponse):
                    return
                self._directory.apply(message)
                self._delay_s = _FIRST_DELAY_S
        finally:
            call.cancel()

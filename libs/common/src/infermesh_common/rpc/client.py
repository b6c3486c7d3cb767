"""Channels to other services: one a target, retries and their budget inside gRPC."""

import asyncio
import json
from collections.abc import Sequence

import grpc

from infermesh_common.background import end_tasks
from infermesh_common.context import RequestContext, current_or_none
from infermesh_common.identity.directory import (
    CLAIMED_TENANT_HEADER,
    INTERNAL_TOKEN_HEADER,
    TENANT_HEADER,
)
from infermesh_common.rpc.health import ACCEPTING
from infermesh_common.rpc.renewal import RenewableChannel

# The one layer that retries. gRPC's retryThrottling is the retry budget: each failure takes a
# token, each success gives a tenth back, and below half of the tokens nothing is retried.
# https://github.com/grpc/proposal/blob/master/A6-client-retries.md
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # A replica says that it is about to stop, and gets no more calls, before it refuses any. One
    # that does not know this protocol is taken for well.
    # https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md
    "healthCheckConfig": {"serviceName": ACCEPTING},
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.02s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_IDENTITY_HEADERS = (
    "authorization",
    "x-api-key",
    INTERNAL_TOKEN_HEADER,
    TENANT_HEADER,
    CLAIMED_TENANT_HEADER,
)

Metadata = tuple[tuple[str, str], ...]


class Channels:
    """The channels of one process; close it once.

    Args:
        max_message_bytes: largest message either way.
        interceptors: of tracing; one class per arity.
        credentials: of mutual TLS, renewed by `renew`; None: plain connections.
        longest_call_s: what calls under way may still take on a channel that is replaced.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        credentials: grpc.ChannelCredentials | None = None,
        longest_call_s: float = 900.0,
    ) -> None:
        self._credentials = credentials
        self._longest_call_s = longest_call_s
        self._closing: set[asyncio.Task[None]] = set()
        self._options = [
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
            ("grpc.enable_retries", 1),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            # A connection that ends asks for the addresses again: those of new replicas are found
            # by then. gRPC's own least time between two look-ups is 30 s.
            ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        ]
        self._interceptors = list(interceptors)
        self._open: dict[str, grpc.aio.Channel] = {}

    def to(self, target: str) -> grpc.aio.Channel:
        """The channel to `target`, for example "dns:///infermesh-cache:8200"; made at first use."""
        if target not in self._open:
            channel = self._connect(target)
            self._open[target] = RenewableChannel(channel) if self._credentials else channel
        return self._open[target]

    def renew(self, credentials: grpc.ChannelCredentials) -> None:
        """Makes new connections with `credentials`. New calls use them, those under way end where
        they began."""
        self._credentials = credentials
        for target, channel in self._open.items():
            if isinstance(channel, RenewableChannel):
                old = channel.replace(self._connect(target))
                retiring = old.retire(self._longest_call_s)
                task = asyncio.create_task(retiring, name=f"retire-{target}")
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Closes all of them; calls under way are cancelled."""
        await end_tasks(set(self._closing))
        for channel in self._open.values():
            await channel.close()
        self._open.clear()

    def _connect(self, target: str) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(
                target, options=self._options, interceptors=self._interceptors
            )
        return grpc.aio.secure_channel(
            target, self._credentials, options=self._options, interceptors=self._interceptors
        )


def metadata_of(call: RequestContext) -> Metadata:
    """Metadata that hands `call` on: the request id and what proves the caller."""
    headers = [("x-request-id", call.request_id)]
    for name in _IDENTITY_HEADERS:
        if (value := call.metadata.get(name)) is not None:
            headers.append((name, value))
    return tuple(headers)


def outgoing_metadata() -> Metadata:
    """`metadata_of` the request being served; empty outside of one."""
    call = current_or_none()
    return () if call is None else metadata_of(call)

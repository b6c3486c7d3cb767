"""Channels to other services: one a target, retries and their budget inside gRPC."""

import json
from collections.abc import Sequence

import grpc

from infermesh_common.context import RequestContext, current_or_none
from infermesh_common.identity.directory import (
    CLAIMED_TENANT_HEADER,
    INTERNAL_TOKEN_HEADER,
    TENANT_HEADER,
)

# The one layer that retries. gRPC's retryThrottling is the retry budget: each failure takes a
# token, each success gives a tenth back, and below half of the tokens nothing is retried.
# https://github.com/grpc/proposal/blob/master/A6-client-retries.md
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
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
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
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
        ]
        self._interceptors = list(interceptors)
        self._open: dict[str, grpc.aio.Channel] = {}

    def to(self, target: str) -> grpc.aio.Channel:
        """The channel to `target`, for example "dns:///infermesh-cache:8200"; made at first use."""
        if target not in self._open:
            self._open[target] = grpc.aio.insecure_channel(
                target, options=self._options, interceptors=self._interceptors
            )
        return self._open[target]

    async def close(self) -> None:
        """Closes all of them; calls under way are cancelled."""
        for channel in self._open.values():
            await channel.close()
        self._open.clear()


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

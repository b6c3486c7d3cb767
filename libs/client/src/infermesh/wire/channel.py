"""Options of a channel: retries and their budget inside gRPC, message sizes, keepalive."""

import json
from importlib.metadata import version

import grpc

from infermesh.settings import ConnectionSettings

_LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024
Metadata = tuple[tuple[str, str], ...]


def channel_options(settings: ConnectionSettings) -> list[tuple[str, str | int]]:
    """gRPC's channel arguments for `settings`."""
    options: list[tuple[str, str | int]] = [
        ("grpc.enable_retries", int(settings.max_retries > 0)),
        ("grpc.service_config", json.dumps(_service_config(settings.max_retries))),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _LARGEST_MESSAGE_BYTES),
        # A connection that died without a word is noticed while a call waits on it.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.primary_user_agent", f"infermesh-python/{version('infermesh')}"),
    ]
    if settings.tls is not None and settings.tls.server_name:
        options.append(("grpc.ssl_target_name_override", settings.tls.server_name))
    if settings.is_loopback:
        # A proxy of the environment cannot reach this machine's loopback.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def credentials(settings: ConnectionSettings) -> grpc.ChannelCredentials | None:
    """TLS credentials; None for plain text.

    Raises:
        InvalidRequestError: the root certificates cannot be read.
    """
    if settings.tls is None:
        return None
    return grpc.ssl_channel_credentials(root_certificates=settings.tls.root_certificates())


def metadata(settings: ConnectionSettings, request_id: str) -> Metadata:
    """Metadata of one call."""
    own = (("x-request-id", request_id),)
    if not settings.api_key:
        return own
    return (*own, ("authorization", f"Bearer {settings.api_key}"))


def _service_config(max_retries: int) -> dict[str, object]:
    """Retries on UNAVAILABLE only, none once a message of the answer has arrived, and a budget:
    each failure takes a token, each success gives a tenth back, and with half of the tokens gone
    nothing is retried. https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    """
    if max_retries == 0:
        return {}
    return {
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": max_retries + 1,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }

"""AWS Bedrock's Converse wire. Source: Amazon Bedrock API reference, "Converse" and
"ConverseStream"."""

from collections.abc import Mapping
from urllib.parse import quote

import orjson

from infermesh_common.errors import InfermeshError
from infermesh_common.resources.types import Model, ProviderSpec
from infermesh_router.adapters.outbound.providers.bedrock_answer import read_answer
from infermesh_router.adapters.outbound.providers.bedrock_content import PROTOCOL
from infermesh_router.adapters.outbound.providers.bedrock_credentials import OwnCredentials
from infermesh_router.adapters.outbound.providers.bedrock_errors import error_of
from infermesh_router.adapters.outbound.providers.bedrock_request import request_body
from infermesh_router.adapters.outbound.providers.bedrock_signing import proof
from infermesh_router.adapters.outbound.providers.bedrock_stream import BedrockStream
from infermesh_router.adapters.outbound.providers.dialect import Call
from infermesh_router.adapters.outbound.providers.parameters import unsupported
from infermesh_router.domain.answer import Answer
from infermesh_router.domain.request import JsonObject, Surface


class BedrockDialect:
    """Implements `Dialect` and `CredentialSource`.

    Args:
        own: credentials of the place where the process runs.
    """

    def __init__(self, own: OwnCredentials | None = None) -> None:
        self._own = own or OwnCredentials()

    async def credentials(self, secret: str) -> str:
        """See `CredentialSource.credentials`."""
        await self._own.load()
        return secret or await self._own.secret()

    def call(self, model: Model, surface: Surface, body: JsonObject, *, stream: bool) -> Call:
        """See `Dialect.call`."""
        if surface is not Surface.CHAT:
            raise unsupported("input", PROTOCOL, f"{PROTOCOL} has no embeddings.")
        sent = request_body(model.spec, body)
        # The name of a model may be an ARN, with colons and slashes.
        name = quote(model.spec.upstream_model, safe="")
        operation = "converse-stream" if stream else "converse"
        return Call(f"/model/{name}/{operation}", orjson.dumps(sent))

    def headers(self, spec: ProviderSpec, url: str, call: Call, secret: str) -> Mapping[str, str]:
        """See `Dialect.headers`."""
        return proof(spec.region, url, call.body, secret)

    def answer(self, surface: Surface, body: JsonObject, data: bytes) -> Answer:
        """See `Dialect.answer`."""
        return read_answer(body, data)

    def stream(self, body: JsonObject, max_event_bytes: int) -> BedrockStream:
        """See `Dialect.stream`."""
        return BedrockStream(body, max_event_bytes)

    def error(
        self, provider: str, status: int, headers: Mapping[str, str], data: bytes
    ) -> InfermeshError:
        """See `Dialect.error`."""
        return error_of(provider, status, headers, data)

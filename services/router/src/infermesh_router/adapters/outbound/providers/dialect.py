"""What a provider's protocol is to the rest: a translation, without any I/O of its own.

Requests and answers on this side are in OpenAI's chat form, with the extensions that
`docs/providers.md` lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from infermesh_common.errors import InfermeshError
from infermesh_common.resources.types import Model, ProviderSpec
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject, Surface


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP POST.

    Attributes:
        path: appended to the provider's base URL.
        body: what is sent.
        query: query parameters besides the provider's own.
        headers: headers besides the provider's own.
    """

    path: str
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class AnswerStream(Protocol):
    """Makes chunks of a provider's streamed bytes, in whatever pieces they come."""

    @property
    def ended(self) -> bool:
        """Whether the provider has said that the answer is whole. What follows is not read."""

    def feed(self, piece: bytes) -> list[Chunk]:
        """The chunks that `piece` completes.

        Raises:
            EventTooLarge: an event exceeds the limit.
            InfermeshError: the provider reports an error in its stream, or sends what is none.
        """


class Dialect(Protocol):
    """A protocol of providers. One object serves every call; it keeps nothing of any."""

    def call(self, model: Model, surface: Surface, body: JsonObject, *, stream: bool) -> Call:
        """The request to `model`.

        Raises:
            InvalidArgument: UNSUPPORTED_PARAMETER, the body asks for what the protocol has not.
        """

    def headers(self, spec: ProviderSpec, url: str, call: Call, secret: str) -> Mapping[str, str]:
        """Headers that prove who calls. `url` is complete, query included."""

    def answer(self, surface: Surface, body: JsonObject, data: bytes) -> Answer:
        """The answer to `body` that a successful response holds.

        Raises:
            Unavailable: PROVIDER_STREAM_BROKEN, it is not an answer.
        """

    def stream(self, body: JsonObject, max_event_bytes: int) -> AnswerStream:
        """For one streamed answer to `body`."""

    def error(
        self, provider: str, status: int, headers: Mapping[str, str], data: bytes
    ) -> InfermeshError:
        """The error that a response with a status of 300 or more stands for."""


@runtime_checkable
class CredentialSource(Protocol):
    """What a dialect is besides, where proving who calls takes more than a computation."""

    async def credentials(self, secret: str) -> str:
        """The secret for `headers`: the given one, or what is found where that is empty.

        Raises:
            Unavailable: PROVIDER_KEY_MISSING.
        """

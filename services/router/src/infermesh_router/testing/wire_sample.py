"""What a provider's wire looks like, told independently of the dialect that translates it.

One suite, `tests/contract`, asks the same of every dialect. What it says is in the plain terms of
this module; a `WireSample` puts that on one provider's wire, and reads what the provider received
back into these terms. To add a provider: write a class that implements `WireSample` in a module of
its own in `testing/wires/`, without importing the dialect, and name it in `testing/wires/__init__`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from infermesh_common.usage import Usage
from infermesh_router.domain.request import JsonObject

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it reached the provider.

    Attributes:
        path: as sent, without the query.
        query: as sent, without the "?".
        headers: names in lower case.
        body: as sent.
    """

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """An image, by value (base64) or by URL."""

    media_type: str = ""
    data: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool.

    Attributes:
        id: empty when read from a wire that carries none (`WireSample.carries_tool_ids`).
    """

    id: str
    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned. `id` as in `ToolUse`."""

    id: str
    text: str


Part = str | Image | ToolUse | ToolResult
"""Of a turn; a string is text."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's say. Results of tools are the user's. Two turns of the same side that follow each
    other mean the same as one: the suite joins them before it compares, so `heard` need not."""

    side: Literal["user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the provider was asked; read from the wire, defaults where the wire says nothing.

    Attributes:
        model: name the provider knows the model by, from the body or the path.
        stream: whether a stream was asked for.
        system: texts of the system prompts, in order. Joining them with a blank line between is as
            good.
        turns: the conversation.
        tools: what may be called.
        tool_choice: "auto", "none", "required", or "=" and the name of the one that must be.
        parallel_tools: False when the model may call one tool at a time only.
        schema: JSON schema that the answer must follow.
        max_tokens: longest answer.
        stop: texts that end the answer.
        temperature: of sampling.
        top_p: of sampling.
        reasons: whether the wire asks the model to think first, in any measure.
    """

    model: str
    stream: bool
    system: tuple[str, ...]
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    parallel_tools: bool = True
    schema: Mapping[str, object] | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    reasons: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What the provider answers.

    Attributes:
        pieces: text, as it is cut in a stream.
        reasoning: readable thoughts before it, cut likewise. Only where `has_reasoning`.
        tool_calls: after the text, in order.
        finish: why it ends, in OpenAI's terms; one of the sample's `finish_reasons`.
        usage: disjoint buckets; only those in the sample's `buckets` are above zero.
    """

    pieces: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    tool_calls: tuple[ToolUse, ...] = ()
    finish: FinishReason = "stop"
    usage: Usage = Usage(input_tokens=9, output_tokens=4)

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


class WireSample(Protocol):
    """One provider's wire.

    Attributes:
        name: of the sample, for test ids; the same as `protocol` unless a protocol has several.
        protocol: as in `ProviderSpec`.
        spec: further fields of the Provider resource, in camelCase, baseUrl and auth apart.
        base_path: path of the base URL, for example "/v1"; may be empty.
        secret: what stands in the key's file.
        confidential: parts of it that must never leave in any place but the header
            `secret_header` (none at all for wires that sign instead of sending the key).
        secret_header: name, in lower case, of the header that proves who calls.
        carries_tool_ids: whether the ids of tool calls are on the wire.
        image_urls: whether an image can be sent as an https URL.
        has_reasoning: whether thoughts are on the wire.
        finish_reasons: those the provider can tell apart.
        buckets: names of the `Usage` fields that the wire reports.
        refused: further fields of a canonical body that the wire has nothing for and that change
            what the answer means: each must be refused with UNSUPPORTED_PARAMETER and the field
            that the third item names.
        embeddings: whether the wire has embeddings.
    """

    name: str
    protocol: str
    spec: JsonObject
    base_path: str
    secret: str
    confidential: tuple[str, ...]
    secret_header: str
    carries_tool_ids: bool
    image_urls: bool
    has_reasoning: bool
    finish_reasons: tuple[FinishReason, ...]
    buckets: tuple[str, ...]
    refused: tuple[tuple[str, object, str], ...]
    embeddings: bool

    def heard(self, request: Received) -> Heard:
        """What a request asks for. Asserts whatever the provider's documentation demands of every
        request: alternating turns, no empty texts, mandatory fields ..."""

    def proves(self, request: Received) -> bool:
        """Whether the request proves, as the provider demands, that the caller has `secret`."""

    def whole(self, said: Said) -> bytes:
        """The body of an answer that is not streamed."""

    def streamed(self, said: Said) -> Sequence[bytes]:
        """The same answer as a stream: frames (events, messages) in order, the last of which ends
        it. Text and thoughts come in the pieces that `said` has; arguments of tools in several
        pieces where the wire can cut them."""

    def stream_headers(self) -> Mapping[str, str]:
        """Headers of a streamed response."""

    def noise(self) -> Sequence[bytes]:
        """Frames that a stream may hold anywhere after its first, and that mean nothing: signs of
        life, kinds a future version may add."""

    def stream_errors(self, message: str) -> Sequence[bytes]:
        """Frames by which the provider reports, in mid-stream, that it cannot go on."""

    def garbage(self) -> Sequence[bytes]:
        """Frames, or bytes in place of one, that are none of this wire's."""

    def error(self, status: int, message: str) -> bytes:
        """Body of a refusal with that HTTP status."""

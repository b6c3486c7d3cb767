"""One inference as it was asked for, whatever the surface."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import orjson

from infermesh_common.errors import InvalidArgument

JsonObject = Mapping[str, object]

AUTO = "auto"
"""Name by which a client leaves the choice of the model to the tenant's policy."""

_MAX_TAGS = 20
_MAX_TAG_CHARS = 100
# Conservative: English has about four bytes a token, code and other scripts fewer.
_BYTES_PER_TOKEN = 3


class Surface(Enum):
    """What is asked of a model: the form that requests and answers have inside of the router."""

    CHAT = "openai.chat"
    EMBEDDINGS = "openai.embeddings"


@dataclass(frozen=True, slots=True)
class CacheControl:
    """What a request asks of the caches; see `infermesh.common.v1.CacheControl`."""

    bypass: bool = False
    refresh: bool = False
    only_if_cached: bool = False
    no_store: bool = False
    max_age_s: int | None = None
    ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What to answer.

    Attributes:
        surface: form of body and answer.
        body: what is asked, in that form. Fields the mesh does not know are in it too.
        model: what the client named: a model, an alias or "auto".
        acceptable_models: with "auto", other models' answers are not accepted; empty: any.
        stream: whether the client wants the answer as it is produced.
        wire: name of the protocol the client speaks, for the ledger.
        task: kind of task, for quality floors.
        tags: labels for the ledger and for invalidation.
        cache: what is asked of the caches.
        derived: what was worked out from the rest, by who worked it out. Requests whose bytes are
            the same share one object, so that it is worked out once.
    """

    surface: Surface
    body: JsonObject
    model: str
    acceptable_models: tuple[str, ...] = ()
    stream: bool = False
    wire: str = ""
    task: str = "general"
    tags: tuple[str, ...] = ()
    cache: CacheControl = field(default_factory=CacheControl)
    derived: dict[str, object] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.tags) > _MAX_TAGS:
            raise InvalidArgument("TOO_MANY_TAGS", f"At most {_MAX_TAGS} tags.", field="tags")
        for tag in self.tags:
            if not 0 < len(tag) <= _MAX_TAG_CHARS or not tag.isprintable():
                raise InvalidArgument(
                    "INVALID_TAG",
                    f"A tag has 1 to {_MAX_TAG_CHARS} printable characters.",
                    field="tags",
                )

    @property
    def temperature(self) -> float:
        """Sampling temperature; the protocol's default of 1 when none is given."""
        value = self.body.get("temperature")
        return float(value) if isinstance(value, (int, float)) else 1.0

    @property
    def max_output_tokens(self) -> int | None:
        """Longest answer the client wants; None when it sets no limit."""
        for name in ("max_completion_tokens", "max_tokens"):
            value = self.body.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        return None

    def estimated_input_tokens(self) -> int:
        """An upper estimate of the input in tokens, for limits and for ranking by cost only."""
        relevant = [self.body.get(name) for name in ("messages", "input", "tools")]
        try:
            return len(orjson.dumps(relevant)) // _BYTES_PER_TOKEN + 1
        except TypeError as error:
            raise InvalidArgument(
                "REQUEST_NOT_CANONICAL", "The request is nested too deeply."
            ) from error


def parse_chat(body: JsonObject) -> bool:
    """Checks what the mesh must rely on in a chat body; the rest is the provider's to judge.

    Returns:
        Whether the client wants a stream.

    Raises:
        InvalidArgument: names the field.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidArgument(
            "INVALID_MESSAGES", "'messages' must be a non-empty list.", field="messages"
        )
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidArgument(
                "INVALID_MESSAGES",
                "Each message must be an object with a 'role'.",
                field=f"messages[{number}]",
            )
    _check_number(body, "temperature", 0, 2)
    _check_number(body, "top_p", 0, 1)
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidArgument("INVALID_STREAM", "'stream' must be true or false.", field="stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidArgument(
            "INVALID_STREAM_OPTIONS", "'stream_options' must be an object.", field="stream_options"
        )
    return bool(stream)


def parse_embeddings(body: JsonObject) -> None:
    """Checks what the mesh must rely on in an embeddings body.

    Raises:
        InvalidArgument: names the field.
    """
    value = body.get("input")
    if not isinstance(value, (str, list)) or not value:
        raise InvalidArgument(
            "INVALID_INPUT", "'input' must be a non-empty string or list.", field="input"
        )


def parse_model(body: JsonObject) -> str:
    """The model a body names.

    Raises:
        InvalidArgument: it names none.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidArgument(
            "MODEL_MISSING", "'model' must name a model, or be \"auto\".", field="model"
        )
    return model


def _check_number(body: JsonObject, name: str, least: float, most: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgument("INVALID_NUMBER", f"'{name}' must be a number.", field=name)
    if not least <= value <= most:
        raise InvalidArgument(
            "INVALID_NUMBER", f"'{name}' must be between {least} and {most}.", field=name
        )

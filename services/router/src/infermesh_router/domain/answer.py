"""Answers on their way through the router, in OpenAI's form: bytes and objects, each made at most
once and only when somebody asks."""

import orjson

from infermesh_common.errors import Unavailable
from infermesh_router.domain.request import JsonObject


class Payload:
    """A JSON object and its text.

    Args:
        data: the text; None when only the object is there yet.
        value: the object; None when only the text is there yet.
    """

    __slots__ = ("_data", "_value")

    def __init__(self, data: bytes | None = None, value: JsonObject | None = None) -> None:
        self._data = data
        self._value = value

    @property
    def data(self) -> bytes:
        """The text, in UTF-8."""
        if self._data is None:
            self._data = orjson.dumps(self._value)
        return self._data

    @property
    def value(self) -> JsonObject:
        """The object.

        Raises:
            Unavailable: PROVIDER_STREAM_BROKEN, the text is not a JSON object.
        """
        if self._value is None:
            self._value = _parsed(self._data or b"")
        return self._value


class Answer(Payload):
    """A whole answer: a chat completion, or a list of embeddings."""

    __slots__ = ()


class Chunk(Payload):
    """A piece of a streamed answer: a `chat.completion.chunk`."""

    __slots__ = ()


def broken(what: str) -> Unavailable:
    """The error of an answer that cannot be made sense of, or that ended too early."""
    return Unavailable("PROVIDER_STREAM_BROKEN", f"The answer broke off: {what}.")


def _parsed(data: bytes) -> JsonObject:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise broken("the provider's answer is not JSON") from error
    if not isinstance(value, dict):
        raise broken("the provider's answer is not an object")
    return value

"""Questions out of requests: what must be equal, what is compared by meaning, and its embedding."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import orjson

from infermesh_cache.learning_ports import Asked, JsonObject, Question
from infermesh_cache.semantic_ports import EmbeddingEngine

_LARGE_BODY_BYTES = 16_384
"""Larger requests are taken apart off the event loop."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A request taken apart.

    Attributes:
        exact: digest or text of everything that must be equal; compared as a whole.
        text: what is compared by meaning.
    """

    exact: bytes
    text: str


class RequestContext(Protocol):
    """Takes requests apart."""

    def __call__(self, body: JsonObject, /) -> Reading | None:
        """The parts of a chat request; None when it has no text to compare by meaning."""


class EmbeddingQuestionReader:
    """Implements `QuestionReader`.

    Args:
        engine: embeds.
        context: takes requests apart.
        executor: where large ones are.
    """

    def __init__(
        self, engine: EmbeddingEngine, context: RequestContext, executor: Executor
    ) -> None:
        self._engine = engine
        self._context = context
        self._executor = executor

    async def read(self, asked: Asked, *, epoch: int, category: str) -> Question | None:
        """See `QuestionReader.read`."""
        if len(asked.body) > _LARGE_BODY_BYTES:
            loop = asyncio.get_running_loop()
            reading = await loop.run_in_executor(self._executor, self._read, asked.body)
        else:
            reading = self._read(asked.body)
        if reading is None:
            return None
        space = self._engine.space
        parts = orjson.dumps(
            [asked.protocol, sorted(set(asked.models)), epoch, category, space.name]
        )
        digest = hashlib.sha256(hashlib.sha256(parts).digest() + reading.exact).hexdigest()
        vectors = await self._engine.embed([reading.text])
        return Question(digest, reading.text, vectors[0], space)

    def _read(self, body: bytes) -> Reading | None:
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        return self._context(request) if isinstance(request, dict) else None


def last_turn(body: JsonObject) -> Reading | None:
    """The cautious way to take a request apart: the text of the last turn, when it is the user's,
    is compared by meaning, and everything else, earlier turns included, must be equal."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    last = messages[-1]
    if not isinstance(last, dict) or last.get("role") != "user":
        return None
    text = _text(last.get("content"))
    if not text.strip():
        return None
    rest = {name: value for name, value in body.items() if name != "messages"}
    named = {name: value for name, value in last.items() if name != "content"}
    try:
        exact = orjson.dumps([rest, messages[:-1], named], option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Nested more deeply than an encoder follows.
        return None
    return Reading(hashlib.sha256(exact).digest(), text)


def _text(content: object) -> str:
    """The text of a turn; empty when there is anything else in it."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    texts = []
    for part in content:
        if not isinstance(part, dict) or set(part) != {"type", "text"} or part["type"] != "text":
            return ""
        if not isinstance(part["text"], str):
            return ""
        texts.append(part["text"])
    return "\n".join(texts)

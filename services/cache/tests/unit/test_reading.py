"""Questions out of requests: what makes two of them comparable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import orjson
import pytest

from infermesh_cache.application.reading import EmbeddingQuestionReader
from infermesh_cache.learning_ports import Asked, Place, Question
from infermesh_cache.testing import WordEngine

PLACE = Place("acme", 0, "general", bind_history=False)


def asked(*turns: str, models: tuple[str, ...] = ("small",), **body: object) -> Asked:
    messages = [
        {"role": ("user", "assistant")[number % 2], "content": turn}
        for number, turn in enumerate(turns)
    ]
    data = orjson.dumps({"messages": messages, **body})
    return Asked("openai.chat", models, data, "general", None, "", "k")


@pytest.fixture
async def reader() -> AsyncIterator[EmbeddingQuestionReader]:
    with ThreadPoolExecutor(1) as executor:
        yield EmbeddingQuestionReader(WordEngine(), executor)


async def read(reader: EmbeddingQuestionReader, request: Asked, place: Place = PLACE) -> Question:
    question = await reader.read(request, place)
    assert question is not None
    return question


async def test_requests_of_one_context_are_comparable(reader: EmbeddingQuestionReader) -> None:
    one = await read(reader, asked("How do I reset my password?", models=("a", "b")))
    two = await read(reader, asked("I lost my password, what now?", models=("b", "a")))
    assert one.context == two.context and one.text != two.text
    assert one.vector.shape == (one.space.dimension,)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, tenant="globex"),
        replace(PLACE, epoch=1),
        replace(PLACE, category="billing"),
    ],
)
async def test_another_place_is_another_context(
    reader: EmbeddingQuestionReader, other: Place
) -> None:
    request = asked("How do I reset my password?")
    one, two = await read(reader, request), await read(reader, request, other)
    assert one.context != two.context


async def test_history_counts_where_a_policy_binds_it(reader: EmbeddingQuestionReader) -> None:
    plain = asked("How do I reset my password?")
    later = asked("Hello.", "Hello!", "How do I reset my password?")
    bound = replace(PLACE, bind_history=True)
    assert (await read(reader, plain)).context == (await read(reader, later)).context
    assert (await read(reader, plain)).context != (await read(reader, later, bound)).context


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"messages": []}', b'{"messages": [{"role": "user"}]}', b"null"]
)
async def test_what_asks_nothing_is_no_question(
    reader: EmbeddingQuestionReader, body: bytes
) -> None:
    assert await reader.read(replace(asked("x"), body=body), PLACE) is None


async def test_large_requests_are_read_the_same(reader: EmbeddingQuestionReader) -> None:
    small = await read(reader, asked("How are you?", metadata={"a": "b"}))
    large = await read(reader, asked("How are you?", metadata={"a": "b" * 100_000}))
    assert small.text == large.text and small.context != large.context

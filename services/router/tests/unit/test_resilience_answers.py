"""A stream begins with its first content; a success without an answer is none."""

import orjson
import pytest

from infermesh_common.errors import Unavailable
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import Surface
from infermesh_router.domain.resilience.answers import begins, check_answer


def chunk(delta, finish=None):
    return Chunk(value={"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"role": "assistant", "content": "x"},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"reasoning_content": "Hm"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
        {"refusal": "No"},
        {"function_call": {"name": "f"}},
    ],
)
def test_content_of_every_kind_begins_a_stream(delta):
    assert begins(chunk(delta))


def test_an_end_begins_a_stream_that_has_nothing_to_say():
    assert begins(chunk({}, "stop"))


@pytest.mark.parametrize(
    "value",
    [
        {"choices": []},
        {"choices": [], "usage": {"prompt_tokens": 1}},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": []}}]},
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    ],
)
def test_nothing_a_client_could_use_does_not(value):
    assert not begins(Chunk(value=value))


@pytest.mark.parametrize(
    "data",
    [
        b"not json",
        b"[1]",
        b"{}",
        b'{"choices": 3}',
        b'{"choices": [3]}',
        b'{"choices": [{"delta": 3}]}',
        b'{"error": {"message": "overloaded"}}',
        b'{"error": "overloaded", "choices": []}',
    ],
)
def test_what_is_no_chunk_is_a_broken_stream(data):
    with pytest.raises(Unavailable) as caught:
        begins(Chunk(data))
    assert caught.value.reason == "PROVIDER_STREAM_BROKEN"


@pytest.mark.parametrize(
    ("surface", "value"),
    [
        (Surface.CHAT, {}),
        (Surface.CHAT, {"choices": []}),
        (Surface.CHAT, {"choices": {}}),
        (Surface.CHAT, {"error": {"message": "quota"}}),
        (Surface.CHAT, {"choices": [{}], "error": {"message": "quota"}}),
        (Surface.EMBEDDINGS, {"choices": [{}]}),
        (Surface.EMBEDDINGS, {"data": []}),
    ],
)
def test_a_success_without_an_answer_is_a_failure(surface, value):
    with pytest.raises(Unavailable):
        check_answer(surface, Answer(orjson.dumps(value)))


def test_an_answer_is_one():
    check_answer(Surface.CHAT, Answer(b'{"choices": [{}]}'))
    check_answer(Surface.EMBEDDINGS, Answer(b'{"data": [{}], "error": null}'))

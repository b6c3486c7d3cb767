"""Nothing a client asks and nothing a provider says is a defect of ours."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infermesh_common.errors import InfermeshError, InvalidArgument, Unavailable
from infermesh_common.resources.resource_set import parse
from infermesh_common.testing.resources import model
from infermesh_router.adapters.outbound.providers.dialects import DIALECTS
from infermesh_router.domain.chat_stream import ChatStreamAssembler
from infermesh_router.domain.openai_usage import usage_of
from infermesh_router.domain.request import Surface
from infermesh_router.domain.sse import EventTooLarge
from infermesh_router.testing.wire_sample import Said, ToolUse
from infermesh_router.testing.wires import WIRES

MODEL = parse(model("m"), "test")
# One sample of each dialect will do.
every_dialect = pytest.mark.parametrize(
    "sample",
    [wire for wire in WIRES if wire.name == wire.protocol],
    ids=lambda wire: wire.protocol,
)

junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**31), 2**31),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8"), max_size=6),
        st.sampled_from(["text", "function", "auto", "object", "data:image/png;base64,AA==", "{}"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "type text image_url url function name arguments id input_audio file file_data"
                " json_schema schema content cache_control signature thinking".split()
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from("user assistant system developer tool function x".split())},
    optional={
        name: junk
        for name in (
            "content name tool_calls tool_call_id refusal function_call thinking_blocks"
            " reasoning_content cache_control"
        ).split()
    },
)
requests = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=4)},
    optional={
        name: junk
        for name in (
            "tools tool_choice parallel_tool_calls response_format stop max_tokens user metadata"
            " max_completion_tokens reasoning_effort thinking top_k n logprobs seed unheard_of"
            " stream_options modalities"
        ).split()
    },
)


@every_dialect
@settings(max_examples=40, deadline=None)
@given(body=requests, stream=st.booleans())
def test_a_request_is_sent_or_refused(sample, body, stream):
    try:
        call = DIALECTS[sample.protocol].call(MODEL, Surface.CHAT, body, stream=stream)
    except InvalidArgument as refused:
        assert refused.reason and refused.message
        assert refused.field
    else:
        assert call.path.startswith("/")
        assert isinstance(orjson.loads(call.body), dict)


SAID = Said(("Pa", "ris"), tool_calls=(ToolUse("call_1", "f", {"a": [1]}),), finish="tool_calls")


def nodes(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items if isinstance(value, (dict, list)) else ():
        if isinstance(inner, (dict, list)):
            yield from nodes(inner, (*path, key))
        else:
            yield (*path, key)


def with_other(value, path, other):
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = with_other(value[path[0]], path[1:], other)
    return copy


@every_dialect
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_answer_is_one_or_an_error(sample, data):
    whole = json.loads(sample.whole(SAID))
    path = data.draw(st.sampled_from(list(nodes(whole))), "where")
    other = with_other(whole, path, data.draw(junk, "instead"))
    dialect = DIALECTS[sample.protocol]
    try:
        answer = dialect.answer(Surface.CHAT, {"messages": []}, orjson.dumps(other))
    except InfermeshError as error:
        assert isinstance(error, Unavailable)
    else:
        usage_of(orjson.loads(answer.data))


@every_dialect
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_stream_is_one_or_an_error(sample, data):
    whole = b"".join(sample.streamed(SAID))
    begin = data.draw(st.integers(0, len(whole) - 1), "where")
    removed = data.draw(st.integers(0, 40), "removed")
    added = data.draw(
        st.one_of(st.binary(max_size=8), junk.map(orjson.dumps), st.sampled_from([b"\n\n", b"}"])),
        "added",
    )
    stream = DIALECTS[sample.protocol].stream({"messages": []}, 10_000)
    assembler = ChatStreamAssembler()
    try:
        for chunk in stream.feed(whole[:begin] + added + whole[begin + removed :]):
            assembler.add(orjson.loads(chunk.data))
    except InfermeshError as error:
        assert isinstance(error, Unavailable)
    except EventTooLarge:
        return
    orjson.dumps(assembler.body())


@every_dialect
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=60), status=st.integers(300, 599))
def test_a_refusal_is_an_error_whatever_it_says(sample, data, status):
    error = DIALECTS[sample.protocol].error("main", status, {}, data)
    assert isinstance(error, InfermeshError)
    assert error.message and error.metadata["provider_status"] == str(status)


@every_dialect
@settings(max_examples=40, deadline=None)
@given(value=junk)
def test_a_refusal_in_json_is_an_error_whatever_it_says(sample, value):
    for body in (value, {"error": value}, {"error": {"message": value, "code": value}}):
        error = DIALECTS[sample.protocol].error("main", 400, {}, orjson.dumps(body))
        assert isinstance(error, InfermeshError)
        assert isinstance(error.message, str) and error.message

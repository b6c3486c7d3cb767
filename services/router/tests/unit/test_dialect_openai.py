"""Servers of OpenAI's family differ; what a client gets does not."""

import orjson
import pytest

from infermesh_common.errors import Unavailable
from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import ProviderSpec
from infermesh_common.testing.resources import model
from infermesh_common.testing.upstream import chunks, completion, sse
from infermesh_router.adapters.outbound.providers.openai import OpenAIDialect
from infermesh_router.domain.chat_stream import ChatStreamAssembler
from infermesh_router.domain.openai_usage import usage_of
from infermesh_router.domain.request import Surface

DIALECT = OpenAIDialect()
MODEL = parse(model("m", upstreamModel="gpt-x"), "test")
DONE = b"data: [DONE]\n\n"


def sent(body, *, surface=Surface.CHAT, stream=False):
    return orjson.loads(DIALECT.call(MODEL, surface, body, stream=stream).body)


def message(**fields):
    return {"messages": [{"role": "assistant", **fields}]}


def delta(fields, finish=None, **top):
    return {"id": "x", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}], **top}


def streamed(*values):
    """The body that a stream of these chunks amounts to."""
    stream = DIALECT.stream({}, 100_000)
    assembler = ChatStreamAssembler()
    for chunk in stream.feed(b"".join(map(sse, values)) + DONE):
        assembler.add(chunk.value)
    assert stream.ended
    return assembler.body()


def answered(value, surface=Surface.CHAT):
    return orjson.loads(DIALECT.answer(surface, {}, orjson.dumps(value)).data)


def completed(finish="stop", **fields):
    choice = {"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish}
    return {"id": "x", "choices": [choice]}


def reason(call):
    with pytest.raises(Unavailable) as caught:
        call()
    return caught.value.reason, caught.value.message


def test_a_body_is_passed_on_as_it_is_but_for_the_models_name():
    body = {
        "model": "mine",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "Bo"}],
        "tools": [{"type": "function", "function": {"name": "f", "strict": True}}],
        "top_k": 5,
        "min_p": 0.1,
        "max_completion_tokens": 7,
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_effort": "low",
        "nothing": None,
    }
    assert sent(body) == {**body, "model": "gpt-x"}
    assert body["model"] == "mine"


@pytest.mark.parametrize(
    ("body", "limit"),
    [({"max_tokens": 7}, 7), ({"max_tokens": 7, "max_completion_tokens": 5}, 5)],
)
def test_a_reasoning_model_is_given_its_limit_under_the_name_that_it_takes(body, limit):
    thinker = parse(model("m", capabilities=["chat", "reasoning"]), "test")
    call = DIALECT.call(thinker, Surface.CHAT, {"messages": [], **body}, stream=False)
    told = orjson.loads(call.body)
    assert told["max_completion_tokens"] == limit
    assert "max_tokens" not in told
    assert sent({"messages": [], **body})["max_tokens"] == 7


def test_embeddings_are_passed_on_as_they_are():
    body = {"input": ["a", "b"], "dimensions": 8, "encoding_format": "base64"}
    call = DIALECT.call(MODEL, Surface.EMBEDDINGS, body, stream=False)
    assert call.path == "/embeddings"
    assert orjson.loads(call.body) == {**body, "model": "gpt-x"}
    value = {"object": "list", "data": [{"embedding": "AAAA"}], "usage": {"prompt_tokens": 1}}
    assert answered(value, Surface.EMBEDDINGS) == value


def test_a_stream_always_reports_its_usage():
    body = {
        "messages": [],
        "stream_options": {"include_usage": False, "include_obfuscation": False},
    }
    assert sent(body, stream=True)["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }
    assert sent({"messages": []}, stream=True)["stream"] is True
    assert "stream_options" not in sent({"messages": []})


def test_marks_for_another_providers_cache_are_taken_out():
    mark = {"type": "ephemeral"}
    part = {"type": "text", "text": "Hi"}
    body = {
        "messages": [
            {"role": "system", "content": [{**part, "cache_control": mark}, part]},
            {"role": "user", "content": "Hi", "cache_control": mark},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": mark}],
    }
    assert sent(body) == {
        "model": "gpt-x",
        "messages": [
            {"role": "system", "content": [part, part]},
            {"role": "user", "content": "Hi"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    assert body["messages"][0]["content"][0]["cache_control"] == mark


def test_another_providers_thoughts_are_taken_out():
    thoughts = [{"type": "thinking", "thinking": "Hm", "signature": "s"}]
    body = message(content="Hi", thinking_blocks=thoughts, reasoning_content="Hm")
    body["thinking"] = {"type": "enabled", "budget_tokens": 2048}
    assert sent(body) == {"model": "gpt-x", **message(content="Hi")}


def test_thoughts_that_a_server_of_this_family_wants_back_are_sent_back():
    body = message(content="Hi", reasoning_content="Hm")
    assert sent(body)["messages"] == body["messages"]


def test_what_is_as_openai_sends_it_keeps_its_bytes():
    data = b'{ "choices": [{"index":0, "delta":{"content":"a"},"finish_reason":null}],"x" : 1}'
    stream = DIALECT.stream({}, 1000)
    assert [chunk.data for chunk in stream.feed(b"data: " + data + b"\n\n")] == [data]
    whole = orjson.dumps(completion(), option=orjson.OPT_INDENT_2)
    assert DIALECT.answer(Surface.CHAT, {}, whole).data is whole


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("stop_sequence", "stop"),
        ("end_turn", "stop"),
        ("model_length", "length"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("content_filter", "content_filter"),
        ("function_call", "function_call"),
        ("a_new_reason", "a_new_reason"),
    ],
)
def test_reasons_to_end_are_openais_where_they_mean_the_same(theirs, ours):
    assert answered(completed(theirs))["choices"][0]["finish_reason"] == ours
    assert streamed(delta({}, theirs))["choices"][0]["finish_reason"] == ours


@pytest.mark.parametrize("finish", ["error", "abort"])
def test_an_answer_that_ends_by_a_failure_is_none(finish):
    assert reason(lambda: answered(completed(finish, content="Par")))[0] == "PROVIDER_FAILED"
    assert reason(lambda: streamed(delta({}, finish)))[0] == "PROVIDER_FAILED"


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "no capacity", "code": 502}},
        {"error": "no capacity"},
        {"object": "error", "message": "no capacity", "code": 500},
        {"error": {"message": "no capacity"}, "choices": [{"index": 0, "delta": {}}]},
    ],
)
def test_an_error_reported_as_a_success_is_an_error(value):
    assert reason(lambda: answered(value)) == (
        "PROVIDER_FAILED",
        "The provider reported an error: no capacity",
    )
    assert "no capacity" in reason(lambda: streamed(delta({"content": "a"}), value))[1]


def test_thoughts_have_one_name():
    assert answered(completed(reasoning="Hm", content="a"))["choices"][0]["message"] == {
        "role": "assistant",
        "reasoning_content": "Hm",
        "content": "a",
    }
    body = streamed(delta({"reasoning": "H"}), delta({"reasoning": "m"}), delta({}, "stop"))
    assert body["choices"][0]["message"]["reasoning_content"] == "Hm"
    both = answered(completed(reasoning="Hm", reasoning_content="Hm"))["choices"][0]["message"]
    assert both["reasoning_content"] == "Hm"


def test_a_content_in_parts_is_one_text():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    parts = [thinking, {"type": "text", "text": "Par"}, {"type": "text", "text": "is"}]
    found = answered(completed(content=parts))["choices"][0]["message"]
    assert (found["content"], found["reasoning_content"]) == ("Paris", "Hm")
    body = streamed(
        delta({"content": [thinking]}), delta({"content": "Par"}), delta({"content": parts[2:]})
    )
    found = body["choices"][0]["message"]
    assert (found["content"], found["reasoning_content"]) == ("Paris", "Hm")


def test_calls_of_tools_without_an_index_are_told_apart():
    def call(arguments, identifier=None):
        head = {"id": identifier, "type": "function"} if identifier else {}
        function = {"name": "f", "arguments": arguments} if identifier else {"arguments": arguments}
        return {"tool_calls": [{**head, "function": function}]}

    stream = DIALECT.stream({}, 10_000)
    parts = (call('{"a"', "one"), call(":1}"), call("{}", "two"))
    indices = [
        chunk.value["choices"][0]["delta"]["tool_calls"][0]["index"]
        for chunk in stream.feed(b"".join(sse(delta(part)) for part in parts))
    ]
    assert indices == [0, 0, 1]
    body = streamed(*map(delta, parts), delta({}, "tool_calls"))
    calls = body["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["arguments"]) for c in calls] == [
        ("one", '{"a":1}'),
        ("two", "{}"),
    ]


def test_several_whole_calls_in_one_chunk_are_told_apart():
    calls = [{"id": n, "function": {"name": n, "arguments": "{}"}} for n in "ab"]
    body = streamed(delta({"tool_calls": calls}), delta({}, "tool_calls"))
    found = body["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in found] == ["a", "b"]


@pytest.mark.parametrize(
    "last",
    [
        [delta({}, "stop"), {"choices": [], "usage": {"prompt_tokens": 3}}],
        [delta({}, "stop"), {"usage": {"prompt_tokens": 3}}],
        [delta({}, "stop"), {"choices": None, "usage": {"prompt_tokens": 3}}],
        [delta({}, "stop", usage={"prompt_tokens": 3})],
        [delta({"content": ""}, "stop", usage={"prompt_tokens": 3}), delta({}, usage=None)],
        [delta({}, usage={"prompt_tokens": 1}), delta({}, "stop", usage={"prompt_tokens": 3})],
    ],
)
def test_usage_is_found_wherever_it_comes(last):
    body = streamed(delta({"role": "assistant", "content": "a"}, usage=None), *last)
    assert usage_of(body).input_tokens == 3
    assert body["choices"][0]["finish_reason"] == "stop"


def test_roles_that_are_repeated_are_said_once():
    body = streamed(*(delta({"role": "assistant", "content": c}) for c in "abc"))
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "abc"}


def test_comments_blank_lines_and_blanks_after_the_end_are_no_trouble():
    stream = DIALECT.stream({}, 10_000)
    data = b": OPENROUTER PROCESSING\r\n\r\n\n\n" + b"".join(map(sse, chunks()))
    assert len(stream.feed(data + b"data:[DONE] \r\n\r\n")) == len(chunks())
    assert stream.ended


@pytest.mark.parametrize(
    "choice",
    [
        1,
        {"index": "0", "delta": {}},
        {"index": 0, "delta": "a"},
        {"index": 0, "delta": {}, "finish_reason": ["stop"]},
        {"index": 0, "delta": {"tool_calls": [1]}},
        {"index": 0, "delta": {"tool_calls": {"a": 1}}},
    ],
)
def test_what_is_no_choice_is_a_broken_stream(choice):
    assert reason(lambda: streamed({"choices": [choice]}))[0] == "PROVIDER_STREAM_BROKEN"


def test_the_key_is_a_bearer_token_unless_its_header_says_otherwise():
    def proof(**fields):
        spec = ProviderSpec(base_url="http://x/v1", **fields)
        call = DIALECT.call(MODEL, Surface.CHAT, {"messages": []}, stream=False)
        return DIALECT.headers(spec, "http://x/v1", call, "sk-1")

    assert proof() == {"authorization": "Bearer sk-1"}
    assert proof(auth_header="Authorization") == {"Authorization": "Bearer sk-1"}
    assert proof(auth_header="api-key") == {"api-key": "sk-1"}


def test_tokens_read_from_and_written_to_a_cache_are_counted_once():
    usage = usage_of(
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            }
        }
    )
    assert usage.total_tokens == 15
    assert (usage.input_tokens, usage.cached_input_tokens) == (3, 3)
    assert usage.cache_write_input_tokens == 4
    assert (usage.output_tokens, usage.reasoning_tokens) == (3, 2)


def test_details_that_exceed_their_sum_do_not_make_a_bucket_negative():
    details = {"cached_tokens": 8, "cache_write_tokens": 9}
    usage = usage_of({"usage": {"prompt_tokens": 10, "prompt_tokens_details": details}})
    assert usage.total_tokens == 10
    assert (usage.input_tokens, usage.cache_write_input_tokens) == (0, 2)

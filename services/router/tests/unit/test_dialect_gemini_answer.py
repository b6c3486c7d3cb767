"""Answers in Gemini's form, beyond what every dialect promises."""

import base64
import struct

import orjson
import pytest
from google.genai import types

from infermesh_common.errors import InvalidArgument, ResourceExhausted, Unavailable
from infermesh_router.adapters.outbound.providers.gemini import GeminiDialect
from infermesh_router.domain.chat_stream import ChatStreamAssembler
from infermesh_router.domain.openai_usage import usage_of
from infermesh_router.domain.request import Surface

DIALECT = GeminiDialect()
USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}


def candidate(*parts, finish="STOP", **fields):
    content = {"role": "model", "parts": list(parts)}
    return {"content": content, **({"finishReason": finish} if finish else {}), **fields}


def response(*candidates, usage=USAGE, **fields):
    return {"candidates": list(candidates), "usageMetadata": usage, "responseId": "r-1", **fields}


def whole(value):
    types.GenerateContentResponse.model_validate(value)
    return orjson.loads(DIALECT.answer(Surface.CHAT, {}, orjson.dumps(value)).data)


def streamed(*values, body=None):
    """What the events amount to, and the stream."""
    stream, assembler = DIALECT.stream(body or {}, 100_000), ChatStreamAssembler()
    for value in values:
        assert not stream.ended
        for chunk in stream.feed(b"data: " + orjson.dumps(value) + b"\r\n\r\n"):
            assembler.add(orjson.loads(chunk.data))
    return assembler.body(), stream


def failure(value):
    with pytest.raises(Unavailable) as caught:
        whole(value)
    return caught.value


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        *[
            (reason, "content_filter")
            for reason in "SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII LANGUAGE".split()
        ],
        ("OTHER", "OTHER"),
        ("CONTINUATION", "CONTINUATION"),
    ],
)
def test_every_reason_of_an_end_is_told(reason, expected):
    value = response(candidate({"text": "So"}, finish=reason))
    assert whole(value)["choices"][0]["finish_reason"] == expected
    body, stream = streamed(value)
    assert body["choices"][0]["finish_reason"] == expected and stream.ended


@pytest.mark.parametrize(
    "reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"]
)
def test_what_the_model_could_not_write_is_no_answer(reason):
    error = failure(response(candidate(finish=reason, finishMessage="Malformed: f(")))
    assert error.reason == "PROVIDER_FAILED"
    assert "Malformed: f(" in error.message
    assert error.metadata["provider_code"] == reason


def test_a_refused_prompt_is_a_filtered_answer():
    value = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": USAGE}
    answer, (body, stream) = whole(value), streamed(value)
    for found in (answer, body):
        (choice,) = found["choices"]
        assert choice["finish_reason"] == "content_filter"
        assert not choice["message"]["content"]
        assert usage_of(found).total_tokens == 5
    assert stream.ended


def test_feedback_beside_an_answer_is_no_refusal():
    value = response(candidate({"text": "So"}), promptFeedback={"safetyRatings": []})
    assert whole(value)["choices"][0]["finish_reason"] == "stop"
    assert streamed(value)[0]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "value",
    [
        response(),
        response(candidate({"text": "So"}, finish=None)),
        {"candidates": {}},
        response(candidate({"functionCall": {"name": "f", "args": [1]}})),
    ],
)
def test_half_an_answer_is_none(value):
    with pytest.raises(Unavailable) as caught:
        DIALECT.answer(Surface.CHAT, {}, orjson.dumps(value))
    assert caught.value.reason == "PROVIDER_STREAM_BROKEN"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # prompt, cached, tools, candidates, thoughts, total: input, cached, output, reasoning
        ((10, 4, 0, 3, 2, 15), (6, 4, 3, 2)),
        ((10, 4, 5, 3, 2, 20), (11, 4, 3, 2)),
        # The candidates include the thoughts.
        ((10, 0, 0, 5, 2, 15), (10, 0, 3, 2)),
        # Thoughts only, cut off.
        ((10, 0, 0, 0, 7, 17), (10, 0, 0, 7)),
        # No total, or one that cannot be.
        ((10, 0, 0, 3, 2, 0), (10, 0, 3, 2)),
        ((10, 0, 0, 3, 2, 11), (10, 0, 3, 2)),
        ((10, 99, 0, 3, 0, 13), (0, 10, 3, 0)),
    ],
)
def test_the_buckets_add_up_to_the_total(counts, expected):
    names = "promptTokenCount cachedContentTokenCount toolUsePromptTokenCount".split()
    names += "candidatesTokenCount thoughtsTokenCount totalTokenCount".split()
    usage = {name: count for name, count in zip(names, counts) if count}
    value = response(candidate({"text": "So"}), usage=usage)
    for answer in (whole(value), streamed(value)[0]):
        found = usage_of(answer)
        assert (
            found.input_tokens,
            found.cached_input_tokens,
            found.output_tokens,
            found.reasoning_tokens,
        ) == expected
        assert answer["usage"]["total_tokens"] == found.total_tokens == sum(expected)


def test_calls_without_ids_get_some_that_stay_the_same():
    parts = [{"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "f"}}]
    value = response(candidate(*parts))
    calls = whole(value)["choices"][0]["message"]["tool_calls"]
    assert len({call["id"] for call in calls}) == 2
    assert whole(value)["choices"][0]["message"]["tool_calls"] == calls
    events = [response(candidate(part, finish=None)) for part in parts]
    body, _ = streamed(*events, response(candidate()))
    assert body["choices"][0]["message"]["tool_calls"] == calls
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    others = whole({**value, "responseId": "r-2"})["choices"][0]["message"]["tool_calls"]
    assert not {call["id"] for call in calls} & {call["id"] for call in others}


def test_signatures_arrive_on_what_they_sign():
    call = {"functionCall": {"name": "f", "args": {}, "id": "1"}, "thoughtSignature": "Y2FsbA=="}
    text, last = {"text": "So"}, {"text": "", "thoughtSignature": "dGV4dA=="}
    answer = whole(response(candidate(text, last, call)))
    events = [response(candidate(part, finish=None)) for part in (text, last, call)]
    body, _ = streamed(*events, response(candidate()))
    for found in (answer, body):
        message = found["choices"][0]["message"]
        assert message["extra_content"] == {"google": {"thought_signature": "dGV4dA=="}}
        (made,) = message["tool_calls"]
        assert made["extra_content"] == {"google": {"thought_signature": "Y2FsbA=="}}


def test_several_signatures_of_one_text_are_not_run_together():
    parts = [{"text": "a", "thoughtSignature": "MQ=="}, {"text": "b", "thoughtSignature": "Mg=="}]
    body, _ = streamed(response(candidate(parts[0], finish=None)), response(candidate(parts[1])))
    message = body["choices"][0]["message"]
    assert message["extra_content"] == {"google": {"thought_signature": "Mg=="}}
    assert whole(response(candidate(*parts)))["choices"][0]["message"] == message


def test_several_candidates_are_several_choices():
    answer = whole(response(candidate({"text": "a"}), candidate({"text": "b"}, index=1)))
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["a", "b"]
    first = response(candidate({"text": "a"}), candidate({"text": "b"}, finish=None, index=1))
    last = response(candidate({"text": "c"}, index=1))
    body, stream = streamed(first, last, body={"n": 2})
    assert [choice["message"]["content"] for choice in body["choices"]] == ["a", "bc"]
    assert stream.ended


def test_a_stream_is_not_whole_before_each_candidate_and_the_usage_are_there():
    stream = DIALECT.stream({"n": 2}, 1000)
    for value, ended in (
        (response(candidate({"text": "a"})), False),
        ({"candidates": [candidate({"text": "b"}, index=1)]}, False),
        ({"usageMetadata": USAGE}, True),
    ):
        stream.feed(b"data: " + orjson.dumps(value) + b"\n\n")
        assert stream.ended is ended


def test_log_probabilities_are_in_openais_form():
    steps = {
        "chosenCandidates": [
            {"token": "é", "logProbability": -0.5},
            {"token": "!"},
        ],
        "topCandidates": [
            {
                "candidates": [
                    {"token": "é", "logProbability": -0.5},
                    {"token": "e", "logProbability": -2},
                ]
            }
        ],
    }
    value = response(candidate({"text": "é!"}, logprobsResult=steps))
    expected = [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [
                {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
                {"token": "e", "logprob": -2, "bytes": [101]},
            ],
        },
        {"token": "!", "logprob": 0.0, "bytes": [33], "top_logprobs": []},
    ]
    for answer in (whole(value), streamed(value)[0]):
        assert answer["choices"][0]["logprobs"] == {"content": expected}


def test_what_tools_of_the_providers_own_do_is_no_part_of_the_answer():
    parts = [{"executableCode": {"code": "1"}}, {"inlineData": {"data": "AA=="}}, {"text": "So"}]
    assert whole(response(candidate(*parts)))["choices"][0]["message"]["content"] == "So"


VECTORS = {"embeddings": [{"values": [0.5, -1]}, {"values": [0.25, 2]}]}


def embeddings(value, **body):
    asked = {"model": "m", "input": ["a", "b"], **body}
    return orjson.loads(DIALECT.answer(Surface.EMBEDDINGS, asked, orjson.dumps(value)).data)


def test_embeddings_arrive_in_order():
    answer = embeddings({**VECTORS, "usageMetadata": {"promptTokenCount": 4}})
    assert answer == {
        "object": "list",
        "model": "m",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
            {"object": "embedding", "index": 1, "embedding": [0.25, 2]},
        ],
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    assert "usage" not in embeddings(VECTORS)


def test_embeddings_are_packed_where_that_is_asked_for():
    answer = embeddings(VECTORS, encoding_format="base64")
    packed = [base64.b64decode(item["embedding"]) for item in answer["data"]]
    assert [struct.unpack("<2f", data) for data in packed] == [(0.5, -1), (0.25, 2)]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"embeddings": [{"values": [1]}]},
        {"embeddings": [{"values": [1]}, {}]},
        {"embeddings": [{"values": ["x"]}, {"values": [1]}]},
        {"embeddings": [{"values": [1e300]}, {"values": [1]}]},
    ],
)
def test_embeddings_that_are_none_are_an_error(value):
    with pytest.raises(Unavailable) as caught:
        embeddings(value, encoding_format="base64")
    assert caught.value.reason == "PROVIDER_STREAM_BROKEN"


def refused(code, headers=None, **error):
    body = orjson.dumps({"error": {"message": "No.", "code": code, **error}})
    return DIALECT.error("google", code, headers or {}, body)


def test_a_key_that_is_none_is_not_the_clients_fault():
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    for error in (
        refused(400, status="INVALID_ARGUMENT", details=[info]),
        refused(400, status="FAILED_PRECONDITION"),
    ):
        assert isinstance(error, Unavailable)
        assert error.reason == "PROVIDER_REFUSED_CREDENTIALS"
        assert error.metadata["provider_status"] == "400"
    error = refused(400, status="INVALID_ARGUMENT")
    assert isinstance(error, InvalidArgument)
    assert error.metadata["provider_code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("delay", "headers", "expected"),
    [
        ("17s", {}, 17),
        ("0.25s", {}, 0.25),
        ("17s", {"retry-after": "3"}, 3),
        ("soon", {}, None),
        (None, {}, None),
    ],
)
def test_when_to_come_back_is_read_from_the_details(delay, headers, expected):
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    error = refused(429, headers, status="RESOURCE_EXHAUSTED", details=[{"reason": "x"}, info])
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after_s == expected


def test_the_refusal_of_a_stream_is_a_list():
    body = orjson.dumps([{"error": {"message": "Busy.", "code": 503, "status": "UNAVAILABLE"}}])
    error = DIALECT.error("google", 503, {}, body)
    assert "Busy." in error.message
    assert error.metadata["provider_code"] == "UNAVAILABLE"

"""Cache control, eligibility, usage, errors: the small rules."""

import grpc
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.context import RequestContext
from infermesh_common.errors import InvalidArgument, Unavailable
from infermesh_common.resources.types import CachePolicySpec
from infermesh_common.usage import Usage
from infermesh_router.adapters.inbound.error_bodies import ascii_json, error_trailers
from infermesh_router.adapters.outbound.providers.errors import from_response
from infermesh_router.domain.cache_control import parse_cache_control
from infermesh_router.domain.caching import lookup_objection, store_objection
from infermesh_router.domain.openai_usage import usage_of
from infermesh_router.domain.request import CacheControl, InferenceRequest, Surface

POLICY = CachePolicySpec(max_temperature=1.0, max_entry_bytes=1000)


def chat(cache=CacheControl(), **body):
    return InferenceRequest(Surface.CHAT, body, "m", cache=cache)


def answer(*reasons):
    return {"choices": [{"finish_reason": reason} for reason in reasons]}


def test_directives_are_read():
    assert parse_cache_control("refresh, MAX-AGE=60 ,ttl=5,no-store") == CacheControl(
        refresh=True, no_store=True, max_age_s=60, ttl_s=5
    )
    assert parse_cache_control("") == CacheControl()


@pytest.mark.parametrize(
    "header",
    ["x", "bypass=1", "max-age", "max-age=-1", "max-age=٣", "ttl=0", "refresh,only-if-cached"],
)
def test_unknown_and_contradictory_directives_are_refused(header):
    with pytest.raises(InvalidArgument):
        parse_cache_control(header)


@given(st.text(max_size=60))
def test_any_header_is_read_or_refused(header):
    try:
        assert isinstance(parse_cache_control(header), CacheControl)
    except InvalidArgument as error:
        assert error.reason == "INVALID_CACHE_CONTROL"


@pytest.mark.parametrize(
    ("body", "eligible"),
    [
        ({}, True),
        ({"temperature": 1}, True),
        ({"temperature": 1.01}, False),
        ({"web_search_options": {}}, False),
        ({"tools": [{"type": "function"}]}, True),
        ({"tools": [{"type": "code_interpreter"}]}, False),
    ],
)
def test_what_may_differ_next_time_is_not_looked_up(body, eligible):
    assert (lookup_objection(chat(**body), POLICY) is None) is eligible


def test_caching_can_be_switched_off():
    assert lookup_objection(chat(), CachePolicySpec(enabled=False))


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (answer("stop"), True),
        (answer("stop", "tool_calls"), True),
        (answer("stop", "length"), False),
        (answer(None), False),
        (answer("content_filter"), False),
        ({"choices": []}, False),
        ({"choices": ["x"]}, False),
        ({}, False),
        ({**answer("stop"), "error": {"message": "x"}}, False),
    ],
)
def test_only_complete_answers_are_stored(body, stored):
    assert (store_objection(chat(), POLICY, body, 10) is None) is stored


def test_too_large_and_no_store_are_not_stored():
    assert store_objection(chat(), POLICY, answer("stop"), 1001)
    assert store_objection(chat(CacheControl(no_store=True)), POLICY, answer("stop"), 1)
    embeddings = InferenceRequest(Surface.EMBEDDINGS, {}, "m")
    assert store_objection(embeddings, POLICY, {"data": []}, 1)
    assert store_objection(embeddings, POLICY, {"data": [1]}, 1) is None


@given(*[st.integers(min_value=0, max_value=10**6)] * 4)
def test_usage_buckets_sum_to_the_total(prompt, cached, completion, reasoning):
    usage = usage_of(
        {
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "prompt_tokens_details": {"cached_tokens": cached},
                "completion_tokens_details": {"reasoning_tokens": reasoning},
            }
        }
    )
    assert usage is not None
    assert usage.total_tokens == prompt + completion
    assert usage.all_input_tokens == prompt


@pytest.mark.parametrize(
    "usage", [None, [], {"prompt_tokens": -1}, {"prompt_tokens": "1"}, {"prompt_tokens": True}, {}]
)
def test_nonsense_is_no_usage(usage):
    assert usage_of({"usage": usage}) is None


def test_embeddings_have_no_output():
    assert usage_of({"usage": {"prompt_tokens": 3}}) == Usage(input_tokens=3)


@given(st.text(max_size=200))
def test_an_error_body_fits_into_a_header_whatever_it_says(text):
    encoded = ascii_json({"message": text})
    assert encoded.isascii() and "\n" not in encoded
    assert orjson.loads(encoded) == {"message": text}


def test_a_long_error_is_cut_for_the_header():
    error = Unavailable("X", "é" * 1000, retry_after_s=0.2)
    call = RequestContext("/infermesh.router.v1.OpenAIService/ListModels", "", {}, 0.0, 0)
    trailers = dict(error_trailers(call, error))
    assert len(trailers["x-infermesh-error"]) <= 6000
    assert trailers["retry-after"] == "1"
    call.method = "/infermesh.router.v1.InferenceService/Infer"
    assert dict(error_trailers(call, error)) == {"retry-after": "1"}


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"error":7}', b'{"error":{"message":7}}', b"null"]
)
def test_a_provider_may_answer_errors_in_any_shape(body):
    error = from_response("p", 422, {}, body)
    assert error.status_code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.message == "no reason given"


@pytest.mark.parametrize("value", ["", "soon", "-1", "nan", "inf", "1e9"])
def test_a_nonsensical_retry_after_is_left_out(value):
    assert from_response("p", 429, {"retry-after": value}, b"").retry_after_s is None

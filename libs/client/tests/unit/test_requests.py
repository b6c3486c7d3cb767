"""What callers give, on the wire; and what is refused before anything is sent."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf import json_format

from infermesh import CacheControl, InvalidRequestError, JsonValue, Message, Role, ToolCall
from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import page_pb2
from infermesh.records import Dimension, UsageFilter
from infermesh.router.v1 import inference_pb2
from infermesh.wire import requests
from infermesh.wire.messages import message_to_proto, struct_to_proto

PAGE = page_pb2.PageRequest()


def infer_request(
    prompt: str | None = "hi",
    messages: Sequence[Message | Mapping[str, JsonValue]] | None = None,
    max_tokens: int | None = None,
    stop: str | Sequence[str] = (),
    cache: CacheControl | None = None,
    parameters: Mapping[str, JsonValue] | None = None,
) -> inference_pb2.InferRequest:
    """With the defaults of `Client.infer`."""
    return requests.infer_request(
        prompt=prompt,
        messages=messages,
        model="auto",
        acceptable_models=(),
        task="",
        temperature=None,
        top_p=None,
        max_tokens=max_tokens,
        seed=None,
        stop=stop,
        cache=cache,
        tags=(),
        request_id=None,
        parameters=parameters or {},
    )


def refusal(failed: pytest.ExceptionInfo[InvalidRequestError]) -> tuple[str, str | None]:
    """Reason and field."""
    return failed.value.reason, failed.value.field


def test_what_is_not_given_is_absent() -> None:
    request = infer_request()
    present = {field.name for field, _ in request.ListFields()}
    assert present == {"request_id", "model", "prompt"}
    assert infer_request().request_id != request.request_id


def test_an_explicit_zero_is_sent() -> None:
    request = infer_request(cache=CacheControl(max_age_s=0), max_tokens=0)
    assert request.HasField("max_tokens")
    assert request.cache.HasField("max_age") and not request.cache.HasField("ttl")


def test_one_stop_text_is_not_taken_for_letters() -> None:
    assert list(infer_request(stop="END").stop) == ["END"]
    assert list(infer_request(stop=["a", "b"]).stop) == ["a", "b"]


@pytest.mark.parametrize(
    ("prompt", "messages"), [(None, None), ("", []), ("hi", [Message("user", "hi")])]
)
def test_exactly_one_of_prompt_and_messages(
    prompt: str | None, messages: list[Message] | None
) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        infer_request(prompt, messages)
    assert refusal(failed) == ("INVALID_MESSAGES", "messages")


def test_a_number_that_the_field_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as failed:
        infer_request(max_tokens=2**40)
    assert failed.value.reason == "INVALID_ARGUMENT"


def test_a_message_and_its_form_in_openais_words_are_the_same_on_the_wire() -> None:
    part: dict[str, JsonValue] = {"type": "text", "text": "look"}
    call: dict[str, JsonValue] = {"id": "c1", "function": {"name": "f", "arguments": "{"}}
    pairs: list[tuple[Message, dict[str, JsonValue]]] = [
        (Message("user", "hi", name="ann"), {"role": "user", "content": "hi", "name": "ann"}),
        (Message("user", parts=(part,)), {"role": "user", "content": [part]}),
        (
            Message("assistant", tool_calls=(ToolCall("c1", "f", "{"),)),
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        ),
        (
            Message("tool", "42", tool_call_id="c1"),
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
        ),
    ]
    for typed, plain in pairs:
        assert message_to_proto(typed) == message_to_proto(plain)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "user", "content": "x", "audio": {"id": "1"}}, "messages.audio"),
        ({"role": "user", "content": 3}, "messages.content"),
        ({"role": "user", "content": ["text"]}, "messages.content"),
        ({"role": 1, "content": "x"}, "messages.role"),
        ({"role": "assistant", "tool_calls": "f()"}, "messages.tool_calls"),
        ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "messages.tool_calls"),
    ],
)
def test_a_message_that_would_lose_something_is_refused(
    message: dict[str, JsonValue], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        message_to_proto(message)
    assert refusal(failed) == ("INVALID_MESSAGES", field)


def test_free_parameters_arrive_as_they_were() -> None:
    given: dict[str, JsonValue] = {
        "response_format": {"type": "json_object", "strict": True, "nothing": None},
        "tools": [{"n": 3, "x": 0.25, "s": "é"}],
        "pair": (1, [2, []]),
    }
    request = infer_request(parameters=given)
    assert json_format.MessageToDict(request.parameters) == {**given, "pair": [1, [2, []]]}


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 2**53 + 1, b"raw", object()])
def test_what_json_cannot_say_exactly_is_refused(value: JsonValue) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        struct_to_proto({"deep": [{"x": value}]}, "parameters")
    assert refusal(failed) == ("INVALID_JSON", "parameters.deep[0].x")


def test_every_dimension_can_be_asked_for() -> None:
    request = requests.usage_request(list(Dimension), None, PAGE)
    assert list(request.group_by) == [1, 2, 3, 4]
    with pytest.raises(InvalidRequestError, match="tenant, model, tag, day"):
        requests.usage_request(["colour"], None, PAGE)


def test_times_are_sent_in_utc_and_need_a_zone() -> None:
    in_tokyo = datetime(2026, 1, 2, 9, tzinfo=timezone(timedelta(hours=9)))
    request = requests.events_request(UsageFilter(start_time=in_tokyo), PAGE)
    assert request.filter.start_time.ToDatetime(tzinfo=UTC) == datetime(2026, 1, 2, tzinfo=UTC)
    assert not request.filter.HasField("end_time")
    with pytest.raises(InvalidRequestError) as failed:
        requests.events_request(UsageFilter(end_time=datetime(2026, 1, 2)), PAGE)
    assert failed.value.reason == "INVALID_TIME"


@pytest.mark.parametrize("role", ["member", "admin", Role.OPERATOR])
def test_roles_that_a_key_can_have(role: str) -> None:
    request = requests.create_key_request("demo", role, "", None, "ml")
    assert request.role in (1, 2, 3)
    assert request.request_id


@pytest.mark.parametrize("role", ["service", "unknown", "king"])
def test_roles_that_no_key_can_have_are_refused(role: str) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        requests.create_key_request("demo", role, "", None, "")
    assert refusal(failed) == ("INVALID_ROLE", "role")


@pytest.mark.parametrize(
    ("selector", "sent"),
    [
        (("m", "", "", False), cache_pb2.InvalidateRequest(model="m")),
        (("", "t", "", False), cache_pb2.InvalidateRequest(tag="t")),
        (("", "", "ab", False), cache_pb2.InvalidateRequest(fingerprint="ab")),
        (("", "", "", True), cache_pb2.InvalidateRequest(all=True)),
    ],
)
def test_one_selector_is_sent(
    selector: tuple[str, str, str, bool], sent: cache_pb2.InvalidateRequest
) -> None:
    model, tag, fingerprint, everything = selector
    request = requests.invalidate_request(
        model=model, tag=tag, fingerprint=fingerprint, everything=everything, dry_run=False
    )
    assert request == sent


@pytest.mark.parametrize(("model", "everything"), [("", False), ("m", True)])
def test_nothing_is_invalidated_by_none_or_two_selectors(model: str, everything: bool) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        requests.invalidate_request(
            model=model, tag="", fingerprint="", everything=everything, dry_run=False
        )
    assert failed.value.reason == "INVALID_SELECTOR"


@pytest.mark.parametrize("page_size", [-1, 2**31])
def test_a_page_size_that_cannot_be_sent_is_refused(page_size: int) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        requests.page_request(page_size, "")
    assert failed.value.reason == "INVALID_PAGE_SIZE"

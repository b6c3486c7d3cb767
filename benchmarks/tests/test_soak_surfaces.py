"""What a soak takes for an answer is one, and nothing else is."""

import json
from collections.abc import Mapping

import pytest

from benchmarks.soak.client import NAMES
from benchmarks.soak.surfaces import SURFACES, Event, NotOfTheSurface, Surface, events_of, parsed

BY_NAME = {surface.name: surface for surface in SURFACES}
CHUNK = {"choices": [{"delta": {"content": "Paris"}, "text": "Paris"}]}
ERROR = {"error": {"message": "m", "type": "t", "param": None, "code": "provider_failed"}}
RESPONSE = {
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Paris"}]}],
}
FAILED = {"status": "failed", "error": {"code": "server_error", "message": "m", "type": "reason"}}
DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Paris"}}
ANTHROPIC_ERROR = {
    "type": "error",
    "error": {"type": "api_error", "message": "m", "details": {"error_code": "provider_failed"}},
}


def numbered(*values: Mapping[str, object]) -> list[Event]:
    numbered_values = [{**value, "sequence_number": at} for at, value in enumerate(values)]
    return [Event(str(value["type"]), json.dumps(value)) for value in numbered_values]


def plain(*values: object) -> list[Event]:
    return [Event("", value if isinstance(value, str) else json.dumps(value)) for value in values]


def named(*values: Mapping[str, object]) -> list[Event]:
    return [Event(str(value["type"]), json.dumps(value)) for value in values]


DELTAS = {"type": "response.output_text.delta", "delta": "Paris"}
STREAMS: dict[str, tuple[list[Event], list[Event], list[Event]]] = {
    # Whole, cut, failed.
    "chat": (plain(CHUNK, "[DONE]"), plain(CHUNK), plain(CHUNK, ERROR)),
    "completions": (plain(CHUNK, "[DONE]"), plain(CHUNK), plain(CHUNK, ERROR)),
    "responses": (
        numbered(DELTAS, {"type": "response.completed", "response": RESPONSE}),
        numbered(DELTAS),
        numbered(DELTAS, {"type": "response.failed", "response": FAILED}),
    ),
    "messages": (
        named(DELTA, {"type": "message_stop"}),
        named(DELTA),
        named(DELTA, ANTHROPIC_ERROR),
    ),
}
each = pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)


@each
def test_a_stream_is_whole_cut_or_failed(surface: Surface) -> None:
    whole, cut, failed = (surface.streamed(events) for events in STREAMS[surface.name])
    assert (whole.text, whole.ended, whole.failure) == ("Paris", True, None)
    assert (cut.text, cut.ended, cut.failure) == ("Paris", False, None)
    assert failed.failure is not None
    assert (failed.text, failed.ended, failed.failure.message) == ("Paris", False, "m")


@each
def test_an_end_after_an_error_or_words_after_the_end_are_refused(surface: Surface) -> None:
    whole, _, failed = STREAMS[surface.name]
    with pytest.raises(NotOfTheSurface):
        surface.streamed([*failed, whole[-1]])
    with pytest.raises(NotOfTheSurface):
        surface.streamed([*whole, whole[0]])


@each
def test_an_error_of_another_form_is_refused(surface: Surface) -> None:
    others: list[dict[str, object]] = [
        {},
        {"error": "words"},
        {"detail": "words"},
        {"error": {"message": "m"}},
    ]
    for other in others:
        with pytest.raises(NotOfTheSurface):
            surface.failure(other)


@each
def test_an_answer_without_a_text_is_refused(surface: Surface) -> None:
    others: list[dict[str, object]] = [
        {},
        {"choices": []},
        {"status": "completed", "output": []},
        {"content": []},
    ]
    for other in others:
        with pytest.raises(NotOfTheSurface):
            surface.whole(other)


def test_a_response_that_is_not_its_deltas_is_refused() -> None:
    events = numbered(
        {**DELTAS, "delta": "Lyon"}, {"type": "response.completed", "response": RESPONSE}
    )
    with pytest.raises(NotOfTheSurface):
        BY_NAME["responses"].streamed(events)


def test_a_stream_that_ends_within_an_event_is_refused() -> None:
    assert events_of("event: a\ndata: 1\n\ndata: 2\n\n") == [Event("a", "1"), Event("", "2")]
    with pytest.raises(NotOfTheSurface):
        events_of("data: 1\n\ndata: 2")


def test_what_is_no_json_object_is_refused() -> None:
    for data in ("", "[]", "{", "words"):
        with pytest.raises(NotOfTheSurface):
            parsed(data)


def test_every_surface_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(SURFACES) + 1

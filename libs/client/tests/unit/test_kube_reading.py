"""`infermesh doctor --kube`: JSON of the API server, logs, versions."""

from datetime import datetime, timezone

import pytest

from infermesh.cli.kube_doctor.fields import Fields, KubeObject
from infermesh.cli.kube_doctor.last_words import (
    failing_dependencies,
    last_line,
    plain_sentence,
    short,
)
from infermesh.cli.kube_doctor.versions import is_older
from infermesh.inference import JsonValue


@pytest.mark.parametrize("value", [None, 1, "text", [1], {"a": None}, {"a": {"b": None}}, True])
def test_what_is_not_there_is_empty(value: JsonValue) -> None:
    fields = Fields(value)
    assert not fields.at("a.b").known
    assert (fields.text("a.b"), fields.number("a.b"), fields.flag("a.b")) == ("", 0, False)
    assert (fields.items("a.b"), fields.members("a.b"), fields.texts("a.b")) == ((), {}, {})
    assert fields.moment("a.b") is None


def test_types_are_not_mixed_up() -> None:
    fields = Fields({"flag": True, "number": 3, "text": "x", "list": ["a"], "labels": {"a.b": "c"}})
    assert (fields.number("flag"), fields.flag("number"), fields.text("number")) == (0, False, "")
    assert fields.items("text") == () and fields.number("number") == 3
    assert fields.texts("labels") == {"a.b": "c"}
    assert [each.text() for each in fields.items("list")] == ["a"]


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000Z"])
def test_times_have_their_zone(text: str) -> None:
    expected = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert Fields({"t": text}).moment("t") == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-02T03:04:05"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert Fields({"t": text}).moment("t") is None


def test_an_object_has_the_kind_that_was_asked_for() -> None:
    found = KubeObject("Pod", {"metadata": {"name": "p", "annotations": {"a/b": "c"}}})
    assert (found.kind, found.name, found.labels, found.annotations) == (
        "Pod",
        "p",
        {},
        {"a/b": "c"},
    )


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("one\n\n two words \n\n", "two words"),
        ('x\n{"event": "stopped", "error": "E", "reason": "R"}', "stopped: E: R"),
        ('{"level": "info"}', '{"level": "info"}'),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_the_last_line_is_told_in_words(log: str, line: str) -> None:
    assert last_line(log) == line


def test_the_sentence_about_settings_is_the_line_that_is_no_json() -> None:
    assert plain_sentence('first\nsecond\n{"event": "x"}\n') == "second"
    assert plain_sentence('{"event": "x"}\n') == ""


def test_failing_dependencies_are_each_named_once() -> None:
    lines = [f'{{"event": "health_check_failed", "dependency": "{d}"}}' for d in ("a", "b", "a")]
    assert failing_dependencies("\n".join([*lines, '{"event": "other", "dependency": "c"}'])) == (
        "a",
        "b",
    )


def test_what_is_shown_is_short_and_harmless() -> None:
    assert short("a\n\tb\x1b]0;x\x07") == "a b\ufffd]0;x\ufffd"
    assert len(short("x" * 1000)) == 303


@pytest.mark.parametrize(
    ("one", "other", "older"),
    [
        ("0.1.0", "0.1.1", True),
        ("0.9.0", "0.10.0", True),
        ("v1.0", "1.0.1-rc1", True),
        ("0.1.0", "0.1.0", False),
        ("0.2.0", "0.1.9", False),
        ("", "0.1.0", False),
        ("0.1.0", "unknown", False),
    ],
)
def test_versions_are_compared_by_their_numbers(one: str, other: str, older: bool) -> None:
    assert is_older(one, other) is older

"""A script says which requests become what."""

from collections.abc import Mapping

import pytest

from tools.simulator.faults import TABLE, Fault, Point
from tools.simulator.rules import Rules
from tools.simulator.script import Script, ScriptError, as_script, parse_script
from tools.simulator.wire import Ask

ASK = Ask("chat", "gpt-4o", "What is the weather?", stream=True)


def texts(script: Script, times: int, ask: Ask = ASK) -> str:
    """A letter for each of `times` requests: of its rule's text, or a dot."""
    rules = Rules(script)
    found = (
        rules.rule(
            "openai", "/v1/chat/completions", ask, lambda name: {"x-key": "a1"}.get(name, "")
        )
        for _ in range(times)
    )
    return "".join(rule.answer.text if rule and rule.answer else "." for rule in found)


def script_of(*whens: Mapping[str, object], seed: int = 0) -> Script:
    letters = "abcdef"
    rules = [{"when": when, "answer": {"text": letter}} for when, letter in zip(whens, letters)]
    return as_script({"seed": seed, "rules": rules})


@pytest.mark.parametrize(
    "when, holds",
    [
        ({}, True),
        ({"wire": "openai"}, True),
        ({"wire": "gemini"}, False),
        ({"path": "/chat/"}, True),
        ({"path": "/embeddings"}, False),
        ({"model": "gpt-*"}, True),
        ({"model": "gpt"}, False),
        ({"prompt": "weather"}, True),
        ({"prompt": "Weather"}, False),
        ({"stream": True}, True),
        ({"stream": False}, False),
        ({"header": {"X-Key": "a"}}, True),
        ({"header": {"x-key": "b"}}, False),
        ({"header": {"x-other": ""}}, True),
        ({"model": "gpt-*", "stream": False}, False),
    ],
)
def test_all_conditions_have_to_hold(when: dict[str, object], holds: bool) -> None:
    assert texts(script_of(when), 1) == ("a" if holds else ".")


@pytest.mark.parametrize(
    "when, taken",
    [
        ({"first": 2}, "aa...."),
        ({"nth": 3}, "..a..."),
        ({"nth": [1, 5]}, "a...a."),
        ({"every": 2}, ".a.a.a"),
        ({"probability": 0}, "......"),
        ({"probability": 1}, "aaaaaa"),
    ],
)
def test_of_those_that_come_some_are_taken(when: dict[str, object], taken: str) -> None:
    assert texts(script_of(when), 6) == taken


def test_only_requests_for_which_the_rest_holds_are_counted() -> None:
    rules = Rules(script_of({"model": "gpt-4o", "nth": 2}))
    other = Ask("chat", "o1", "hello")
    found = [
        rules.rule("openai", "/", ask, lambda name: "") is not None
        for ask in (ASK, other, other, ASK, ASK)
    ]
    assert found == [False, False, False, True, False]


def test_the_first_rule_that_holds_decides() -> None:
    assert texts(script_of({"first": 1}, {"every": 2}, {}), 5) == "acbcb"


def test_chances_are_those_of_the_seed() -> None:
    when = {"probability": 0.3}
    seen = texts(script_of(when), 400)
    assert seen == texts(script_of(when), 400)
    assert seen != texts(script_of(when, seed=1), 400)
    assert 80 <= seen.count("a") <= 160


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("rules: [{when: {first: 1, every: 2}}]", "only one of"),
        ("rules: [{fault: {name: melted}}]", "melted|Input should be"),
        ("rules: [{fault: {name: connect_reset}}]", "fault of `connections`"),
        ("connections: {fault: headers_hang}", "fault of a rule"),
        ("connections: {fault: connect_refused, probability: 0.5}", "refuse some"),
        ("answers: {}", "Extra inputs"),
        ("answer: {usage: {input: -1}}", "greater than or equal"),
        ("{", "neither YAML nor JSON"),
        ("7", "valid dictionary"),
    ],
)
def test_what_is_no_script_is_refused_with_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(ScriptError, match=complaint):
        parse_script(text)


def test_a_script_may_be_yaml_or_json() -> None:
    yaml = parse_script("rules:\n- when: {nth: 3}\n  fault: {name: trailer_reset}\n")
    assert yaml == parse_script(
        b'{"rules":[{"when":{"nth":[3]},"fault":{"name":"trailer_reset"}}]}'
    )
    assert parse_script("") == Script()


def test_the_table_has_every_fault_once() -> None:
    assert set(TABLE) == set(Fault)
    assert all(
        fault.value.startswith(row.point.value)
        for fault, row in TABLE.items()
        if row.point is not Point.HEADERS
    )

"""Whatever a provider says arrives in OpenAI's form, the same whole and streamed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infermesh_common.usage import Usage
from infermesh_router.adapters.outbound.providers.dialects import DIALECTS
from infermesh_router.domain.chat_stream import ChatStreamAssembler
from infermesh_router.domain.openai_usage import usage_of
from infermesh_router.testing.wire_sample import Said, ToolUse
from infermesh_router.testing.wires import WIRES

whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

CALLS = (
    ToolUse("call_1", "weather", {"city": "Rome", "days": [1, 2], "note": 'a "b" \\ ü'}),
    ToolUse("call_2", "clock", {}),
    ToolUse("call_3", "weather", {"city": "Oslo"}),
)


def only_choice(answer):
    (choice,) = answer["choices"]
    return choice


def meaning(answer):
    """What both forms of an answer must agree in."""
    choice = only_choice(answer)
    message = choice["message"]
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    return (
        message["content"] or "",
        message.get("reasoning_content") or "",
        message.get("thinking_blocks"),
        calls,
        choice["finish_reason"],
        usage_of(answer),
    )


@whole_and_streamed
async def test_a_text_arrives(mesh, stream):
    answer = await mesh.either(Said(("Par", "is", " — ça va? ", "🗼\n")), stream=stream)
    assert answer["object"] == "chat.completion"
    assert isinstance(answer["id"], str) and answer["id"]
    assert isinstance(answer["created"], int)
    assert isinstance(answer["model"], str) and answer["model"]
    choice = only_choice(answer)
    assert choice["index"] == 0
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == "Paris — ça va? 🗼\n"
    assert choice["finish_reason"] == "stop"
    assert not choice["message"].get("tool_calls")


@whole_and_streamed
async def test_calls_of_tools_arrive_in_order(mesh, stream):
    said = Said(("Let me see.",), tool_calls=CALLS, finish="tool_calls")
    choice = only_choice(await mesh.either(said, stream=stream))
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me see."
    calls = choice["message"]["tool_calls"]
    assert [call["type"] for call in calls] == ["function"] * 3
    assert [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls
    ] == [(call.name, call.arguments) for call in CALLS]
    ids = [call["id"] for call in calls]
    if mesh.wire.carries_tool_ids:
        assert ids == [call.id for call in CALLS]
    assert all(isinstance(identifier, str) and identifier for identifier in ids)
    assert len(set(ids)) == len(ids)


@whole_and_streamed
async def test_a_call_alone_arrives_without_a_text(mesh, stream):
    said = Said(tool_calls=CALLS[:1], finish="tool_calls")
    message = only_choice(await mesh.either(said, stream=stream))["message"]
    assert not message["content"]
    assert len(message["tool_calls"]) == 1


@whole_and_streamed
async def test_why_an_answer_ends_is_told(mesh, stream):
    assert "stop" in mesh.wire.finish_reasons
    for finish in mesh.wire.finish_reasons:
        calls = CALLS[:1] if finish == "tool_calls" else ()
        answer = await mesh.either(Said(("So",), tool_calls=calls, finish=finish), stream=stream)
        assert only_choice(answer)["finish_reason"] == finish


@whole_and_streamed
async def test_every_token_is_in_one_bucket(mesh, stream):
    for used in range(len(mesh.wire.buckets) + 1):
        # Powers of two: no two sets of buckets have the same sum.
        counts = {name: 2**n for n, name in enumerate(mesh.wire.buckets[:used])}
        usage = Usage(**{"input_tokens": 0, **counts})
        answer = await mesh.either(Said(("So",), usage=usage), stream=stream)
        assert usage_of(answer) == usage
        assert answer["usage"]["total_tokens"] == usage.total_tokens
        assert answer["usage"]["prompt_tokens"] == usage.all_input_tokens
        assert answer["usage"]["completion_tokens"] == usage.all_output_tokens


@whole_and_streamed
async def test_thoughts_arrive_beside_the_text(mesh, stream):
    if not mesh.wire.has_reasoning:
        pytest.skip("this wire has none")
    said = Said(("Paris",), reasoning=("France", "'s capital"))
    message = only_choice(await mesh.either(said, stream=stream))["message"]
    assert message["content"] == "Paris"
    assert message["reasoning_content"] == "France's capital"


@whole_and_streamed
async def test_an_answer_without_a_word_is_an_answer(mesh, stream):
    choice = only_choice(await mesh.either(Said(), stream=stream))
    assert not choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


async def test_a_stream_amounts_to_the_whole_answer(mesh):
    said = Said(
        ("It", " is", " ü"),
        reasoning=("Hm", ".") if mesh.wire.has_reasoning else (),
        tool_calls=CALLS,
        finish="tool_calls",
    )
    whole = await mesh.either(said, stream=False)
    assert meaning(await mesh.either(said, stream=True)) == meaning(whole)


async def test_a_stream_arrives_in_one_piece_or_byte_by_byte(mesh):
    data = b"".join(mesh.wire.streamed(Said(("Pâ", "ris"), tool_calls=CALLS, finish="tool_calls")))
    mesh.streams([data])
    expected = meaning(await mesh.stream())
    mesh.streams([data[n : n + 1] for n in range(len(data))])
    assert meaning(await mesh.stream()) == expected


async def test_signs_of_life_and_unknown_kinds_are_passed_over(mesh):
    frames = mesh.wire.streamed(Said(("Par", "is")))
    noisy = [frames[0]]
    for frame in frames[1:]:
        noisy += [*mesh.wire.noise(), frame]
    mesh.streams(frames)
    expected = meaning(await mesh.stream())
    mesh.streams(noisy)
    assert meaning(await mesh.stream()) == expected


async def test_nothing_after_the_end_is_read(mesh):
    frames = mesh.wire.streamed(Said(("Par", "is")))
    mesh.streams([*frames, b"what comes after the end is nobody's business", *frames])
    assert only_choice(await mesh.stream())["message"]["content"] == "Paris"


def assembled(wire, pieces):
    """The answer that the dialect makes of `pieces`, which a socket would not keep apart."""
    stream = DIALECTS[wire.protocol].stream({"messages": []}, 1_000_000)
    assembler = ChatStreamAssembler()
    for piece in pieces:
        assert not stream.ended
        for chunk in stream.feed(piece):
            assembler.add(json.loads(chunk.data))
    assert stream.ended
    return meaning(assembler.body())


@settings(max_examples=50, deadline=None)
@given(st.data())
@pytest.mark.parametrize("sample", WIRES, ids=lambda wire: wire.name)
def test_a_stream_means_the_same_however_its_bytes_are_cut(sample, data):
    reasons = sample.has_reasoning and data.draw(st.booleans(), "reasons")
    calls = data.draw(st.booleans(), "calls tools")
    said = Said(
        tuple(data.draw(st.lists(st.text(min_size=1, max_size=8), max_size=4), "text")),
        reasoning=("Hm", "m") if reasons else (),
        tool_calls=CALLS if calls else (),
        finish="tool_calls" if calls else "stop",
    )
    frames = sample.streamed(said)
    whole = b"".join(frames)
    cuts = data.draw(st.lists(st.integers(1, len(whole) - 1), max_size=12), "cuts")
    edges = [0, *sorted(set(cuts)), len(whole)]
    pieces = [whole[begin:end] for begin, end in zip(edges, edges[1:])]
    expected = assembled(sample, [whole])
    assert expected[0] == said.text
    assert assembled(sample, pieces) == expected

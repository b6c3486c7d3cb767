"""A streamed answer, as the SDK of its wire puts it together, is the whole form of the answer."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from infermesh_common.errors import Unavailable
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.chat_stream import ChatStreamAssembler, replay
from infermesh_router.domain.surfaces.anthropic.stream import MessageWriter
from infermesh_router.domain.surfaces.responses.stream import ResponseWriter

ANTHROPIC_EVENTS: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
OPENAI_EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
HEAD = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 7, "model": "m"}
SEALED = {"include": ["reasoning.encrypted_content"]}


@dataclass
class Script:
    """Deltas of one answer, each list in an order of its own."""

    thinking: list[dict[str, object]] = field(default_factory=list)
    threads: list[list[dict[str, object]]] = field(default_factory=list)
    finish: str = "stop"
    usage: dict[str, object] | None = None

    def chunks(self, order: random.Random) -> list[dict[str, object]]:
        """Thoughts first; then the threads, woven into each other."""
        deltas = [{"role": "assistant", "content": ""}, *self.thinking]
        left = [list(thread) for thread in self.threads if thread]
        while left:
            thread = order.choice(left)
            deltas.append(thread.pop(0))
            left = [thread for thread in left if thread]
        made = [chunk(delta) for delta in deltas]
        made.append(chunk({}, finish_reason=self.finish))
        if self.usage is not None:
            made.append({**HEAD, "choices": [], "usage": self.usage})
        return made


def chunk(delta: dict[str, object], finish_reason: str | None = None) -> dict[str, object]:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def assembled(chunks: Iterable[dict[str, object]]) -> dict[str, object]:
    assembler = ChatStreamAssembler()
    for value in chunks:
        assembler.add(value)
    return assembler.body()


def pieces(text: str, draw: st.DrawFn) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    bounds = [0, *cuts, len(text)]
    return [text[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON_OBJECT = st.dictionaries(
    st.text(max_size=4),
    st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, st.lists),
    max_size=3,
)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    script = Script(
        finish=draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
    )
    if draw(st.booleans()):
        script.thinking = [
            {"reasoning_content": piece} for piece in draw(st.lists(TEXT, max_size=3))
        ]
    else:
        for index in range(draw(st.integers(0, 3))):
            script.thinking += signed(draw, index)
    texts = [{"content": piece} for piece in draw(st.lists(TEXT, max_size=4))]
    script.threads.append(texts)
    for index in range(draw(st.integers(0, 3))):
        script.threads.append(call(draw, index))
    if draw(st.booleans()):
        script.usage = draw(usages())
    return script


def signed(draw: st.DrawFn, index: int) -> list[dict[str, object]]:
    """As the dialect of Anthropic tells it."""
    if draw(st.booleans()):
        thought = {"index": index, "type": "redacted_thinking", "data": f"sealed {index}"}
        return [{"thinking_blocks": [thought]}]
    text = draw(TEXT)
    deltas: list[dict[str, object]] = []
    for piece in filter(None, pieces(text, draw)):
        thought = {"index": index, "type": "thinking", "thinking": piece}
        deltas.append({"reasoning_content": piece, "thinking_blocks": [thought]})
    seal = {"index": index, "type": "thinking", "thinking": "", "signature": f"by me {index}"}
    return [*deltas, {"thinking_blocks": [seal]}]


def call(draw: st.DrawFn, index: int) -> list[dict[str, object]]:
    arguments = orjson.dumps(draw(JSON_OBJECT)).decode()
    first, *rest = pieces(arguments, draw)
    begin = {"index": index, "id": f"call_{index}", "type": "function"}
    begin["function"] = {"name": f"tool{index}", "arguments": first}
    more = [{"index": index, "function": {"arguments": piece}} for piece in rest]
    return [{"tool_calls": [piece]} for piece in (begin, *more)]


@st.composite
def usages(draw: st.DrawFn) -> dict[str, object]:
    prompt, completion = draw(st.integers(0, 99)), draw(st.integers(0, 99))
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": draw(st.integers(0, completion))},
    }


def events(data: bytes) -> Iterator[dict[str, object]]:
    """The events; each must say its type in its name too."""
    blocks = data.decode().split("\n\n")
    assert blocks.pop() == ""
    for block in blocks:
        name, told = block.split("\n", 1)
        value = orjson.loads(told.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        yield value


def streamed(writer: MessageWriter | ResponseWriter, chunks: Iterable[dict[str, object]]) -> bytes:
    parts = [writer.chunks([Chunk(value=value)]) for value in chunks]
    return b"".join([*parts, writer.end()])


def as_message(data: bytes) -> Message:
    """What Anthropic's SDK makes of a stream; checks the order of its events."""
    snapshot, buffers = None, dict[int, bytes]()
    open_block, blocks, last = None, 0, None
    for value in events(data):
        event = ANTHROPIC_EVENTS.validate_python(value, strict=True)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
        assert last != "message_stop"
        last = event.type
        if event.type == "content_block_start":
            assert open_block is None and event.index == blocks
            open_block, blocks = event.index, blocks + 1
        elif event.type == "content_block_delta":
            assert event.index == open_block
        elif event.type == "content_block_stop":
            assert event.index == open_block
            open_block = None
    assert snapshot is not None and open_block is None and last == "message_stop"
    return Message.model_validate(snapshot.model_dump())


def as_response(data: bytes) -> Response:
    """What OpenAI's SDK makes of a stream; checks that it ends as a stream should."""
    state: ResponseStreamState[object] = ResponseStreamState(input_tools=omit, text_format=omit)
    numbers, last = [], None
    for value in events(data):
        event = OPENAI_EVENTS.validate_python(value, strict=True)
        for fired in state.handle_event(event):
            last = fired
        numbers.append(event.sequence_number)
    assert numbers == list(range(len(numbers)))
    assert last is not None and last.type in ("response.completed", "response.incomplete")
    return Response.model_validate(last.response.model_dump())


def said_by(message: Message) -> dict[str, object]:
    """A message, whatever the order of its blocks."""
    thoughts = [b for b in message.content if b.type in ("thinking", "redacted_thinking")]
    calls = {b.id: (b.name, b.input) for b in message.content if b.type == "tool_use"}
    return {
        "thoughts": [b.model_dump(exclude_none=True) for b in thoughts],
        "text": "".join(b.text for b in message.content if b.type == "text"),
        "calls": calls,
        "end": (message.stop_reason, message.stop_sequence, message.usage.model_dump()),
        "head": (message.id, message.model, message.role),
    }


def told_by(response: Response) -> dict[str, object]:
    """A response, whatever the order of its items."""
    texts, thoughts, calls = [], [], {}
    for item in response.output:
        if item.type == "message":
            texts += [part.text for part in item.content if part.type == "output_text"]
        elif item.type == "reasoning":
            content = "".join(part.text for part in item.content or ())
            thoughts.append((content, item.encrypted_content))
        elif item.type == "function_call":
            calls[item.call_id] = (item.name, item.arguments)
    rest = response.model_dump(exclude={"output"})
    return {"text": "".join(texts), "thoughts": thoughts, "calls": calls, "rest": rest}


@settings(deadline=None, max_examples=60)
@given(script=scripts(), order=st.randoms(use_true_random=False))
def test_a_stream_of_messages_is_the_whole_message(script: Script, order: random.Random) -> None:
    chunks = script.chunks(order)
    body = assembled(chunks)
    whole = Message.model_validate_json(MessageWriter("m").whole(Answer(value=body)), strict=True)
    assert said_by(as_message(streamed(MessageWriter("m"), chunks))) == said_by(whole)
    replayed = [part.value for part in replay(body)]
    assert said_by(as_message(streamed(MessageWriter("m"), replayed))) == said_by(whole)


@settings(deadline=None, max_examples=60)
@given(script=scripts(), order=st.randoms(use_true_random=False))
def test_a_stream_of_a_response_is_the_whole_response(script: Script, order: random.Random) -> None:
    chunks = script.chunks(order)
    body = assembled(chunks)
    raw = ResponseWriter(SEALED, "m").whole(Answer(value=body))
    whole = Response.model_validate_json(raw, strict=True)
    assert told_by(as_response(streamed(ResponseWriter(SEALED, "m"), chunks))) == told_by(whole)
    replayed = [part.value for part in replay(body)]
    assert told_by(as_response(streamed(ResponseWriter(SEALED, "m"), replayed))) == told_by(whole)


def weave() -> list[dict[str, object]]:
    """Two calls of tools whose arguments go back and forth, and a text between them."""

    def piece(index: int, arguments: str, **more: str) -> dict[str, object]:
        function = {"arguments": arguments, **({"name": more.pop("name")} if more else {})}
        return chunk({"tool_calls": [{"index": index, **more, "function": function}]})

    return [
        piece(0, '{"a":', id="call_0", name="first"),
        piece(1, '{"b', id="call_1", name="second"),
        chunk({"content": "meanwhile"}),
        piece(0, "1}"),
        piece(1, '":2}'),
        chunk({}, finish_reason="tool_calls"),
    ]


def test_calls_that_go_back_and_forth_are_one_block_after_the_other() -> None:
    message = as_message(streamed(MessageWriter("m"), weave()))
    assert [block.type for block in message.content] == ["tool_use", "tool_use", "text"]
    assert said_by(message)["calls"] == {
        "call_0": ("first", {"a": 1}),
        "call_1": ("second", {"b": 2}),
    }
    assert message.stop_reason == "tool_use"


def test_a_call_is_shown_while_it_is_written() -> None:
    writer = MessageWriter("m")
    shown = [list(events(writer.chunks([Chunk(value=value)]))) for value in weave()]
    assert [event["type"] for event in shown[0]] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
    ]
    assert shown[1] == shown[2] == []
    assert "content_block_stop" in [event["type"] for event in shown[3]]


@pytest.mark.parametrize("writer", [MessageWriter("m"), ResponseWriter({}, "m")])
def test_a_call_without_a_name_is_a_broken_answer(writer: MessageWriter | ResponseWriter) -> None:
    call = {"index": 0, "id": "x", "function": {"arguments": "{}"}}
    writer.chunks([Chunk(value=chunk({"tool_calls": [call]}))])
    with pytest.raises(Unavailable):
        writer.end()


@pytest.mark.parametrize("writer", [MessageWriter("m"), ResponseWriter({}, "m")])
def test_a_call_that_goes_on_after_its_end_is_a_broken_answer(
    writer: MessageWriter | ResponseWriter,
) -> None:
    more = chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1"}}]})
    chunks = [*weave()[:5], more]
    with pytest.raises(Unavailable):
        for value in chunks:
            writer.chunks([Chunk(value=value)])


def test_a_message_that_fails_ends_with_an_error_and_without_a_stop() -> None:
    writer = MessageWriter("m")
    data = writer.chunks([Chunk(value=chunk({"content": "Par"}))])
    data += writer.failure(Unavailable("PROVIDER_STREAM_BROKEN", "It broke."))
    seen = list(events(data))
    assert seen[-1]["error"] == {
        "type": "api_error",
        "message": "It broke.",
        "details": {"error_code": "provider_stream_broken"},
    }
    assert "message_stop" not in [event["type"] for event in seen]


@pytest.mark.parametrize("begun", [False, True])
def test_a_response_that_fails_ends_as_failed(begun: bool) -> None:
    writer = ResponseWriter({}, "m")
    data = writer.chunks([Chunk(value=chunk({"content": "Par"}))]) if begun else b""
    data += writer.failure(Unavailable("PROVIDER_STREAM_BROKEN", "It broke."))
    state: ResponseStreamState[object] = ResponseStreamState(input_tools=omit, text_format=omit)
    fired = []
    for value in events(data):
        fired += state.handle_event(OPENAI_EVENTS.validate_python(value, strict=True))
    assert fired[-1].type == "response.failed"
    assert fired[-1].response.status == "failed"
    assert fired[-1].response.error.code == "server_error"
    assert "response.completed" not in [event.type for event in fired]


def told(*deltas: dict[str, object], finish: str = "stop") -> Message:
    chunks = [*map(chunk, deltas), chunk({}, finish_reason=finish)]
    return as_message(streamed(MessageWriter("m"), chunks))


def calling(arguments: str, **more: object) -> dict[str, object]:
    return {"tool_calls": [{"index": 0, **more, "function": {"name": "f", "arguments": arguments}}]}


def test_arguments_that_only_look_complete_are_waited_for() -> None:
    message = told(calling('{"a":{}', id="c"), {"content": "so"}, calling("}"))
    assert [block.type for block in message.content] == ["tool_use", "text"]
    assert message.content[0].input == {"a": {}}


def test_what_waits_for_a_call_that_was_cut_off_is_told_at_the_end() -> None:
    message = told(calling('{"a":', id="c"), {"content": "so"}, finish="length")
    assert [block.type for block in message.content] == ["tool_use", "text"]
    assert message.stop_reason == "max_tokens"


@pytest.mark.parametrize("told_again", ["hm, so", ""])
def test_reasoning_that_is_signed_afterwards_is_one_block(told_again: str) -> None:
    signed = {"type": "thinking", "thinking": told_again, "signature": "by me"}
    message = told(
        {"reasoning_content": "hm, "},
        {"reasoning_content": "so"},
        {"thinking_blocks": [signed]},
        {"content": "x"},
    )
    thought, text = message.content
    assert (thought.thinking, thought.signature, text.text) == ("hm, so", "by me", "x")

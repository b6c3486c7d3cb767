"""Anthropic's wire on both sides of the router: what goes through OpenAI's form means the same."""

from __future__ import annotations

import orjson
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_common.testing.resources import model, resource
from infermesh_router.adapters.outbound.providers.anthropic import AnthropicDialect
from infermesh_router.domain.chat_stream import ChatStreamAssembler
from infermesh_router.domain.request import Surface
from infermesh_router.domain.surfaces.anthropic.stream import MessageWriter
from infermesh_router.domain.surfaces.anthropic.wire import MessagesWire

BUILT = build(
    [
        (
            "test",
            resource("Provider", "main", baseUrl="http://127.0.0.1:1/v1", protocol="anthropic"),
        ),
        ("test", model("claude")),
    ],
    ResourceSet(),
)
MODEL = BUILT.by_key["Model", "claude"]
DIALECT, WIRE = AnthropicDialect(), MessagesWire()
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=8)
IDS = st.from_regex(r"toolu_[a-z0-9]{4}", fullmatch=True)
OBJECTS = st.dictionaries(
    WORDS, st.integers(-9, 9) | WORDS | st.lists(WORDS, max_size=2), max_size=2
)
MARKER = st.none() | st.just({"type": "ephemeral"}) | st.just({"type": "ephemeral", "ttl": "1h"})


def marked(block: dict[str, object], marker: object) -> dict[str, object]:
    return block if marker is None else {**block, "cache_control": marker}


def made(kind: str, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


TEXTS = st.builds(marked, made("text", text=WORDS), MARKER)
SOURCES = st.one_of(
    made("url", url=st.just("https://example.com/a.png")),
    made("base64", media_type=st.just("image/png"), data=st.just("aGk=")),
)
PDF = made("base64", media_type=st.just("application/pdf"), data=st.just("aGk="))
MEDIA = st.one_of(
    TEXTS,
    st.builds(marked, made("image", source=SOURCES), MARKER),
    st.builds(marked, made("document", source=PDF, title=WORDS), MARKER),
)
BARE = made("text", text=WORDS) | made("image", source=SOURCES)
# A marker of a result is the whole result's.
RESULTS = st.builds(
    marked,
    made("tool_result", tool_use_id=IDS, content=st.lists(BARE, min_size=1, max_size=2)),
    MARKER,
)
THOUGHTS = st.one_of(
    made("thinking", thinking=WORDS, signature=WORDS), made("redacted_thinking", data=WORDS)
)
USES = made("tool_use", id=IDS, name=WORDS, input=OBJECTS)


def said(*kinds: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[list[object]]:
    """Blocks in the order that the API wants them in."""
    lists = [st.lists(kind, max_size=2) for kind in kinds]
    return st.builds(lambda *parts: sum(parts, []), *lists).filter(bool)


USER = st.fixed_dictionaries({"role": st.just("user"), "content": said(RESULTS, MEDIA) | WORDS})
ASSISTANT = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": said(THOUGHTS, TEXTS, USES) | WORDS}
)
TOOLS = st.builds(
    marked,
    st.fixed_dictionaries(
        {"name": WORDS, "input_schema": OBJECTS.map(lambda o: {"type": "object", **o})},
        optional={"description": WORDS, "strict": st.booleans()},
    ),
    MARKER,
)
CHOICES = st.one_of(
    st.just({"type": "auto"}),
    st.just({"type": "any"}),
    st.just({"type": "none"}),
    st.just({"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
)
BODIES = st.fixed_dictionaries(
    {
        "model": st.just("claude"),
        "max_tokens": st.integers(2000, 4000),
        "messages": st.lists(st.tuples(USER, ASSISTANT), min_size=1, max_size=2).map(
            lambda pairs: [message for pair in pairs for message in pair]
        ),
    },
    optional={
        "system": WORDS | st.lists(TEXTS, min_size=1, max_size=2),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 50),
        "stop_sequences": st.lists(WORDS, min_size=1, max_size=2),
        "stream": st.booleans(),
        "thinking": st.sampled_from(
            [{"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}, {"type": "adaptive"}]
        ),
        "output_config": OBJECTS.map(lambda o: {"format": {"type": "json_schema", "schema": o}}),
        "metadata": WORDS.map(lambda word: {"user_id": word}),
    },
)


def as_blocks(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def plain(body: dict[str, object]) -> dict[str, object]:
    """A body with every content as blocks, and without the name the model has on either side."""
    out = {**body, "model": "", "stream": bool(body.get("stream"))}
    out["messages"] = [{**m, "content": as_blocks(m["content"])} for m in body["messages"]]
    if "system" in body:
        out["system"] = as_blocks(body["system"])
    return out


@settings(deadline=None, max_examples=60)
@given(body=BODIES, tools=st.lists(TOOLS, max_size=2), choice=st.none() | CHOICES)
def test_a_request_means_the_same_to_anthropic(body, tools, choice):
    if tools:
        body["tools"] = tools
        if choice is not None:
            body["tool_choice"] = choice
    asked = WIRE.read(orjson.loads(orjson.dumps(body)))
    call = DIALECT.call(MODEL, Surface.CHAT, asked.body, stream=asked.stream)
    assert plain(orjson.loads(call.body)) == plain(body)


ENDINGS = st.sampled_from(
    [("end_turn", None), ("max_tokens", None), ("stop_sequence", "END"), ("refusal", None)]
)
COUNTS = st.integers(0, 500)
ANSWERED = st.fixed_dictionaries(
    {
        "id": st.just("msg_1"),
        "type": st.just("message"),
        "role": st.just("assistant"),
        "model": st.just("claude-upstream"),
        "content": st.tuples(
            st.lists(THOUGHTS, max_size=2), st.lists(made("text", text=WORDS), max_size=1)
        ).map(lambda parts: parts[0] + parts[1]),
        "usage": st.fixed_dictionaries(
            {
                "input_tokens": COUNTS,
                "cache_creation_input_tokens": COUNTS,
                "cache_read_input_tokens": COUNTS,
                "output_tokens": COUNTS,
            }
        ),
    }
)


@settings(deadline=None, max_examples=60)
@given(
    answer=ANSWERED, ending=ENDINGS, uses=st.lists(USES, max_size=2, unique_by=lambda u: u["id"])
)
def test_an_answer_of_anthropic_comes_back_as_it_was(answer, ending, uses):
    answer = complete(answer, ending, uses)
    chat = DIALECT.answer(Surface.CHAT, {}, orjson.dumps(answer))
    assert orjson.loads(MessageWriter("m").whole(chat)) == answer


@settings(deadline=None, max_examples=60)
@given(
    answer=ANSWERED, ending=ENDINGS, uses=st.lists(USES, max_size=2, unique_by=lambda u: u["id"])
)
def test_a_stream_of_anthropic_comes_back_event_by_event(answer, ending, uses):
    answer = complete(answer, ending, uses)
    stream, writer = DIALECT.stream({}, 1 << 20), MessageWriter("m")
    assembler, out = ChatStreamAssembler(), b""
    for event in as_events(answer):
        chunks = stream.feed(b"data: " + orjson.dumps(event) + b"\n\n")
        for chunk in chunks:
            assembler.add(chunk.value)
        out += writer.chunks(chunks)
    out += writer.end()
    assert stream.ended and assembler.finished
    back = [orjson.loads(e.split("data: ", 1)[1]) for e in out.decode().split("\n\n")[:-1]]
    # What the start told of usage is told again, whole, at the end.
    assert [event["type"] for event in back] == [event["type"] for event in as_events(answer)]
    assert back[1:] == as_events(answer)[1:]


def complete(answer, ending, uses):
    reason, sequence = ("tool_use", None) if uses else ending
    return Message.model_validate(
        {
            **answer,
            "content": [*answer["content"], *uses],
            "stop_reason": reason,
            "stop_sequence": sequence,
        }
    ).model_dump(exclude_unset=True)


def as_events(answer):
    """The stream of a message, each block in two pieces."""
    start = {**answer, "content": [], "stop_reason": None, "stop_sequence": None}
    yield_events = [{"type": "message_start", "message": start}]
    for index, block in enumerate(answer["content"]):
        begin, deltas = pieces(block)
        yield_events.append({"type": "content_block_start", "index": index, "content_block": begin})
        for delta in deltas:
            piece = {"type": "content_block_delta", "index": index, "delta": delta}
            yield_events.append(piece)
        yield_events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": answer["stop_reason"], "stop_sequence": answer["stop_sequence"]}
    yield_events.append({"type": "message_delta", "delta": end, "usage": answer["usage"]})
    return [*yield_events, {"type": "message_stop"}]


def pieces(block):
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    if block["type"] == "thinking":
        begin = {"type": "thinking", "thinking": "", "signature": ""}
        thinking = {"type": "thinking_delta", "thinking": block["thinking"]}
        return begin, [thinking, {"type": "signature_delta", "signature": block["signature"]}]
    if block["type"] == "tool_use":
        text = orjson.dumps(block["input"]).decode()
        half = [text[:3], text[3:]]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in half if piece]
        return {**block, "input": {}}, deltas
    return block, []

"""Anthropic's Messages wire. Source: Claude API reference."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from infermesh_common.usage import Usage
from infermesh_router.domain.request import JsonObject
from infermesh_router.testing.wire_sample import (
    FinishReason,
    Heard,
    Image,
    Part,
    Received,
    Said,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)

_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_FIELDS = frozenset(
    "model messages max_tokens system metadata stop_sequences stream temperature top_p top_k tools"
    " tool_choice thinking output_config".split()
)
_MARK = frozenset({"cache_control"})


class AnthropicWire:
    """Implements `WireSample`."""

    name = "anthropic"
    protocol = "anthropic"
    spec: JsonObject = {}
    base_path = "/v1"
    secret = "sk-ant-very-secret"
    confidential: tuple[str, ...] = ("sk-ant-very-secret",)
    secret_header = "x-api-key"
    carries_tool_ids = True
    image_urls = True
    has_reasoning = True
    finish_reasons: tuple[FinishReason, ...] = ("stop", "length", "tool_calls", "content_filter")
    buckets: tuple[str, ...] = (
        "input_tokens",
        "cached_input_tokens",
        "cache_write_input_tokens",
        "output_tokens",
        "reasoning_tokens",
    )
    refused: tuple[tuple[str, object, str], ...] = (
        ("n", 2, "n"),
        ("logprobs", True, "logprobs"),
        ("top_logprobs", 3, "top_logprobs"),
        ("logit_bias", {"50256": -100}, "logit_bias"),
        ("frequency_penalty", 0.5, "frequency_penalty"),
        ("presence_penalty", -1, "presence_penalty"),
        ("temperature", 1.5, "temperature"),
        ("response_format", {"type": "json_object"}, "response_format"),
        ("reasoning_effort", "a lot", "reasoning_effort"),
        ("modalities", ["text", "audio"], "modalities"),
        ("web_search_options", {}, "web_search_options"),
        ("functions", [{"name": "f"}], "functions"),
        ("tools", [{"type": "custom", "custom": {"name": "c"}}], "tools[0].type"),
        ("min_p", 0.1, "min_p"),
    )
    embeddings = False

    def heard(self, request: Received) -> Heard:
        """See `WireSample.heard`."""
        assert request.path == f"{self.base_path}/messages"
        assert request.headers["anthropic-version"] == "2023-06-01"
        body = json.loads(request.body)
        assert body.keys() <= _FIELDS
        assert isinstance(body["max_tokens"], int)
        roles = [message["role"] for message in body["messages"]]
        assert roles[0] == "user"
        assert all(one != other for one, other in zip(roles, roles[1:]))
        choice = body.get("tool_choice", {"type": "auto"})
        assert "tools" in body or "tool_choice" not in body
        output = body.get("output_config", {})
        turns = tuple(_turn(message) for message in body["messages"])
        _check_results(turns)
        return Heard(
            model=body["model"],
            stream=body.get("stream", False),
            system=tuple(cast(str, _part(block)) for block in body.get("system", ())),
            turns=turns,
            tools=tuple(_tool(tool) for tool in body.get("tools", ())),
            tool_choice=_choice(choice),
            parallel_tools=not choice.get("disable_parallel_tool_use", False),
            schema=output["format"]["schema"] if "format" in output else None,
            # The API demands a limit; this one stands for none.
            max_tokens=None if body["max_tokens"] == 4096 else body["max_tokens"],
            stop=tuple(body.get("stop_sequences", ())),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            reasons=body.get("thinking", {}).get("type") in ("enabled", "adaptive"),
        )

    def proves(self, request: Received) -> bool:
        """See `WireSample.proves`."""
        return request.headers["x-api-key"] == self.secret

    def whole(self, said: Said) -> bytes:
        """See `WireSample.whole`."""
        message = {
            **_message(_blocks(said), _usage(said.usage)),
            "stop_reason": _STOP_REASONS[said.finish],
        }
        return json.dumps(message).encode()

    def streamed(self, said: Said) -> Sequence[bytes]:
        """See `WireSample.streamed`."""
        usage = _usage(said.usage)
        first = {**usage, "output_tokens": 1, "output_tokens_details": None}
        frames = [
            _event("message_start", message={**_message([], first), "stop_reason": None}),
            _event("ping"),
        ]
        for index, (block, deltas) in enumerate(_streamed_blocks(said)):
            frames.append(_event("content_block_start", index=index, content_block=block))
            frames += [_event("content_block_delta", index=index, delta=delta) for delta in deltas]
            frames.append(_event("content_block_stop", index=index))
        delta = {"stop_reason": _STOP_REASONS[said.finish], "stop_sequence": None}
        frames.append(_event("message_delta", delta=delta, usage=usage))
        return [*frames, _event("message_stop")]

    def stream_headers(self) -> Mapping[str, str]:
        """See `WireSample.stream_headers`."""
        return {"content-type": "text/event-stream; charset=utf-8"}

    def noise(self) -> Sequence[bytes]:
        """See `WireSample.noise`."""
        return [
            _event("ping"),
            b": still here\n\n",
            _event("something_new", index=0, delta={"type": "text_delta", "text": "no"}),
        ]

    def stream_errors(self, message: str) -> Sequence[bytes]:
        """See `WireSample.stream_errors`."""
        error = {"type": "overloaded_error", "message": message}
        return [_event("error", error=error, request_id="req_1")]

    def garbage(self) -> Sequence[bytes]:
        """See `WireSample.garbage`."""
        return [
            b"data: {\n\n",
            b"data: [1]\n\n",
            b"data: <html>502</html>\n\n",
            b'data: {"choices": []}\n\n',
            b"event: message_delta\ndata: null\n\n",
            _event("message_start", message=None),
            _event("content_block_start", index="0", content_block={}),
            _event("content_block_delta", index=99, delta={"type": "text_delta", "text": "no"}),
            _event("message_stop"),
        ]

    def error(self, status: int, message: str) -> bytes:
        """See `WireSample.error`."""
        error = {"type": "invalid_request_error", "message": message}
        return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()


def _event(kind: str, **fields: object) -> bytes:
    data = json.dumps({"type": kind, **fields}).encode()
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _message(content: Sequence[JsonObject], usage: JsonObject) -> JsonObject:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "upstream-said",
        "content": content,
        "stop_sequence": None,
        "usage": usage,
    }


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "cache_creation_input_tokens": usage.cache_write_input_tokens,
        "output_tokens": usage.output_tokens + usage.reasoning_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    }


def _blocks(said: Said) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    if said.reasoning:
        thinking = "".join(said.reasoning)
        blocks.append({"type": "thinking", "thinking": thinking, "signature": "sig=="})
        blocks.append({"type": "redacted_thinking", "data": "ZGF0YQ=="})
    if said.text:
        blocks.append({"type": "text", "text": said.text, "citations": None})
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
        for call in said.tool_calls
    ]


def _streamed_blocks(said: Said) -> list[tuple[JsonObject, list[JsonObject]]]:
    """Each block as it starts, and the deltas that follow."""
    blocks: list[tuple[JsonObject, list[JsonObject]]] = []
    if said.reasoning:
        start = {"type": "thinking", "thinking": "", "signature": ""}
        deltas: list[JsonObject] = [
            {"type": "thinking_delta", "thinking": piece} for piece in said.reasoning
        ]
        blocks.append((start, [*deltas, {"type": "signature_delta", "signature": "sig=="}]))
        blocks.append(({"type": "redacted_thinking", "data": "ZGF0YQ=="}, []))
    if said.text:
        texts: list[JsonObject] = [{"type": "text_delta", "text": text} for text in said.pieces]
        blocks.append(({"type": "text", "text": ""}, texts))
    for call in said.tool_calls:
        head = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        text = json.dumps(call.arguments) if call.arguments else ""
        pieces = ("", text[:5], text[5:]) if text else ("",)
        blocks.append((head, [{"type": "input_json_delta", "partial_json": p} for p in pieces]))
    return blocks


def _turn(message: JsonObject) -> Turn:
    blocks = cast(Sequence[JsonObject], message["content"])
    assert blocks
    side = cast(Literal["user", "assistant"], message["role"])
    return Turn(side, tuple(_part(block) for block in blocks))


def _check_results(turns: Sequence[Turn]) -> None:
    """Every call is answered at the beginning of the next turn."""
    for turn, following in zip(turns, (*turns[1:], None)):
        calls = [part.id for part in turn.parts if isinstance(part, ToolUse)]
        if calls and following is not None:
            answers = following.parts[: len(calls)]
            assert sorted(calls) == sorted(
                part.id for part in answers if isinstance(part, ToolResult)
            )


def _part(block: JsonObject) -> Part:
    kind, fields = block["type"], block.keys() - _MARK
    if kind == "text":
        assert fields == {"type", "text"}
        text = cast(str, block["text"])
        assert text.strip()
        return text
    if kind == "image":
        source = cast(dict[str, str], block["source"])
        if source["type"] == "url":
            return Image(url=source["url"])
        assert source["type"] == "base64"
        assert source["media_type"] in ("image/png", "image/jpeg", "image/gif", "image/webp")
        return Image(source["media_type"], source["data"])
    if kind == "tool_use":
        assert fields == {"type", "id", "name", "input"}
        identifier = cast(str, block["id"])
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", identifier)
        arguments = cast(Mapping[str, object], block["input"])
        assert isinstance(arguments, dict)
        return ToolUse(identifier, cast(str, block["name"]), arguments)
    assert kind == "tool_result"
    content = cast(Sequence[JsonObject], block.get("content", ()))
    assert content or "content" not in block
    texts = [part for part in map(_part, content) if isinstance(part, str)]
    return ToolResult(cast(str, block["tool_use_id"]), "".join(texts))


def _tool(tool: JsonObject) -> Tool:
    schema = cast(Mapping[str, object], tool["input_schema"])
    assert schema["type"] == "object"
    return Tool(cast(str, tool["name"]), cast(str, tool.get("description", "")), schema)


def _choice(choice: JsonObject) -> str:
    if choice["type"] == "tool":
        return f"={choice['name']}"
    return {"auto": "auto", "any": "required", "none": "none"}[cast(str, choice["type"])]

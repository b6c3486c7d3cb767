"""AWS Bedrock's Converse wire. Source: Amazon Bedrock API reference, "Converse"."""

import json
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast
from urllib.parse import unquote
from zlib import crc32

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

_REGION = "eu-central-1"
_KEY_ID, _SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
_FIELDS = frozenset(
    "messages system inferenceConfig toolConfig outputConfig additionalModelRequestFields".split()
)
_STRING = 7
_CACHE_POINT = {"cachePoint": {"type": "default"}}


class BedrockWire:
    """Implements `WireSample`."""

    name = "bedrock"
    protocol = "bedrock"
    spec: JsonObject = {"region": _REGION}
    base_path = ""
    secret = f"{_KEY_ID}:{_SECRET}"
    confidential: tuple[str, ...] = (_SECRET,)
    secret_header = "authorization"
    carries_tool_ids = True
    image_urls = False
    has_reasoning = True
    finish_reasons: tuple[FinishReason, ...] = ("stop", "length", "tool_calls", "content_filter")
    buckets: tuple[str, ...] = (
        "input_tokens",
        "cached_input_tokens",
        "cache_write_input_tokens",
        "output_tokens",
    )
    refused: tuple[tuple[str, object, str], ...] = (
        ("n", 2, "n"),
        ("logprobs", True, "logprobs"),
        ("logit_bias", {"50256": -100}, "logit_bias"),
        ("frequency_penalty", 0.5, "frequency_penalty"),
        ("presence_penalty", -1, "presence_penalty"),
        ("temperature", 1.5, "temperature"),
        ("response_format", {"type": "json_object"}, "response_format"),
        ("reasoning_effort", "a lot", "reasoning_effort"),
        ("parallel_tool_calls", False, "parallel_tool_calls"),
        ("web_search_options", {}, "web_search_options"),
        ("tools", [{"type": "custom", "custom": {"name": "c"}}], "tools[0].type"),
        ("min_p", 0.1, "min_p"),
    )
    embeddings = False

    def heard(self, request: Received) -> Heard:
        """See `WireSample.heard`."""
        found = re.fullmatch(r"/model/([^/]+)/converse(-stream)?", request.path)
        assert found is not None
        body = json.loads(request.body)
        assert body.keys() <= _FIELDS
        roles = [message["role"] for message in body["messages"]]
        assert roles[0] == "user"
        assert all(one != other for one, other in zip(roles, roles[1:]))
        config, tools = body.get("inferenceConfig", {}), body.get("toolConfig")
        own = body.get("additionalModelRequestFields", {})
        assert tools is None or tools["tools"]
        return Heard(
            model=unquote(found[1]),
            stream=found[2] is not None,
            system=tuple(block["text"] for block in _marked(body.get("system", []))),
            turns=tuple(_turn(message) for message in body["messages"]),
            tools=tuple(
                _tool(tool["toolSpec"]) for tool in _marked((tools or {}).get("tools", []))
            ),
            # Who is told of no tool may call none.
            tool_choice="none" if tools is None else _choice(tools.get("toolChoice", {"auto": {}})),
            schema=_schema(body.get("outputConfig")),
            max_tokens=config.get("maxTokens"),
            stop=tuple(config.get("stopSequences", ())),
            temperature=config.get("temperature"),
            top_p=config.get("topP"),
            reasons=own.get("thinking", {}).get("type") in ("enabled", "adaptive"),
        )

    def proves(self, request: Received) -> bool:
        """See `WireSample.proves`: signs again what came, as AWS does."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        url = f"http://{request.headers['host']}{request.path}"
        again = AWSRequest(method="POST", url=url, data=request.body)
        again.context["timestamp"] = request.headers["x-amz-date"]
        again.headers["X-Amz-Date"] = request.headers["x-amz-date"]
        signer = SigV4Auth(Credentials(_KEY_ID, _SECRET), "bedrock", _REGION)
        text = signer.string_to_sign(again, signer.canonical_request(again))
        signature = signer.signature(text, again)
        return f"Signature={signature}" in request.headers["authorization"]

    def whole(self, said: Said) -> bytes:
        """See `WireSample.whole`."""
        message = {"role": "assistant", "content": _blocks(said)}
        return json.dumps(
            {
                "output": {"message": message},
                "stopReason": _STOP_REASONS[said.finish],
                "usage": _usage(said.usage),
                "metrics": {"latencyMs": 1},
            }
        ).encode()

    def streamed(self, said: Said) -> Sequence[bytes]:
        """See `WireSample.streamed`."""
        frames = [_event("messageStart", role="assistant")]
        for index, (start, deltas) in enumerate(_streamed_blocks(said)):
            if start is not None:
                frames.append(_event("contentBlockStart", contentBlockIndex=index, start=start))
            frames += [
                _event("contentBlockDelta", contentBlockIndex=index, delta=delta)
                for delta in deltas
            ]
            frames.append(_event("contentBlockStop", contentBlockIndex=index))
        frames.append(_event("messageStop", stopReason=_STOP_REASONS[said.finish]))
        usage = _usage(said.usage)
        return [*frames, _event("metadata", usage=usage, metrics={"latencyMs": 1})]

    def stream_headers(self) -> Mapping[str, str]:
        """See `WireSample.stream_headers`."""
        return {"content-type": "application/vnd.amazon.eventstream"}

    def noise(self) -> Sequence[bytes]:
        """See `WireSample.noise`."""
        return [_event("somethingNew", text="no")]

    def stream_errors(self, message: str) -> Sequence[bytes]:
        """See `WireSample.stream_errors`."""
        kinds = ("modelStreamErrorException", "internalServerException")
        return [
            framed({":exception-type": kind, ":message-type": "exception"}, {"message": message})
            for kind in kinds
        ]

    def garbage(self) -> Sequence[bytes]:
        """See `WireSample.garbage`."""
        whole = _event("contentBlockDelta", contentBlockIndex=0, delta={"text": "no"})
        return [
            b"<html>502 Bad Gateway: no provider here</html>",
            whole[:-1] + b"?",
            whole[:8] + b"????" + whole[12:],
            _event("contentBlockDelta", contentBlockIndex="0", delta={"text": "no"}),
            _event("contentBlockDelta", contentBlockIndex=0, delta=None),
            _event("contentBlockDelta", contentBlockIndex=7, delta={"toolUse": {"input": "{}"}}),
            _event("messageStop"),
            _event("metadata", usage={"inputTokens": 1, "outputTokens": 1}),
        ]

    def error(self, status: int, message: str) -> bytes:
        """See `WireSample.error`."""
        return json.dumps({"message": message}).encode()


def _event(kind: str, **fields: object) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return framed(headers, fields)


def framed(headers: Mapping[str, str], payload: Mapping[str, object]) -> bytes:
    """vnd.amazon.eventstream: lengths and their checksum, headers, payload, checksum of it all."""
    head = b"".join(
        struct.pack("!B", len(name))
        + name.encode()
        + struct.pack("!BH", _STRING, len(value))
        + value.encode()
        for name, value in headers.items()
    )
    data = json.dumps(payload).encode()
    lengths = struct.pack("!II", 16 + len(head) + len(data), len(head))
    message = lengths + struct.pack("!I", crc32(lengths)) + head + data
    return message + struct.pack("!I", crc32(message))


def _usage(usage: Usage) -> JsonObject:
    return {
        "inputTokens": usage.input_tokens,
        "cacheReadInputTokens": usage.cached_input_tokens,
        "cacheWriteInputTokens": usage.cache_write_input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
    }


def _blocks(said: Said) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    if said.reasoning:
        text = {"text": "".join(said.reasoning), "signature": "sig=="}
        blocks.append({"reasoningContent": {"reasoningText": text}})
        blocks.append({"reasoningContent": {"redactedContent": "ZGF0YQ=="}})
    if said.text:
        blocks.append({"text": said.text})
    return blocks + [
        {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}}
        for call in said.tool_calls
    ]


def _streamed_blocks(said: Said) -> list[tuple[JsonObject | None, list[JsonObject]]]:
    """How each block starts, if that is said, and the deltas that follow."""
    blocks: list[tuple[JsonObject | None, list[JsonObject]]] = []
    if said.reasoning:
        deltas: list[JsonObject] = [
            {"reasoningContent": {"text": piece}} for piece in said.reasoning
        ]
        blocks.append((None, [*deltas, {"reasoningContent": {"signature": "sig=="}}]))
        blocks.append((None, [{"reasoningContent": {"redactedContent": "ZGF0YQ=="}}]))
    if said.text:
        blocks.append((None, [{"text": piece} for piece in said.pieces]))
    for call in said.tool_calls:
        text = json.dumps(call.arguments) if call.arguments else ""
        pieces = ("", text[:5], text[5:]) if text else ()
        start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
        blocks.append((start, [{"toolUse": {"input": piece}} for piece in pieces]))
    return blocks


def _marked(blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the marks for the prompt cache, which follow what they mark."""
    assert not blocks or blocks[0] != _CACHE_POINT
    return [block for block in blocks if block != _CACHE_POINT]


def _turn(message: JsonObject) -> Turn:
    blocks = _marked(cast(Sequence[dict[str, Any]], message["content"]))
    assert blocks
    side = cast(Literal["user", "assistant"], message["role"])
    return Turn(side, tuple(_part(block) for block in blocks))


def _part(block: JsonObject) -> Part:
    (kind,) = block
    if kind == "text":
        text = cast(str, block["text"])
        assert text.strip()
        return text
    fields = cast(Mapping[str, object], block[kind])
    if kind == "image":
        source = cast(Mapping[str, str], fields["source"])
        assert fields["format"] in ("png", "jpeg", "gif", "webp")
        return Image(f"image/{fields['format']}", source["bytes"])
    identifier = cast(str, fields["toolUseId"])
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", identifier)
    if kind == "toolUse":
        assert isinstance(fields["input"], dict)
        return ToolUse(identifier, cast(str, fields["name"]), fields["input"])
    assert kind == "toolResult"
    content = cast(Sequence[JsonObject], fields["content"])
    texts = [part for part in map(_part, content) if isinstance(part, str)]
    return ToolResult(identifier, "".join(texts))


def _tool(tool: JsonObject) -> Tool:
    schema = cast(Mapping[str, Mapping[str, object]], tool["inputSchema"])["json"]
    assert schema["type"] == "object"
    return Tool(cast(str, tool["name"]), cast(str, tool.get("description", "")), schema)


def _choice(choice: JsonObject) -> str:
    ((kind, named),) = choice.items()
    if kind == "tool":
        return f"={cast(Mapping[str, str], named)['name']}"
    return {"auto": "auto", "any": "required"}[kind]


def _schema(output: JsonObject | None) -> Mapping[str, object] | None:
    if output is None:
        return None
    form = cast(Mapping[str, Mapping[str, Mapping[str, str]]], output["textFormat"])
    found: Mapping[str, object] = json.loads(form["structure"]["jsonSchema"]["schema"])
    return found

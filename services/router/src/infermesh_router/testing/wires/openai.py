"""OpenAI's wire. Source: OpenAI API reference, "Chat"; Azure: "Azure OpenAI REST API reference"."""

import json
from collections.abc import Mapping, Sequence
from typing import cast

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

_HEAD: JsonObject = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "upstream-said"}


class OpenAIWire:
    """Implements `WireSample`."""

    name = "openai"
    protocol = "openai"
    spec: JsonObject = {}
    base_path = "/v1"
    secret = "sk-very-secret"
    confidential: tuple[str, ...] = ("sk-very-secret",)
    secret_header = "authorization"
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
    # It is for each server to say what it has not.
    refused: tuple[tuple[str, object, str], ...] = ()
    embeddings = True

    def heard(self, request: Received) -> Heard:
        """See `WireSample.heard`."""
        assert request.path == f"{self.base_path}/chat/completions"
        body = json.loads(request.body)
        messages = body["messages"]
        if body.get("stream"):
            assert body["stream_options"]["include_usage"] is True
        form = body.get("response_format") or {}
        stop = body.get("stop") or ()
        return Heard(
            model=self._model(request, body),
            stream=body.get("stream", False),
            system=tuple(
                text
                for message in messages
                if message["role"] in ("system", "developer")
                for text in _parts(message.get("content"))
                if isinstance(text, str)
            ),
            turns=tuple(
                _turn(message)
                for message in messages
                if message["role"] not in ("system", "developer")
            ),
            tools=tuple(_tool(tool["function"]) for tool in body.get("tools", ())),
            tool_choice=_choice(body.get("tool_choice", "auto")),
            parallel_tools=body.get("parallel_tool_calls", True),
            schema=form.get("json_schema", {}).get("schema"),
            max_tokens=body.get("max_completion_tokens", body.get("max_tokens")),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            reasons="reasoning_effort" in body,
        )

    def _model(self, request: Received, body: JsonObject) -> str:
        return cast(str, body["model"])

    def proves(self, request: Received) -> bool:
        """See `WireSample.proves`."""
        return request.headers["authorization"] == f"Bearer {self.secret}"

    def whole(self, said: Said) -> bytes:
        """See `WireSample.whole`."""
        message: dict[str, object] = {"role": "assistant", "content": said.text or None}
        if said.reasoning:
            message["reasoning_content"] = "".join(said.reasoning)
        if said.tool_calls:
            message["tool_calls"] = [_call(call) for call in said.tool_calls]
        choice = {"index": 0, "message": message, "finish_reason": said.finish}
        return json.dumps(
            {
                **_HEAD,
                "object": "chat.completion",
                "choices": [choice],
                "usage": _usage(said.usage),
            }
        ).encode()

    def streamed(self, said: Said) -> Sequence[bytes]:
        """See `WireSample.streamed`."""
        deltas: list[JsonObject] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in said.reasoning]
        deltas += [{"content": piece} for piece in said.pieces]
        for index, call in enumerate(said.tool_calls):
            whole = _call(call)
            function = cast(dict[str, str], whole["function"])
            arguments = function.pop("arguments")
            head = {**whole, "function": {**function, "arguments": ""}}
            deltas.append({"tool_calls": [{"index": index, **head}]})
            for piece in (arguments[:4], arguments[4:]):
                deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        choices: list[list[JsonObject]] = [
            [{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas
        ]
        choices.append([{"index": 0, "delta": {}, "finish_reason": said.finish}])
        chunks: list[JsonObject] = [_chunk(choices=choice) for choice in choices]
        chunks.append(_chunk(choices=[], usage=_usage(said.usage)))
        return [*map(_event, chunks), b"data: [DONE]\n\n"]

    def stream_headers(self) -> Mapping[str, str]:
        """See `WireSample.stream_headers`."""
        return {"content-type": "text/event-stream"}

    def noise(self) -> Sequence[bytes]:
        """See `WireSample.noise`."""
        silent = {"index": 0, "delta": {}, "finish_reason": None}
        return [
            b": OPENROUTER PROCESSING\n\n",
            b"event: message\r\nid: 7\r\n\r\n",
            _event(_chunk(choices=[], usage=None)),
            _event(_chunk(choices=[{**silent, "content_filter_offsets": {"check_offset": 1}}])),
        ]

    def stream_errors(self, message: str) -> Sequence[bytes]:
        """See `WireSample.stream_errors`."""
        error = {"message": message, "type": "server_error", "param": None, "code": 502}
        failed = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        return [
            _event({"error": error}),
            _event(_chunk(error=error, choices=[failed])),
            _event({"object": "error", "message": message, "type": "server_error", "code": 500}),
            b"event: error\n" + _event({"error": message}),
        ]

    def garbage(self) -> Sequence[bytes]:
        """See `WireSample.garbage`."""
        return [
            b"data: {\n\n",
            b"data: 7\n\n",
            b"data: [1]\n\n",
            b"data: <html>502</html>\n\n",
            b'data: {"choices": "none"}\n\n',
            b'data: {"choices": [1]}\n\n',
            b'data: {"choices": [{"index": 0, "delta": "text"}]}\n\n',
            b'data: {"type": "message_stop"}\n\n',
        ]

    def error(self, status: int, message: str) -> bytes:
        """See `WireSample.error`."""
        error = {"message": message, "type": "some_error", "param": "messages", "code": None}
        return json.dumps({"error": error}).encode()


class AzureWire(OpenAIWire):
    """A deployment at Azure: the model is in the path, the key in a header of its own."""

    name = "azure"
    spec: JsonObject = {"authHeader": "api-key", "query": {"api-version": "2024-10-21"}}
    base_path = "/openai/deployments/upstream-m"
    secret_header = "api-key"

    def heard(self, request: Received) -> Heard:
        """See `WireSample.heard`."""
        assert request.query == "api-version=2024-10-21"
        return super().heard(request)

    def _model(self, request: Received, body: JsonObject) -> str:
        return request.path.split("/")[3]

    def proves(self, request: Received) -> bool:
        """See `WireSample.proves`."""
        return request.headers["api-key"] == self.secret


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _chunk(**fields: object) -> JsonObject:
    return {**_HEAD, "object": "chat.completion.chunk", **fields}


def _usage(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.all_input_tokens,
        "completion_tokens": usage.all_output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_input_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _call(call: ToolUse) -> dict[str, object]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _tool(function: Mapping[str, object]) -> Tool:
    return Tool(
        cast(str, function["name"]),
        cast(str, function.get("description", "")),
        cast(Mapping[str, object], function.get("parameters", {})),
    )


def _choice(choice: object) -> str:
    if isinstance(choice, dict):
        return f"={choice['function']['name']}"
    assert choice in ("auto", "none", "required")
    return str(choice)


def _turn(message: JsonObject) -> Turn:
    parts = _parts(message.get("content"))
    if message["role"] == "tool":
        text = "".join(part for part in parts if isinstance(part, str))
        return Turn("user", (ToolResult(cast(str, message["tool_call_id"]), text),))
    calls = cast(Sequence[dict[str, dict[str, str]]], message.get("tool_calls") or ())
    parts += tuple(
        ToolUse(
            cast(str, call["id"]),
            call["function"]["name"],
            json.loads(call["function"]["arguments"] or "{}"),
        )
        for call in calls
    )
    assert message["role"] in ("user", "assistant")
    return Turn("user" if message["role"] == "user" else "assistant", parts)


def _parts(content: object) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (content,) if content else ()
    return tuple(_part(part) for part in cast(Sequence[JsonObject], content or ()))


def _part(part: JsonObject) -> Part:
    if part["type"] == "text":
        return cast(str, part["text"])
    assert part["type"] == "image_url"
    url = cast(dict[str, str], part["image_url"])["url"]
    if not url.startswith("data:"):
        return Image(url=url)
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    return Image(media_type, data)

"""Google's Gemini wire. Source: Gemini API reference, "generateContent"."""

import json
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

_HEAD: JsonObject = {"modelVersion": "upstream-said", "responseId": "mA8kaZ-x"}
_FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    # The API has no reason of its own for it.
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
}
_FIELDS = frozenset({"contents", "systemInstruction", "generationConfig", "tools", "toolConfig"})
_CONFIG = frozenset(
    "temperature topP topK maxOutputTokens stopSequences candidateCount seed presencePenalty"
    " frequencyPenalty responseLogprobs logprobs responseMimeType responseJsonSchema"
    " thinkingConfig".split()
)


class GeminiWire:
    """Implements `WireSample`."""

    name = "gemini"
    protocol = "gemini"
    spec: JsonObject = {}
    base_path = "/v1beta"
    secret = "AIza-very-secret"
    confidential: tuple[str, ...] = ("AIza-very-secret",)
    secret_header = "x-goog-api-key"
    carries_tool_ids = True
    image_urls = True
    has_reasoning = True
    finish_reasons: tuple[FinishReason, ...] = ("stop", "length", "tool_calls", "content_filter")
    buckets: tuple[str, ...] = (
        "input_tokens",
        "cached_input_tokens",
        "output_tokens",
        "reasoning_tokens",
    )
    refused: tuple[tuple[str, object, str], ...] = (
        ("logit_bias", {"50256": -100}, "logit_bias"),
        ("top_logprobs", 3, "top_logprobs"),
        ("parallel_tool_calls", False, "parallel_tool_calls"),
        ("response_format", {"type": "grammar"}, "response_format"),
        ("reasoning_effort", "a lot", "reasoning_effort"),
        ("thinking", {"type": "enabled"}, "thinking"),
        ("modalities", ["text", "audio"], "modalities"),
        ("web_search_options", {}, "web_search_options"),
        ("functions", [{"name": "f"}], "functions"),
        ("tools", [{"type": "custom", "custom": {"name": "c"}}], "tools[0].type"),
        ("verbosity", "low", "verbosity"),
        ("min_p", 0.1, "min_p"),
    )
    embeddings = True

    def heard(self, request: Received) -> Heard:
        """See `WireSample.heard`."""
        model, _, method = request.path.removeprefix(f"{self.base_path}/models/").partition(":")
        stream = method == "streamGenerateContent"
        assert stream or method == "generateContent"
        assert request.query == ("alt=sse" if stream else "")
        body = json.loads(request.body)
        assert body.keys() <= _FIELDS
        config = body.get("generationConfig", {})
        assert config.keys() <= _CONFIG
        schema = config.get("responseJsonSchema")
        assert schema is None or config["responseMimeType"] == "application/json"
        _check_results(body["contents"])
        (declared,) = body.get("tools", [{"functionDeclarations": []}])
        calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
        return Heard(
            model=model,
            stream=stream,
            system=tuple(part["text"] for part in body.get("systemInstruction", _EMPTY)["parts"]),
            turns=tuple(self._turn(content) for content in body["contents"]),
            tools=tuple(_tool(tool) for tool in declared["functionDeclarations"]),
            tool_choice=_choice(calling),
            schema=schema,
            max_tokens=config.get("maxOutputTokens"),
            stop=tuple(config.get("stopSequences", ())),
            temperature=config.get("temperature"),
            top_p=config.get("topP"),
            reasons=config.get("thinkingConfig", {}).get("includeThoughts", False),
        )

    def _turn(self, content: JsonObject) -> Turn:
        assert content["role"] in ("user", "model")
        side: Literal["user", "assistant"] = "user" if content["role"] == "user" else "assistant"
        parts = cast(Sequence[JsonObject], content["parts"])
        assert parts
        return Turn(side, tuple(_part(part, self.carries_tool_ids) for part in parts))

    def proves(self, request: Received) -> bool:
        """See `WireSample.proves`."""
        return request.headers[self.secret_header] == self.secret

    def whole(self, said: Said) -> bytes:
        """See `WireSample.whole`."""
        parts = [*_thoughts(said)]
        if said.text:
            parts.append({"text": said.text, "thoughtSignature": "c2ln"})
        parts += self._calls(said)
        candidate = {**_content(parts), "finishReason": _FINISH_REASONS[said.finish], "index": 0}
        return json.dumps(
            {"candidates": [candidate], "usageMetadata": self._usage(said.usage), **_HEAD}
        ).encode()

    def streamed(self, said: Said) -> Sequence[bytes]:
        """See `WireSample.streamed`."""
        parts = [*_thoughts(said), *({"text": piece} for piece in said.pieces)]
        parts += self._calls(said)
        last: JsonObject = {"text": "", "thoughtSignature": "c2ln"} if said.text else {}
        under_way = {"promptTokenCount": said.usage.all_input_tokens, "totalTokenCount": 1}
        frames = [
            _event({"candidates": [_content([part])], "usageMetadata": under_way, **_HEAD})
            for part in parts
        ]
        ending = {"finishReason": _FINISH_REASONS[said.finish]}
        candidate = {**_content([last] if last else []), **ending}
        return [*frames, *self._end(candidate, self._usage(said.usage))]

    def _end(self, candidate: JsonObject, usage: JsonObject) -> list[bytes]:
        return [_event({"candidates": [candidate], "usageMetadata": usage, **_HEAD})]

    def _usage(self, usage: Usage) -> JsonObject:
        counts = {
            "promptTokenCount": usage.all_input_tokens,
            "cachedContentTokenCount": usage.cached_input_tokens,
            "candidatesTokenCount": usage.output_tokens,
            "thoughtsTokenCount": usage.reasoning_tokens,
            "totalTokenCount": usage.total_tokens,
        }
        # Zeros are left out.
        return {name: count for name, count in counts.items() if count}

    def _calls(self, said: Said) -> list[JsonObject]:
        calls: list[JsonObject] = []
        for number, call in enumerate(said.tool_calls):
            named: JsonObject = {"name": call.name, "args": call.arguments}
            made = {**named, "id": call.id} if self.carries_tool_ids else named
            signature = {} if number else {"thoughtSignature": "Y2FsbA=="}
            calls.append({"functionCall": made, **signature})
        return calls

    def stream_headers(self) -> Mapping[str, str]:
        """See `WireSample.stream_headers`."""
        return {"content-type": "text/event-stream"}

    def noise(self) -> Sequence[bytes]:
        """See `WireSample.noise`."""
        new = {"somethingNew": {"text": "no"}}
        return [
            b": still here\r\n\r\n",
            b"event: message\nid: 7\n\n",
            _event({**_HEAD, **new}),
            _event({"candidates": [{**_content([new]), "somethingNew": 1}], **_HEAD}),
            _event({"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}], **_HEAD}),
            _event({"candidates": [], "modelStatus": {"modelStage": "STABLE"}, **_HEAD}),
        ]

    def stream_errors(self, message: str) -> Sequence[bytes]:
        """See `WireSample.stream_errors`."""
        error = {"code": 503, "message": message, "status": "UNAVAILABLE"}
        failed = {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": message}
        return [_event({"error": error}), _event({"candidates": [failed], **_HEAD})]

    def garbage(self) -> Sequence[bytes]:
        """See `WireSample.garbage`."""
        return [
            b"data: {\n\n",
            b"data: 7\n\n",
            b"data: [1]\n\n",
            b"data: <html>502</html>\n\n",
            b"data: [DONE]\n\n",
            b'data: {"choices": []}\n\n',
            b'data: {"type": "message_stop"}\n\n',
            _event({"candidates": "none"}),
            _event({"candidates": [1]}),
            _event({"candidates": [{"index": "0"}]}),
            _event({"candidates": [{"content": "text"}]}),
            _event({"candidates": [{"content": {"parts": [{"text": 7}]}}]}),
            _event({"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]}),
            _event({"candidates": [{"finishReason": 7}]}),
        ]

    def error(self, status: int, message: str) -> bytes:
        """See `WireSample.error`."""
        return json.dumps(
            {"error": {"code": status, "message": message, "status": "SOME_STATUS"}}
        ).encode()


class OlderGeminiWire(GeminiWire):
    """As some models and versions have it: no ids of calls, thoughts counted among the
    candidates, and the usage after the end; behind a gateway with a key header of its own."""

    name = "gemini-older"
    spec: JsonObject = {"authHeader": "api-key"}
    base_path = "/google/v1beta"
    secret_header = "api-key"
    carries_tool_ids = False

    def _usage(self, usage: Usage) -> JsonObject:
        return {**super()._usage(usage), "candidatesTokenCount": usage.all_output_tokens}

    def _end(self, candidate: JsonObject, usage: JsonObject) -> list[bytes]:
        return [
            _event({"candidates": [candidate], **_HEAD}),
            _event({"usageMetadata": usage, **_HEAD}),
        ]


_EMPTY: Mapping[str, Sequence[dict[str, str]]] = {"parts": ()}


def _event(value: JsonObject) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"


def _content(parts: Sequence[JsonObject]) -> JsonObject:
    return {"content": {"role": "model", **({"parts": parts} if parts else {})}}


def _thoughts(said: Said) -> list[JsonObject]:
    return [{"text": piece, "thought": True} for piece in said.reasoning]


def _check_results(contents: Sequence[JsonObject]) -> None:
    """Every turn of calls is followed by one with as many results, under the same names."""
    for content, following in zip(contents, (*contents[1:], None)):
        calls = _named(content, "functionCall")
        if calls and following is not None:
            assert sorted(calls) == sorted(_named(following, "functionResponse"))
        if calls:
            parts = cast(Sequence[JsonObject], content["parts"])
            first = next(part for part in parts if "functionCall" in part)
            assert first["thoughtSignature"]


def _named(content: JsonObject, kind: str) -> list[str]:
    parts = cast(Sequence[dict[str, dict[str, str]]], content["parts"])
    return [part[kind]["name"] for part in parts if kind in part]


def _part(part: JsonObject, with_ids: bool) -> Part:
    ((kind, value),) = [(k, v) for k, v in part.items() if k != "thoughtSignature"]
    if kind == "text":
        assert isinstance(value, str) and value
        return value
    fields = cast(JsonObject, value)
    if kind == "inlineData":
        assert fields.keys() == {"mimeType", "data"}
        return Image(cast(str, fields["mimeType"]), cast(str, fields["data"]))
    if kind == "fileData":
        return Image(url=cast(str, fields["fileUri"]))
    identifier = cast(str, fields["id"]) if with_ids else ""
    name = cast(str, fields["name"])
    if kind == "functionCall":
        arguments = cast(Mapping[str, object], fields["args"])
        assert isinstance(arguments, dict)
        return ToolUse(identifier, name, arguments)
    assert kind == "functionResponse"
    response = cast(dict[str, str], fields["response"])
    assert response.keys() == {"output"}
    return ToolResult(identifier, response["output"])


def _tool(tool: JsonObject) -> Tool:
    schema = cast(Mapping[str, object], tool["parametersJsonSchema"])
    assert schema["type"] == "object"
    return Tool(cast(str, tool["name"]), cast(str, tool.get("description", "")), schema)


def _choice(calling: JsonObject) -> str:
    names = cast(Sequence[str], calling.get("allowedFunctionNames", ()))
    if names:
        assert calling["mode"] == "ANY" and len(names) == 1
        return f"={names[0]}"
    modes = {"AUTO": "auto", "ANY": "required", "NONE": "none"}
    return modes[cast(str, calling.get("mode", "AUTO"))]

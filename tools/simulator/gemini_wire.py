"""Gemini's wire: generateContent and streamGenerateContent."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, unquote

import orjson

from tools.simulator.script import Answer, Usage
from tools.simulator.wire import (
    SSE_TYPE,
    Ask,
    ErrorBody,
    JsonObject,
    NotOfTheWire,
    Part,
    Problem,
    last_of_user,
    pieces,
    sse,
)

STREAM = "streamGenerateContent"
_MODEL = re.compile(r"/models/([^/:]+):\w+$")
_FINISH_REASONS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
}
# https://ai.google.dev/gemini-api/docs/troubleshooting
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_GOOGLE_TYPE = "type.googleapis.com/google.rpc."
# The service ends its lines so.
_END = b"\r\n\r\n"


class GeminiWire:
    """See `Wire`."""

    name = "gemini"
    stream_type = SSE_TYPE
    overloaded = 503

    def read(self, operation: str, path: str, query: str, body: Mapping[str, object]) -> Ask:
        """The model is in the path; streams are server-sent events or refused."""
        found = _MODEL.search(unquote(path))
        if found is None:
            raise NotOfTheWire("no model in the path")
        stream = operation == STREAM
        if stream and parse_qs(query).get("alt") != ["sse"]:
            raise NotOfTheWire("only streams of alt=sse are simulated")
        prompt = last_of_user(body.get("contents"), "parts")
        return Ask(operation, found[1], prompt, stream)

    def told(self, ask: Ask, usage: Usage) -> Usage:
        """There are no cache writes."""
        whole = usage.input + usage.cache_write_input
        return usage.model_copy(update={"input": whole, "cache_write_input": 0})

    def whole(self, ask: Ask, answer: Answer, without: Part | None = None) -> bytes:
        """One response with all parts."""
        return orjson.dumps(_response(ask, answer, _parts(answer, 1), without, last=True))

    def events(self, ask: Ask, answer: Answer, without: Part | None = None) -> Sequence[bytes]:
        """A response for each part; the last of them says why it finished."""
        parts = _parts(answer, answer.events) or [{"text": ""}]
        left_out = Part.FINISH if without is Part.TERMINATOR else without
        last = len(parts) - 1
        return [
            sse(_response(ask, answer, [part], left_out, last=at == last), end=_END)
            for at, part in enumerate(parts)
        ]

    def text_event(self, ask: Ask, text: str) -> bytes:
        """A response that goes on."""
        return sse(_response(ask, None, [{"text": text}], None, last=False), end=_END)

    def error(self, problem: Problem) -> ErrorBody:
        """google.rpc.Status in JSON; when to come again is among the details, not in a header."""
        details: list[JsonObject] = []
        if problem.limited:
            violation = {"quotaMetric": "generativelanguage.googleapis.com/simulated_requests"}
            details.append({"@type": _GOOGLE_TYPE + "QuotaFailure", "violations": [violation]})
        if problem.retry_after_s is not None:
            delay = f"{problem.retry_after_s}s"
            details.append({"@type": _GOOGLE_TYPE + "RetryInfo", "retryDelay": delay})
        error: JsonObject = {"code": problem.status, "message": problem.message}
        error["status"] = _STATUSES.get(problem.status, "UNKNOWN")
        if details:
            error["details"] = details
        return ErrorBody(orjson.dumps({"error": error}))

    def error_event(self, problem: Problem) -> bytes:
        """The same object as an event."""
        return b"data: " + self.error(problem).body + _END


def _parts(answer: Answer, count: int) -> list[JsonObject]:
    parts: list[JsonObject] = []
    for piece in pieces(answer.reasoning, count):
        parts.append({"text": piece, "thought": True})
    for piece in pieces(answer.text, count):
        parts.append({"text": piece})
    for call in answer.tool_calls:
        parts.append({"functionCall": {"name": call.name, "args": call.arguments}})
    return parts


def _response(
    ask: Ask, answer: Answer | None, parts: list[JsonObject], without: Part | None, *, last: bool
) -> JsonObject:
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    response: JsonObject = {"candidates": [candidate]}
    if last and answer is not None:
        if without is not Part.FINISH:
            candidate["finishReason"] = _FINISH_REASONS[answer.finish]
        if without is not Part.USAGE:
            response["usageMetadata"] = _usage(answer.usage)
    return {**response, "modelVersion": ask.model, "responseId": "simulated"}


def _usage(usage: Usage) -> JsonObject:
    said: JsonObject = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": usage.output,
        "totalTokenCount": usage.prompt + usage.completion,
    }
    if usage.cached_input:
        said["cachedContentTokenCount"] = usage.cached_input
    if usage.reasoning:
        said["thoughtsTokenCount"] = usage.reasoning
    return said

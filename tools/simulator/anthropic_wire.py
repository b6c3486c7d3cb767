"""Anthropic's wire: messages."""

from collections.abc import Iterator, Mapping, Sequence

import orjson

from tools.simulator.script import Answer, Usage
from tools.simulator.wire import (
    SSE_TYPE,
    Ask,
    ErrorBody,
    Headers,
    JsonObject,
    NotOfTheWire,
    Part,
    Problem,
    last_of_user,
    pieces,
    sse,
    text_field,
)

# https://docs.anthropic.com/en/api/errors
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
# A reset in the past or far off would tell a client something about the clock that is not so.
_RESET = "2100-01-01T00:00:00Z"
_SIGNATURE = "c2ltdWxhdGVk"


class AnthropicWire:
    """See `Wire`."""

    name = "anthropic"
    stream_type = SSE_TYPE
    overloaded = 529

    def read(self, operation: str, path: str, query: str, body: Mapping[str, object]) -> Ask:
        """A message needs `max_tokens`."""
        if not isinstance(body.get("max_tokens"), int):
            raise NotOfTheWire("max_tokens: Field required")
        prompt = last_of_user(body.get("messages"))
        stream = body.get("stream") is True
        return Ask(operation, text_field(body, "model"), prompt, stream)

    def told(self, ask: Ask, usage: Usage) -> Usage:
        """All of them."""
        return usage

    def whole(self, ask: Ask, answer: Answer, without: Part | None = None) -> bytes:
        """A message."""
        message = _message(ask)
        message["content"] = [block for block, _ in _blocks(answer)]
        message.update(_stop(answer) if without is not Part.FINISH else {})
        if without is Part.USAGE:
            del message["usage"]
        else:
            message["usage"] = {**_input_usage(answer.usage), **_output_usage(answer.usage)}
        return orjson.dumps(message)

    def events(self, ask: Ask, answer: Answer, without: Part | None = None) -> Sequence[bytes]:
        """From `message_start` to `message_stop`."""
        payloads = [*_payloads(ask, answer, without)]
        if without is not Part.TERMINATOR:
            payloads.append({"type": "message_stop"})
        return [sse(payload, str(payload["type"])) for payload in payloads]

    def text_event(self, ask: Ask, text: str) -> bytes:
        """A delta of the first block."""
        delta = {"type": "text_delta", "text": text}
        payload = {"type": "content_block_delta", "index": 0, "delta": delta}
        return sse(payload, "content_block_delta")

    def error(self, problem: Problem) -> ErrorBody:
        """`{"type": "error", ...}`."""
        kind = _ERRORS.get(problem.status, "api_error")
        error = {"type": kind, "message": problem.message}
        body = {"type": "error", "error": error, "request_id": "req_simulated"}
        return ErrorBody(orjson.dumps(body), _headers(problem))

    def error_event(self, problem: Problem) -> bytes:
        """The same object as an event called `error`."""
        return b"event: error\ndata: " + self.error(problem).body + b"\n\n"


def _headers(problem: Problem) -> Headers:
    headers = [("request-id", "req_simulated")]
    if problem.retry_after_s is not None:
        headers.append(("retry-after", str(problem.retry_after_s)))
    if problem.limited:
        limits = {"requests": 50, "tokens": 50_000, "input-tokens": 40_000, "output-tokens": 8_000}
        for kind, limit in limits.items():
            prefix = f"anthropic-ratelimit-{kind}"
            headers.append((f"{prefix}-limit", str(limit)))
            headers.append((f"{prefix}-remaining", "0"))
            headers.append((f"{prefix}-reset", _RESET))
    return tuple(headers)


def _message(ask: Ask) -> JsonObject:
    return {
        "id": "msg_simulated",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": None,
    }


def _stop(answer: Answer) -> JsonObject:
    reason = "stop_sequence" if answer.stop_sequence else _STOP_REASONS[answer.finish]
    return {"stop_reason": reason, "stop_sequence": answer.stop_sequence}


def _input_usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_input,
        "cache_read_input_tokens": usage.cached_input,
    }


def _output_usage(usage: Usage) -> JsonObject:
    said: JsonObject = {"output_tokens": usage.completion}
    if usage.reasoning:
        said["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return said


def _blocks(answer: Answer) -> Iterator[tuple[JsonObject, list[JsonObject]]]:
    """Each content block whole, with the deltas that make it."""
    if answer.reasoning:
        deltas = _deltas("thinking", answer.reasoning, answer.events)
        deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        thinking: JsonObject = {"type": "thinking", "thinking": answer.reasoning}
        yield {**thinking, "signature": _SIGNATURE}, deltas
    if answer.text:
        yield {"type": "text", "text": answer.text}, _deltas("text", answer.text, answer.events)
    for index, call in enumerate(answer.tool_calls):
        arguments = orjson.dumps(call.arguments).decode()
        fragments: list[JsonObject] = [
            {"type": "input_json_delta", "partial_json": piece} for piece in pieces(arguments, 2)
        ]
        block: JsonObject = {"type": "tool_use", "id": f"toolu_{index}", "name": call.name}
        yield {**block, "input": call.arguments}, fragments


def _deltas(kind: str, text: str, count: int) -> list[JsonObject]:
    return [{"type": f"{kind}_delta", kind: piece} for piece in pieces(text, count)]


def _empty(block: JsonObject) -> JsonObject:
    """A block as it starts."""
    emptied: JsonObject = {"thinking": "", "signature": "", "text": "", "input": {}}
    return {key: emptied.get(key, value) for key, value in block.items()}


def _payloads(ask: Ask, answer: Answer, without: Part | None) -> Iterator[JsonObject]:
    start = _message(ask)
    if without is Part.USAGE:
        del start["usage"]
    else:
        start["usage"] = {**_input_usage(answer.usage), "output_tokens": 1}
    yield {"type": "message_start", "message": start}
    yield {"type": "ping"}
    for index, (block, deltas) in enumerate(_blocks(answer)):
        start_of_block = {"type": "content_block_start", "index": index}
        yield {**start_of_block, "content_block": _empty(block)}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    finished: JsonObject = {"stop_reason": None, "stop_sequence": None}
    if without is not Part.FINISH:
        finished = _stop(answer)
    last: JsonObject = {"type": "message_delta", "delta": finished}
    if without is not Part.USAGE:
        last["usage"] = _output_usage(answer.usage)
    yield last

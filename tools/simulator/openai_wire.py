"""OpenAI's wire: chat completions, completions, embeddings."""

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence

import orjson

from tools.simulator.script import Answer, Usage
from tools.simulator.wire import (
    CREATED,
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

CHAT, COMPLETIONS, EMBEDDINGS = "chat", "completions", "embeddings"
_DEPLOYMENTS = "/deployments/"
_DONE = b"data: [DONE]\n\n"
# https://platform.openai.com/docs/guides/error-codes: type and code by status.
_ERRORS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


class OpenAIWire:
    """See `Wire`."""

    name = "openai"
    stream_type = SSE_TYPE
    overloaded = 503

    def read(self, operation: str, path: str, query: str, body: Mapping[str, object]) -> Ask:
        """The model is the body's, or the deployment's of an Azure path."""
        if _DEPLOYMENTS in path:
            model = path.partition(_DEPLOYMENTS)[2].split("/")[0]
        else:
            model = text_field(body, "model")
        stream = body.get("stream") is True
        if operation == EMBEDDINGS:
            return _embeddings(model, body)
        if body.get("n", 1) not in (1, None):
            raise NotOfTheWire("one choice at a time is simulated, no 'n'")
        options = body.get("stream_options") if stream else None
        usage = isinstance(options, dict) and options.get("include_usage") is True
        if operation == CHAT:
            prompt = last_of_user(body.get("messages"))
        else:
            prompt = _one_text(body.get("prompt"), "prompt")
        return Ask(operation, model, prompt, stream, (usage,))

    def told(self, ask: Ask, usage: Usage) -> Usage:
        """All of them, cache writes as the extension of later versions; embeddings have one."""
        return Usage(input=usage.prompt) if ask.operation == EMBEDDINGS else usage

    def whole(self, ask: Ask, answer: Answer, without: Part | None = None) -> bytes:
        """A completion, or a list of embeddings."""
        if ask.operation == EMBEDDINGS:
            return orjson.dumps(_embedding_list(ask, answer, without))
        said: JsonObject = {"text": answer.text}
        if ask.operation == CHAT:
            said = {"message": _message(answer)}
        body = _head(ask, streamed=False)
        body["choices"] = [_choice(said, None if without is Part.FINISH else answer.finish)]
        if without is not Part.USAGE:
            body["usage"] = _usage(answer.usage)
        return orjson.dumps(body)

    def events(self, ask: Ask, answer: Answer, without: Part | None = None) -> Sequence[bytes]:
        """Chunks: the role, the pieces, the finish, usage if asked for, `[DONE]`."""
        deltas = list(_deltas(answer))
        if ask.operation == COMPLETIONS:
            deltas = [{"text": piece} for piece in pieces(answer.text, answer.events)]
        chunks = [_chunk(ask, delta) for delta in deltas]
        if without is not Part.FINISH:
            last: JsonObject = {"text": ""} if ask.operation == COMPLETIONS else {}
            chunks.append(_chunk(ask, last, answer.finish))
        if ask.extra == (True,):
            for chunk in chunks:
                chunk["usage"] = None
            if without is not Part.USAGE:
                usage = _usage(answer.usage)
                chunks.append({**_head(ask, streamed=True), "choices": [], "usage": usage})
        framed = [sse(chunk) for chunk in chunks]
        return framed if without is Part.TERMINATOR else [*framed, _DONE]

    def text_event(self, ask: Ask, text: str) -> bytes:
        """A chunk of content."""
        return sse(_chunk(ask, {"text" if ask.operation == COMPLETIONS else "content": text}))

    def error(self, problem: Problem) -> ErrorBody:
        """`{"error": {...}}`."""
        kind, code = _ERRORS.get(problem.status, ("server_error", None))
        if 400 <= problem.status < 500 and problem.status not in _ERRORS:
            kind = "invalid_request_error"
        error = {"message": problem.message, "type": kind, "param": None, "code": code}
        return ErrorBody(orjson.dumps({"error": error}), _headers(problem))

    def error_event(self, problem: Problem) -> bytes:
        """The same object as an event."""
        return b"data: " + self.error(problem).body + b"\n\n"


def _headers(problem: Problem) -> Headers:
    headers: list[tuple[str, str]] = []
    wait = problem.retry_after_s
    if wait is not None:
        headers += [("retry-after", str(wait)), ("retry-after-ms", str(wait * 1000))]
    if problem.limited:
        for kind, limit in (("requests", 500), ("tokens", 30_000)):
            headers.append((f"x-ratelimit-limit-{kind}", str(limit)))
            headers.append((f"x-ratelimit-remaining-{kind}", "0"))
            headers.append((f"x-ratelimit-reset-{kind}", f"{wait or 1}s"))
    return tuple(headers)


def _head(ask: Ask, *, streamed: bool) -> JsonObject:
    if ask.operation == COMPLETIONS:
        prefix, kind = "cmpl", "text_completion"
    else:
        prefix, kind = "chatcmpl", "chat.completion" + (".chunk" if streamed else "")
    return {"id": f"{prefix}-simulated", "object": kind, "created": CREATED, "model": ask.model}


def _choice(said: JsonObject, finish: str | None) -> JsonObject:
    return {"index": 0, **said, "logprobs": None, "finish_reason": finish}


def _chunk(ask: Ask, delta: JsonObject, finish: str | None = None) -> JsonObject:
    said: JsonObject = delta if ask.operation == COMPLETIONS else {"delta": delta}
    return {**_head(ask, streamed=True), "choices": [_choice(said, finish)]}


def _message(answer: Answer) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [
            {"id": f"call_{index}", "type": "function", "function": _function(answer, index)}
            for index in range(len(answer.tool_calls))
        ]
    return message


def _function(answer: Answer, index: int) -> dict[str, str]:
    call = answer.tool_calls[index]
    return {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()}


def _deltas(answer: Answer) -> Sequence[JsonObject]:
    deltas: list[JsonObject] = [{"role": "assistant", "content": ""}]
    deltas += ({"reasoning_content": piece} for piece in pieces(answer.reasoning, answer.events))
    deltas += ({"content": piece} for piece in pieces(answer.text, answer.events))
    for index in range(len(answer.tool_calls)):
        function = _function(answer, index)
        start = {"index": index, "id": f"call_{index}", "type": "function"}
        named = {**start, "function": {"name": function["name"], "arguments": ""}}
        deltas.append({"tool_calls": [named]})
        for piece in pieces(function["arguments"], 2):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return deltas


def _usage(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input,
            "cache_write_tokens": usage.cache_write_input,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _one_text(value: object, name: str) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise NotOfTheWire(f"'{name}' is not one text: others are not simulated")
    return value


def _embeddings(model: str, body: Mapping[str, object]) -> Ask:
    texts = body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise NotOfTheWire("'input' is neither a text nor a list of texts")
    dimensions = body.get("dimensions")
    if dimensions is not None and not (type(dimensions) is int and 0 < dimensions <= 4096):
        raise NotOfTheWire("'dimensions' is not from 1 to 4096")
    as_base64 = body.get("encoding_format") == "base64"
    return Ask(EMBEDDINGS, model, "\n".join(texts), False, (as_base64, dimensions, *texts))


def _embedding_list(ask: Ask, answer: Answer, without: Part | None) -> JsonObject:
    as_base64, dimensions, *texts = ask.extra
    size = dimensions if isinstance(dimensions, int) else answer.dimensions
    data: list[JsonObject] = []
    for index, text in enumerate(texts):
        vector = embedding(str(text), size)
        packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        value: object = packed if as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    body: JsonObject = {"object": "list", "data": data, "model": ask.model}
    if without is not Part.USAGE:
        prompt = answer.usage.prompt
        body["usage"] = {"prompt_tokens": prompt, "total_tokens": prompt}
    return body


def embedding(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 that only depends on `text`."""
    noise = hashlib.shake_256(text.encode()).digest(dimensions * 2)
    raw = [value - 32767.5 for value in struct.unpack(f"<{dimensions}H", noise)]
    length = sum(value * value for value in raw) ** 0.5
    return [value / length for value in raw]

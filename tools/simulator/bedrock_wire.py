"""AWS Bedrock's wire: Converse and ConverseStream."""

import re
import struct
from binascii import crc32
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

import orjson

from tools.simulator.script import Answer, Usage
from tools.simulator.wire import (
    JSON_TYPE,
    Ask,
    ErrorBody,
    JsonObject,
    NotOfTheWire,
    Part,
    Problem,
    last_of_user,
    pieces,
)

STREAM = "converse-stream"
_MODEL = re.compile(r"/model/(.+)/converse(-stream)?$")
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
_EXCEPTIONS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_STRING = 7
_SIGNATURE = "c2ltdWxhdGVk"


class BedrockWire:
    """See `Wire`."""

    name = "bedrock"
    stream_type = "application/vnd.amazon.eventstream"
    overloaded = 503

    def read(self, operation: str, path: str, query: str, body: Mapping[str, object]) -> Ask:
        """The model is in the path."""
        found = _MODEL.search(unquote(path))
        if found is None:
            raise NotOfTheWire("no model in the path")
        return Ask(operation, found[1], last_of_user(body.get("messages")), operation == STREAM)

    def told(self, ask: Ask, usage: Usage) -> Usage:
        """Reasoning is output."""
        return usage.model_copy(update={"output": usage.completion, "reasoning": 0})

    def whole(self, ask: Ask, answer: Answer, without: Part | None = None) -> bytes:
        """A message with its usage."""
        content = [block for block, _, _ in _blocks(answer)]
        body: JsonObject = {"output": {"message": {"role": "assistant", "content": content}}}
        if without is not Part.FINISH:
            body.update(_stop(answer))
        if without is not Part.USAGE:
            body["usage"] = _usage(answer.usage)
        return orjson.dumps({**body, "metrics": {"latencyMs": 1}})

    def events(self, ask: Ask, answer: Answer, without: Part | None = None) -> Sequence[bytes]:
        """From `messageStart` to `metadata`."""
        named = list(_events(answer))
        if without not in (Part.TERMINATOR, Part.FINISH):
            named.append(("messageStop", _stop(answer)))
        if without is not Part.USAGE:
            metadata = {"usage": _usage(answer.usage), "metrics": {"latencyMs": 1}}
            named.append(("metadata", metadata))
        return [_event(name, payload) for name, payload in named]

    def text_event(self, ask: Ask, text: str) -> bytes:
        """A delta of the first block."""
        return _event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})

    def error(self, problem: Problem) -> ErrorBody:
        """The kind is in a header; AWS does not say when to come again."""
        kind = _exception(problem.status)
        headers = (("x-amzn-errortype", kind), ("x-amzn-requestid", "simulated"))
        return ErrorBody(orjson.dumps({"message": problem.message}), headers)

    def error_event(self, problem: Problem) -> bytes:
        """A message of the type exception."""
        kind = _exception(problem.status)
        headers = {":exception-type": kind[0].lower() + kind[1:], ":message-type": "exception"}
        return _message(headers, orjson.dumps({"message": problem.message}))


def _exception(status: int) -> str:
    return _EXCEPTIONS.get(status, "InternalServerException")


def _stop(answer: Answer) -> JsonObject:
    reason = "stop_sequence" if answer.stop_sequence else _STOP_REASONS[answer.finish]
    return {"stopReason": reason}


def _usage(usage: Usage) -> JsonObject:
    return {
        "inputTokens": usage.input,
        "outputTokens": usage.completion,
        "totalTokens": usage.prompt + usage.completion,
        "cacheReadInputTokens": usage.cached_input,
        "cacheWriteInputTokens": usage.cache_write_input,
    }


def _blocks(answer: Answer) -> Iterator[tuple[JsonObject, JsonObject | None, list[JsonObject]]]:
    """Each content block whole, how it starts if that is said, and the deltas that make it."""
    if answer.reasoning:
        deltas: list[JsonObject] = [
            {"reasoningContent": {"text": piece}}
            for piece in pieces(answer.reasoning, answer.events)
        ]
        deltas.append({"reasoningContent": {"signature": _SIGNATURE}})
        whole = {"text": answer.reasoning, "signature": _SIGNATURE}
        yield {"reasoningContent": {"reasoningText": whole}}, None, deltas
    if answer.text:
        texts: list[JsonObject] = [{"text": piece} for piece in pieces(answer.text, answer.events)]
        yield {"text": answer.text}, None, texts
    for index, call in enumerate(answer.tool_calls):
        start: JsonObject = {"toolUseId": f"tooluse_{index}", "name": call.name}
        arguments = orjson.dumps(call.arguments).decode()
        inputs: list[JsonObject] = [{"toolUse": {"input": piece}} for piece in pieces(arguments, 2)]
        yield {"toolUse": {**start, "input": call.arguments}}, {"toolUse": start}, inputs


def _events(answer: Answer) -> Iterator[tuple[str, JsonObject]]:
    yield "messageStart", {"role": "assistant"}
    for index, (_, start, deltas) in enumerate(_blocks(answer)):
        at: JsonObject = {"contentBlockIndex": index}
        if start is not None:
            yield "contentBlockStart", {**at, "start": start}
        for delta in deltas:
            yield "contentBlockDelta", {**at, "delta": delta}
        yield "contentBlockStop", at


def _event(name: str, payload: JsonObject) -> bytes:
    headers = {":event-type": name, ":content-type": JSON_TYPE, ":message-type": "event"}
    return _message(headers, orjson.dumps(payload))


def _message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """vnd.amazon.eventstream: lengths, headers and payload, each part with a checksum."""
    encoded = b"".join(
        struct.pack("!B", len(name))
        + name.encode()
        + struct.pack("!BH", _STRING, len(value))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    message = prelude + struct.pack("!I", crc32(prelude)) + encoded + payload
    return message + struct.pack("!I", crc32(message))

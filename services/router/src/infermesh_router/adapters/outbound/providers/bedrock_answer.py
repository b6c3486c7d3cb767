"""Answers in Converse's form. Source: Amazon Bedrock API reference, "Converse"."""

import time
import uuid

import orjson

from infermesh_router.adapters.outbound.providers.errors import reported
from infermesh_router.domain.answer import Answer, Payload, broken
from infermesh_router.domain.request import JsonObject

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_FAILED = frozenset({"malformed_model_output", "malformed_tool_use"})
"""Reasons of answers that are none: the API could not read what the model wrote."""


def read_answer(body: JsonObject, data: bytes) -> Answer:
    """A response to `body` as a chat completion.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is none; PROVIDER_FAILED, it is a failure.
    """
    value = Payload(data).value
    output = value.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    blocks = message.get("content") if isinstance(message, dict) else None
    if not isinstance(blocks, list):
        raise broken("the provider's answer is not a message")
    choice = {"index": 0, "message": _message(blocks), **ending(value)}
    return Answer(
        value={
            **head(body),
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_of_response(value.get("usage")),
        }
    )


def head(body: JsonObject) -> dict[str, object]:
    """What the answer to `body` and its chunks begin with: the API names neither the answer nor the
    model, so the model goes by the name it was asked for by."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": body.get("model") or "bedrock",
    }


def ending(value: JsonObject) -> dict[str, object]:
    """Why an answer ended. Reasons that a later version may add are passed on as they are, and
    such an answer is not cached.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it does not say; PROVIDER_FAILED, it is a failure's.
    """
    reason = value.get("stopReason")
    if not isinstance(reason, str):
        raise broken("the provider's answer has not ended")
    if reason in _FAILED:
        raise reported({"message": reason, "code": reason})
    return {"finish_reason": _FINISH.get(reason, reason)}


def usage_of_response(usage: object) -> JsonObject | None:
    """Usage in OpenAI's form; None when there is none. The API's `inputTokens` are those neither
    read from the cache nor written to it."""
    if not isinstance(usage, dict):
        return None
    read = _count(usage, "cacheReadInputTokens")
    written = _count(usage, "cacheWriteInputTokens")
    prompt = _count(usage, "inputTokens") + read + written
    completion = _count(usage, "outputTokens")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }


def _count(values: JsonObject, name: str) -> int:
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def text_in(holder: JsonObject, name: str) -> str:
    """The text `name` of a block or a delta.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, there is none.
    """
    value = holder.get(name)
    if not isinstance(value, str):
        raise broken(f"a piece of content has no {name}")
    return value


def _message(blocks: list[object]) -> dict[str, object]:
    texts: list[str] = []
    readable: list[str] = []
    thoughts: list[JsonObject] = []
    calls: list[JsonObject] = []
    for block in blocks:
        if not isinstance(block, dict):
            raise broken("a piece of content is not an object")
        if "text" in block:
            texts.append(text_in(block, "text"))
        elif isinstance(use := block.get("toolUse"), dict):
            arguments = orjson.dumps(use.get("input") or {}).decode()
            function = {"name": text_in(use, "name"), "arguments": arguments}
            calls.append(
                {"id": text_in(use, "toolUseId"), "type": "function", "function": function}
            )
        elif isinstance(reasoning := block.get("reasoningContent"), dict):
            thoughts.append(_thought(reasoning, readable))
    message: dict[str, object] = {"role": "assistant", "content": "".join(texts) or None}
    if "".join(readable):
        message["reasoning_content"] = "".join(readable)
    if thoughts:
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _thought(reasoning: JsonObject, readable: list[str]) -> JsonObject:
    text = reasoning.get("reasoningText")
    if not isinstance(text, dict):
        return {"type": "redacted_thinking", "data": text_in(reasoning, "redactedContent")}
    readable.append(text_in(text, "text"))
    thought = {"type": "thinking", "thinking": text["text"]}
    return thought | ({"signature": text["signature"]} if text.get("signature") else {})

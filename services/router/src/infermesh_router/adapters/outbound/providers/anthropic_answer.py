"""Answers in Anthropic's form. Source: Claude API reference, "Create a Message", "Handling stop
reasons"."""

import time

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
    # The turn has been interrupted for a tool of the provider's own: there is more to come.
    "pause_turn": "length",
    "refusal": "content_filter",
}


def read_answer(data: bytes) -> Answer:
    """A message as a chat completion.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is none; PROVIDER_FAILED, it reports an error.
    """
    value = Payload(data).value
    if value.get("type") == "error":
        raise reported(value)
    blocks = value.get("content")
    if value.get("type") != "message" or not isinstance(blocks, list):
        raise broken("the provider's answer is not a message")
    choice: dict[str, object] = {"index": 0, "message": _message(blocks)}
    choice.update(ending(value))
    if choice["finish_reason"] is None:
        raise broken("the provider's answer has not ended")
    return Answer(
        value={
            **head(value),
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_of_message(value.get("usage")),
        }
    )


def head(message: JsonObject) -> dict[str, object]:
    """What an answer and its chunks begin with. The API does not say when it began."""
    return {"id": message.get("id"), "created": int(time.time()), "model": message.get("model")}


def ending(value: JsonObject) -> dict[str, object]:
    """Why an answer ended; None as long as it has not. Reasons that a later version may add are
    passed on as they are, and such an answer is not cached."""
    reason = value.get("stop_reason")
    ended: dict[str, object] = {
        "finish_reason": _FINISH.get(reason, reason) if isinstance(reason, str) else None
    }
    if reason == "stop_sequence" and isinstance(value.get("stop_sequence"), str):
        ended["stop_sequence"] = value["stop_sequence"]
    return ended


def usage_of_message(usage: object) -> JsonObject | None:
    """Usage in OpenAI's form; None when there is none.

    The API's `input_tokens` are those neither read from the cache nor written to it; its
    `output_tokens` include thoughts.
    """
    if not isinstance(usage, dict):
        return None
    read = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    prompt = _count(usage, "input_tokens") + read + written
    completion = _count(usage, "output_tokens")
    details = usage.get("output_tokens_details")
    reasoning = _count(details, "thinking_tokens") if isinstance(details, dict) else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _count(values: JsonObject, name: str) -> int:
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def text_in(block: JsonObject, name: str) -> str:
    """The text `name` of a block or a delta.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, there is none.
    """
    value = block.get(name)
    if not isinstance(value, str):
        raise broken(f"a piece of content has no {name}")
    return value


def _message(blocks: list[object]) -> dict[str, object]:
    texts: list[str] = []
    thoughts: list[JsonObject] = []
    calls: list[JsonObject] = []
    for block in blocks:
        if not isinstance(block, dict):
            raise broken("a piece of content is not an object")
        kind = block.get("type")
        if kind == "text":
            texts.append(text_in(block, "text"))
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(block)
        elif kind == "tool_use":
            function = {
                "name": text_in(block, "name"),
                "arguments": orjson.dumps(block.get("input") or {}).decode(),
            }
            calls.append({"id": text_in(block, "id"), "type": "function", "function": function})
    message: dict[str, object] = {"role": "assistant", "content": "".join(texts) or None}
    readable = [text_in(block, "thinking") for block in thoughts if block["type"] == "thinking"]
    if "".join(readable):
        message["reasoning_content"] = "".join(readable)
    if thoughts:
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message

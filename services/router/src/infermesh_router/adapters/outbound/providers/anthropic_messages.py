"""Conversations in Anthropic's form.

The API wants turns of user and assistant, results of tools before anything else in a turn, no text
that is empty, and the system's prompts outside of the conversation.
"""

import re
from typing import Literal

import orjson

from infermesh_common.errors import InvalidArgument
from infermesh_router.adapters.outbound.providers.anthropic_content import (
    PROTOCOL,
    Block,
    blocks_of,
    text_of,
)
from infermesh_router.adapters.outbound.providers.parameters import unsupported
from infermesh_router.domain.request import JsonObject

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")

Side = Literal["user", "assistant"]


def conversation(messages: list[JsonObject]) -> tuple[list[Block], list[dict[str, object]]]:
    """The system's prompts and the turns.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER, INVALID_MESSAGES.
    """
    system: list[Block] = []
    turns: list[tuple[Side, list[Block]]] = []
    for number, message in enumerate(messages):
        field = f"messages[{number}]"
        role = message.get("role")
        if role in ("system", "developer"):
            system += text_of(message.get("content"), f"{field}.content")
            continue
        side, blocks = _said(role, message, field)
        if not blocks:
            continue
        if not turns or turns[-1][0] != side:
            turns.append((side, []))
        turns[-1][1].extend(blocks)
    return system, [{"role": side, "content": _ordered(blocks)} for side, blocks in turns]


def _ordered(blocks: list[Block]) -> list[Block]:
    results = [block for block in blocks if block["type"] == "tool_result"]
    if not results:
        return blocks
    return results + [block for block in blocks if block["type"] != "tool_result"]


def _said(role: object, message: JsonObject, field: str) -> tuple[Side, list[Block]]:
    if role == "user":
        return "user", blocks_of(message.get("content"), f"{field}.content")
    if role == "tool":
        return "user", [_result(message, field)]
    if role == "assistant":
        return "assistant", _assistant(message, field)
    raise unsupported(f"{field}.role", PROTOCOL)


def _assistant(message: JsonObject, field: str) -> list[Block]:
    for name in ("function_call", "audio"):
        if message.get(name) is not None:
            raise unsupported(f"{field}.{name}", PROTOCOL)
    # Signed thoughts come first, as they did when they were said.
    thoughts = message.get("thinking_blocks")
    blocks = [
        {name: value for name, value in thought.items() if name != "index"}
        for thought in (thoughts if isinstance(thoughts, list) else ())
        if isinstance(thought, dict)
    ]
    blocks += text_of(message.get("content"), f"{field}.content")
    blocks += text_of(message.get("refusal"), f"{field}.refusal")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise _invalid("'tool_calls' must be a list.", f"{field}.tool_calls")
    return blocks + [_use(call, f"{field}.tool_calls[{n}]") for n, call in enumerate(calls)]


def _use(call: object, field: str) -> Block:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _invalid("A call of a tool must have a function with a name.", field)
    assert isinstance(call, dict)
    return {
        "type": "tool_use",
        "id": _id(call.get("id"), f"{field}.id"),
        "name": function["name"],
        "input": _arguments(function.get("arguments"), f"{field}.function.arguments"),
    }


def _arguments(text: object, field: str) -> object:
    if not text:
        return {}
    try:
        value = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise _invalid("The arguments of a tool must be a JSON object.", field)
    return value


def _result(message: JsonObject, field: str) -> Block:
    block: Block = {
        "type": "tool_result",
        "tool_use_id": _id(message.get("tool_call_id"), f"{field}.tool_call_id"),
    }
    content = blocks_of(message.get("content"), f"{field}.content")
    # A mark for the prompt cache is the whole result's.
    marks = [part.pop("cache_control") for part in content if "cache_control" in part]
    if content:
        block["content"] = content
    if marks:
        block["cache_control"] = marks[-1]
    return block


def _id(value: object, field: str) -> str:
    """An id that the API accepts: those of other providers may have other characters."""
    if not isinstance(value, str) or not value:
        raise _invalid("A call of a tool and its result must have the same id.", field)
    return _NOT_IN_IDS.sub("_", value)


def _invalid(message: str, field: str) -> InvalidArgument:
    return InvalidArgument("INVALID_MESSAGES", message, field=field)

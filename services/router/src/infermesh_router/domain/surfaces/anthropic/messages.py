"""Conversations of the Messages wire, in OpenAI's chat form."""

import orjson

from infermesh_common.errors import InvalidArgument
from infermesh_router.domain.surfaces.anthropic.parts import JsonPart, content_of, part_of
from infermesh_router.domain.surfaces.anthropic.tools import cache_marker
from infermesh_router.domain.surfaces.fields import Fields, unsupported, wrong

_MEDIA = frozenset({"text", "image", "document"})


def chat_messages(fields: Fields) -> list[dict[str, object]]:
    """`system` and `messages` as messages of chat.

    Raises:
        InvalidArgument: names the field.
    """
    chat = [_system(fields, "system")] if fields.has("system") else []
    if chat and not chat[0]["content"]:
        chat.clear()
    if not fields.items("messages"):
        raise InvalidArgument(
            "INVALID_MESSAGES", "'messages' must be a non-empty list.", field="messages"
        )
    for message in fields.objects("messages"):
        role = message.need_text("role")
        if role == "user":
            chat += _user(message)
        elif role == "assistant":
            chat.append(_assistant(message))
        elif role == "system":
            chat.append(_system(message, "content"))
        else:
            raise wrong(message.path("role"), 'one of "user", "assistant", "system"')
    if (marker := cache_marker(fields)) is not None:
        _mark_last(chat[-1], marker)
    return chat


def _system(owner: Fields, name: str) -> dict[str, object]:
    parts = [part_of(block, ("text",)) for block in _blocks(owner, name)]
    return {"role": "system", "content": content_of(parts)}


def _blocks(owner: Fields, name: str) -> list[Fields]:
    """A string or a list of blocks, as blocks."""
    value = owner.need(name)
    if isinstance(value, str):
        return [Fields({"type": "text", "text": value}, owner.path(name))]
    if not isinstance(value, list):
        raise wrong(owner.path(name), "a string or a list of blocks")
    return list(owner.objects(name))


def _user(message: Fields) -> list[dict[str, object]]:
    """Results of tools, which are messages of their own in chat, and the rest."""
    results: list[dict[str, object]] = []
    parts: list[JsonPart] = []
    for block in _blocks(message, "content"):
        if block.text("type") == "tool_result":
            if parts:
                raise InvalidArgument(
                    "INVALID_MESSAGES",
                    "Results of tools must come before everything else in a message.",
                    field=block.where,
                )
            results.append(_result(block))
        else:
            parts.append(part_of(block, _MEDIA))
    if parts or not results:
        results.append({"role": "user", "content": content_of(parts)})
    return results


def _result(block: Fields) -> dict[str, object]:
    parts = (
        [part_of(inner, _MEDIA) for inner in _blocks(block, "content")]
        if block.has("content")
        else []
    )
    message: dict[str, object] = {
        "role": "tool",
        "tool_call_id": block.need_name("tool_use_id"),
        "content": content_of(parts),
    }
    # Chat has no mark for a result that is an error; what went wrong is in its content.
    block.flag("is_error")
    if (marker := cache_marker(block)) is not None:
        _mark_last(message, marker)
    return message


def _assistant(message: Fields) -> dict[str, object]:
    texts: list[JsonPart] = []
    thoughts: list[dict[str, object]] = []
    calls: list[dict[str, object]] = []
    reasoning: list[str] = []
    for block in _blocks(message, "content"):
        kind = block.need_text("type")
        if kind == "thinking":
            text, signature = block.need_text("thinking"), block.text("signature")
            reasoning.append(text)
            # Without its signature no provider takes its own reasoning back.
            if signature:
                thoughts.append({"type": kind, "thinking": text, "signature": signature})
        elif kind == "redacted_thinking":
            thoughts.append({"type": kind, "data": block.need_text("data")})
        elif kind == "tool_use":
            calls.append(_call(block))
        else:
            texts.append(part_of(block, ("text",)))
    chat: dict[str, object] = {"role": "assistant"}
    chat["content"] = content_of(texts) if texts or not calls else None
    if any(reasoning):
        chat["reasoning_content"] = "".join(reasoning)
    if thoughts:
        chat["thinking_blocks"] = thoughts
    if calls:
        chat["tool_calls"] = calls
    return chat


def _call(block: Fields) -> dict[str, object]:
    block.refuse(("toolset_name",), "is not offered here")
    if (caller := block.inner("caller")) is not None and caller.text("type") != "direct":
        raise unsupported(caller.path("type"), "Only the model itself can call a tool.")
    arguments = block.need_inner("input")
    try:
        text = orjson.dumps(arguments.value).decode()
    except TypeError as error:
        raise wrong(arguments.where, "nested less deeply") from error
    function = {"name": block.need_name("name"), "arguments": text}
    return {"id": block.need_name("id"), "type": "function", "function": function}


def _mark_last(message: dict[str, object], marker: dict[str, object]) -> None:
    """Marks the end of `message` as the end of what a provider may cache."""
    content = message["content"]
    if isinstance(content, str) and content:
        message["content"] = [{"type": "text", "text": content, "cache_control": marker}]
    elif isinstance(content, list):
        content[-1].setdefault("cache_control", marker)

"""What a canonical request has beyond OpenAI's form is taken out before it goes to that wire.

OpenAI and several servers of its family refuse fields they do not know inside of messages.
"""

from infermesh_router.domain.request import JsonObject


def without_extensions(body: JsonObject) -> dict[str, object]:
    """`body` without `thinking`, `thinking_blocks` and `cache_control`; parts that have none of
    them are not copied.

    `reasoning_content` goes where `thinking_blocks` stand beside it, that is, where it came from
    another protocol; alone it is a client's own, and some servers want it back.
    """
    sent = {name: value for name, value in body.items() if name != "thinking"}
    for name, clean in (("messages", _message), ("tools", _uncached)):
        items = sent.get(name)
        if isinstance(items, list):
            sent[name] = [clean(item) for item in items]
    return sent


def _message(message: object) -> object:
    if not isinstance(message, dict):
        return message
    if "thinking_blocks" in message:
        message = _without(message, "thinking_blocks", "reasoning_content")
    content = message.get("content")
    if isinstance(content, list) and any(
        isinstance(part, dict) and "cache_control" in part for part in content
    ):
        message = {**message, "content": [_uncached(part) for part in content]}
    return _uncached(message)


def _uncached(item: object) -> object:
    return _without(item, "cache_control") if isinstance(item, dict) else item


def _without(item: dict[str, object], *names: str) -> dict[str, object]:
    if not any(name in item for name in names):
        return item
    return {name: value for name, value in item.items() if name not in names}

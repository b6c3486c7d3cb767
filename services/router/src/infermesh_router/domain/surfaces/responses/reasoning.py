"""Reasoning as items of the Responses wire.

A provider that signs its reasoning wants it back signed. Clients keep it for it in
`encrypted_content`, which is opaque to them: here the provider's own block, in base64.
"""

import base64
import binascii

import orjson

from infermesh_router.domain.surfaces.chat_answer import Thinking, dump
from infermesh_router.domain.surfaces.fields import Fields

ENCRYPTED = "reasoning.encrypted_content"
"""Asked for in `include`."""
_PREFIX = "infermesh-1:"


def sealed(thought: Thinking) -> str | None:
    """Signed or redacted reasoning for `encrypted_content`; None when it is neither."""
    if not (thought.signature or thought.redacted):
        return None
    return _PREFIX + base64.b64encode(dump(thought.block())).decode()


def thoughts_in(item: Fields) -> tuple[str, list[dict[str, object]]]:
    """Readable text and signed blocks of an item. What another mesh or provider has sealed is
    passed over: nobody here can read it.

    Raises:
        InvalidArgument: names the field.
    """
    parts = [*item.objects("summary"), *item.objects("content")]
    text = "".join(part.need_text("text") for part in parts)
    block = _opened(item.text("encrypted_content") or "")
    if block is None:
        return text, []
    thinking = block.get("thinking")
    return (thinking if isinstance(thinking, str) else text), [block]


def _opened(text: str) -> dict[str, object] | None:
    if not text.startswith(_PREFIX):
        return None
    try:
        value = orjson.loads(base64.b64decode(text[len(_PREFIX) :], validate=True))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(value, dict):
        return None
    names = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}
    wanted = names.get(str(value.get("type")), ())
    if not wanted or not all(isinstance(value.get(name), str) for name in wanted):
        return None
    return {"type": value["type"], **{name: value[name] for name in wanted}}

"""Contents of messages in Converse's form, out of the blocks that Anthropic's wire would have."""

import re
from typing import cast

from infermesh_router.adapters.outbound.providers.anthropic_content import Block
from infermesh_router.adapters.outbound.providers.parameters import unsupported

PROTOCOL = "Bedrock Converse"

_IMAGE_FORMATS = frozenset({"png", "jpeg", "gif", "webp"})
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9\-()\[\]]+")
_EXTENSION = re.compile(r"\.[a-zA-Z0-9]{1,5}$")
_LONGEST_NAME = 150


class Contents:
    """Translates the contents of one request: the API refuses two documents of one name."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def blocks(self, blocks: list[Block]) -> list[Block]:
        """The blocks, each mark for the prompt cache behind what it marks.

        Raises:
            InvalidArgument: UNSUPPORTED_PARAMETER.
        """
        sent: list[Block] = []
        for block in blocks:
            sent.append(self._block(block))
            sent += cache_point(block.get("cache_control"))
        return sent

    def _block(self, block: Block) -> Block:
        kind = block["type"]
        if kind == "text":
            return {"text": block["text"]}
        if kind == "image":
            return {"image": _image(cast(Block, block["source"]))}
        if kind == "document":
            return {"document": self._document(block)}
        if kind == "tool_use":
            use = {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}
            return {"toolUse": use}
        if kind == "tool_result":
            content = self.blocks(cast(list[Block], block.get("content") or []))
            return {"toolResult": {"toolUseId": block["tool_use_id"], "content": content}}
        if kind == "thinking":
            return {"reasoningContent": {"reasoningText": _thought(block)}}
        if kind == "redacted_thinking":
            return {"reasoningContent": {"redactedContent": block.get("data")}}
        raise unsupported("messages", PROTOCOL)

    def _document(self, block: Block) -> Block:
        source = cast(Block, block["source"])
        title = _EXTENSION.sub("", str(block.get("title") or ""))
        wanted = _NOT_IN_NAMES.sub(" ", title).strip()[:_LONGEST_NAME].strip() or "document"
        name, number = wanted, 1
        while name.lower() in self._names:
            number += 1
            name = f"{wanted} {number}"
        self._names.add(name.lower())
        return {"format": "pdf", "name": name, "source": {"bytes": source["data"]}}


def cache_point(mark: object) -> list[Block]:
    """What `cache_control` becomes; nothing where there is none."""
    if mark is None:
        return []
    lifetime = mark.get("ttl") if isinstance(mark, dict) else None
    point: Block = {"type": "default"}
    return [{"cachePoint": point | ({"ttl": lifetime} if isinstance(lifetime, str) else {})}]


def _image(source: Block) -> Block:
    if source["type"] != "base64":
        raise unsupported("messages", PROTOCOL, f"{PROTOCOL} takes images as data URLs only.")
    kind = str(source["media_type"]).removeprefix("image/")
    if kind not in _IMAGE_FORMATS:
        raise unsupported("messages", PROTOCOL, f"{PROTOCOL} has no images of that type.")
    return {"format": kind, "source": {"bytes": source["data"]}}


def _thought(block: Block) -> Block:
    names = {"thinking": "text", "signature": "signature"}
    return {sent: block[name] for name, sent in names.items() if block.get(name) is not None}

"""Blocks of text, images and documents as parts of a message in OpenAI's chat form."""

from collections.abc import Collection, Sequence

from infermesh_router.domain.surfaces.anthropic.tools import cache_marker
from infermesh_router.domain.surfaces.fields import Fields, unsupported, wrong

JsonPart = dict[str, object]
_PDF = "application/pdf"
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def content_of(parts: Sequence[JsonPart]) -> str | list[JsonPart]:
    """Parts as the content of a message: a single text without a marker as a string, which every
    server takes."""
    if not parts:
        return ""
    if len(parts) == 1 and set(parts[0]) == {"type", "text"}:
        return str(parts[0]["text"])
    return list(parts)


def part_of(block: Fields, allowed: Collection[str]) -> JsonPart:
    """One block as a part.

    Raises:
        InvalidArgument: names the field.
    """
    kind = block.need_text("type")
    if kind not in allowed:
        raise unsupported(block.path("type"), f"A block of the type {kind!r} cannot stand here.")
    if kind == "text":
        part: JsonPart = {"type": "text", "text": block.need_text("text")}
    elif kind == "image":
        block.refuse(("transformations",), "is not offered here")
        part = {"type": "image_url", "image_url": {"url": _image_url(block.need_inner("source"))}}
    else:
        part = _document(block)
    if (marker := cache_marker(block)) is not None:
        part["cache_control"] = marker
    return part


def _image_url(source: Fields) -> str:
    kind = source.need_text("type")
    if kind == "url":
        return source.need_name("url")
    if kind != "base64":
        raise unsupported(source.path("type"), f"An image cannot come from a {kind!r} here.")
    media_type = source.need_text("media_type")
    if media_type not in _IMAGES:
        raise wrong(source.path("media_type"), "one of " + ", ".join(sorted(_IMAGES)))
    return f"data:{media_type};base64,{source.need_name('data')}"


def _document(block: Fields) -> JsonPart:
    block.refuse(("context",), "is not offered here")
    citations = block.inner("citations")
    if citations is not None and citations.flag("enabled"):
        raise unsupported(citations.path("enabled"), "Answers have no citations here.")
    source = block.need_inner("source")
    kind, title = source.need_text("type"), block.text("title")
    if kind == "text":
        # As text every model can read it, but nothing is left to carry a title.
        block.refuse(("title",), "is not offered here for a document of text: put it into the text")
        return {"type": "text", "text": source.need_text("data")}
    if kind != "base64":
        raise unsupported(source.path("type"), f"A document cannot come from a {kind!r} here.")
    if source.need_text("media_type") != _PDF:
        raise wrong(source.path("media_type"), f'"{_PDF}"')
    data = f"data:{_PDF};base64,{source.need_name('data')}"
    return {"type": "file", "file": {"filename": title or "document.pdf", "file_data": data}}

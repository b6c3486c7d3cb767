"""Contents of messages in Anthropic's form: texts, images, documents."""

from infermesh_common.errors import InvalidArgument
from infermesh_router.adapters.outbound.providers.parameters import unsupported
from infermesh_router.domain.request import JsonObject

PROTOCOL = "Anthropic Messages"
_PDF = "application/pdf"

Block = dict[str, object]


def blocks_of(content: object, field: str) -> list[Block]:
    """The blocks that `content` amounts to; texts that say nothing are none.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER, INVALID_MESSAGES.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [_text(content)] if content.strip() else []
    if not isinstance(content, list):
        raise _invalid("The content must be a text or a list of parts.", field)
    blocks: list[Block] = []
    for number, part in enumerate(content):
        if not isinstance(part, dict):
            raise _invalid("A part of a content must be an object.", f"{field}[{number}]")
        block = _block(part, f"{field}[{number}]")
        if block is not None:
            if part.get("cache_control") is not None:
                block["cache_control"] = part["cache_control"]
            blocks.append(block)
    return blocks


def text_of(content: object, field: str) -> list[Block]:
    """As `blocks_of`, where there can be nothing but text."""
    blocks = blocks_of(content, field)
    if any(block["type"] != "text" for block in blocks):
        raise unsupported(field, PROTOCOL)
    return blocks


def _block(part: JsonObject, field: str) -> Block | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(str(kind))
        if not isinstance(text, str):
            raise _invalid(f"A part of type '{kind}' must have a text.", field)
        return _text(text) if text.strip() else None
    if kind == "image_url":
        return {"type": "image", "source": _image(part.get("image_url"), field)}
    if kind == "file":
        return _document(part.get("file"), field)
    raise unsupported(f"{field}.type", PROTOCOL)


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _image(image: object, field: str) -> Block:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url:
        raise _invalid("An image must have a URL.", f"{field}.image_url.url")
    if url.startswith("data:"):
        return _base64(url, f"{field}.image_url.url")
    return {"type": "url", "url": url}


def _document(file: object, field: str) -> Block:
    data = file.get("file_data") if isinstance(file, dict) else None
    if not isinstance(data, str):
        # An id of a file means something at one provider only.
        raise unsupported(f"{field}.file", PROTOCOL)
    source = _base64(data, f"{field}.file.file_data")
    if source["media_type"] != _PDF:
        raise unsupported(f"{field}.file.file_data", PROTOCOL)
    assert isinstance(file, dict)
    block: Block = {"type": "document", "source": source}
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return block


def _base64(url: str, field: str) -> Block:
    """The source of a block out of a data URL (RFC 2397)."""
    head, comma, data = url.removeprefix("data:").partition(",")
    media_type, *parameters = head.split(";")
    if not comma or not media_type or "base64" not in parameters:
        raise _invalid("A data URL must have a media type and be in base64.", field)
    return {"type": "base64", "media_type": media_type, "data": data}


def _invalid(message: str, field: str) -> InvalidArgument:
    return InvalidArgument("INVALID_MESSAGES", message, field=field)

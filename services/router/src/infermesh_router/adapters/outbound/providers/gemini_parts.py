"""Contents of messages in Gemini's form: texts, images, documents, sounds."""

import mimetypes
from urllib.parse import urlsplit

from infermesh_common.errors import InvalidArgument
from infermesh_router.adapters.outbound.providers.parameters import unsupported

PROTOCOL = "Gemini"
_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mp3"}

Part = dict[str, object]


def parts_of(content: object, field: str) -> list[Part]:
    """The parts that `content` amounts to; empty texts are none.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER, INVALID_MESSAGES.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}] if content else []
    if not isinstance(content, list):
        raise invalid("The content must be a text or a list of parts.", field)
    parts = [_part(item, f"{field}[{number}]") for number, item in enumerate(content)]
    return [part for part in parts if part.get("text") != ""]


def text_of(content: object, field: str) -> list[Part]:
    """As `parts_of`, where there can be nothing but text."""
    parts = parts_of(content, field)
    if not all("text" in part for part in parts):
        raise unsupported(field, PROTOCOL)
    return parts


def invalid(message: str, field: str) -> InvalidArgument:
    """The refusal of messages that are not as OpenAI's form wants them."""
    return InvalidArgument("INVALID_MESSAGES", message, field=field)


def _part(item: object, field: str) -> Part:
    if not isinstance(item, dict):
        raise invalid("A part of a content must be an object.", field)
    kind = item.get("type")
    if kind in ("text", "refusal"):
        text = item.get(str(kind))
        if not isinstance(text, str):
            raise invalid(f"A part of type '{kind}' must have a text.", field)
        return {"text": text}
    if kind == "image_url":
        return _image(item.get("image_url"), f"{field}.image_url.url")
    if kind == "file":
        return _file(item.get("file"), f"{field}.file")
    if kind == "input_audio":
        return _sound(item.get("input_audio"), f"{field}.input_audio")
    raise unsupported(f"{field}.type", PROTOCOL)


def _image(image: object, field: str) -> Part:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url:
        raise invalid("An image must have a URL.", field)
    if url.startswith("data:"):
        return _inline(url, field)
    data = {"fileUri": url}
    # The API fetches it. A type that the path does not tell is left for it to find out.
    kind = mimetypes.guess_type(_path(url, field))[0]
    return {"fileData": data | ({"mimeType": kind} if kind else {})}


def _path(url: str, field: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        raise invalid("The URL of an image must be one.", field) from None


def _file(file: object, field: str) -> Part:
    data = file.get("file_data") if isinstance(file, dict) else None
    if not isinstance(data, str):
        # An id of a file means something at one provider only.
        raise unsupported(field, PROTOCOL)
    return _inline(data, f"{field}.file_data")


def _sound(sound: object, field: str) -> Part:
    data = sound.get("data") if isinstance(sound, dict) else None
    kind = sound.get("format") if isinstance(sound, dict) else None
    if not isinstance(data, str) or not isinstance(kind, str) or kind not in _SOUNDS:
        raise unsupported(field, PROTOCOL)
    return {"inlineData": {"mimeType": _SOUNDS[kind], "data": data}}


def _inline(url: str, field: str) -> Part:
    """A part out of a data URL (RFC 2397)."""
    head, comma, data = url.removeprefix("data:").partition(",")
    kind, *parameters = head.split(";")
    if not comma or not kind or "base64" not in parameters:
        raise invalid("A data URL must have a media type and be in base64.", field)
    return {"inlineData": {"mimeType": kind, "data": data}}

"""Embeddings in Gemini's form. Source: Gemini API reference, "batchEmbedContents"."""

import base64
import struct

from infermesh_router.adapters.outbound.providers.errors import reported
from infermesh_router.adapters.outbound.providers.gemini_parts import PROTOCOL
from infermesh_router.adapters.outbound.providers.parameters import refuse_others, unsupported
from infermesh_router.domain.answer import Answer, Payload, broken
from infermesh_router.domain.request import JsonObject

_TRANSLATED = frozenset({"input", "dimensions", "encoding_format"})


def embeddings_body(model: str, body: JsonObject) -> dict[str, object]:
    """The body of `batchEmbedContents`.

    Args:
        model: path of the model.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER.
    """
    refuse_others(body, _TRANSLATED, PROTOCOL)
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise unsupported("encoding_format", PROTOCOL)
    texts = _texts(body)
    size = {} if body.get("dimensions") is None else {"outputDimensionality": body["dimensions"]}
    return {
        "requests": [
            {"model": model, "content": {"parts": [{"text": text}]}, **size} for text in texts
        ]
    }


def read_embeddings(body: JsonObject, data: bytes) -> Answer:
    """The answer to `body` in OpenAI's form.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is none; PROVIDER_FAILED, it reports an error.
    """
    value = Payload(data).value
    if value.get("error"):
        raise reported(value)
    found = value.get("embeddings")
    if not isinstance(found, list) or len(found) != len(_texts(body)):
        raise broken("the provider's answer has not one embedding for each text")
    packed = body.get("encoding_format") == "base64"
    answer: dict[str, object] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": _vector(item, packed)}
            for number, item in enumerate(found)
        ],
        "model": body.get("model"),
    }
    usage = value.get("usageMetadata")
    tokens = usage.get("promptTokenCount") if isinstance(usage, dict) else None
    if isinstance(tokens, int):
        answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Answer(value=answer)


def _texts(body: JsonObject) -> list[object]:
    given = body.get("input")
    texts = given if isinstance(given, list) else [given]
    if not all(isinstance(text, str) for text in texts):
        raise unsupported("input", PROTOCOL, f"{PROTOCOL} embeds texts, not tokens: 'input'.")
    return texts


def _vector(item: object, packed: bool) -> object:
    values = item.get("values") if isinstance(item, dict) else None
    if not isinstance(values, list) or not values:
        raise broken("an embedding has no values")
    if not packed:
        return values
    try:
        # As OpenAI packs them.
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except (struct.error, OverflowError) as error:
        raise broken("an embedding is not of numbers") from error

"""One candidate of an answer in Gemini's form, whole or piece by piece."""

import hashlib
from dataclasses import dataclass, field

import orjson

from infermesh_router.adapters.outbound.providers.errors import reported
from infermesh_router.adapters.outbound.providers.gemini_messages import signed
from infermesh_router.domain.answer import broken
from infermesh_router.domain.request import JsonObject

_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
        ),
        "content_filter",
    ),
}
"""Others are passed on as they are; an answer that ends for one is not cached."""

_FAILED = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
"""Reasons of answers that are none: the API could not read what the model wrote."""

_NOT_YET = "FINISH_REASON_UNSPECIFIED"


@dataclass(slots=True)
class Piece:
    """What a candidate says in one response.

    Attributes:
        text: of the answer.
        reasoning: thoughts to read.
        calls: of tools, in OpenAI's form.
        logprobs: of its tokens, in OpenAI's form.
        signature: of the thought behind a text; it comes with the last piece.
        finish: why the candidate ends, in OpenAI's terms; None as long as it has not.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[JsonObject] = field(default_factory=list)
    logprobs: list[JsonObject] = field(default_factory=list)
    signature: str = ""
    finish: str | None = None

    def fields(self) -> dict[str, object]:
        """What is there of text, thoughts and signature, as fields of a message or a delta."""
        named = {"content": self.text, "reasoning_content": self.reasoning}
        return {name: text for name, text in named.items() if text} | signed(self.signature)


class Candidate:
    """Reads a candidate.

    Args:
        answer_id: of the answer it belongs to.
        index: its number there.

    Attributes:
        calls: how many calls of tools it has made.
    """

    def __init__(self, answer_id: str, index: int) -> None:
        self._name = f"{answer_id}:{index}"
        self._signature = ""
        self.calls = 0

    def read(self, value: JsonObject) -> Piece:
        """What the next response says of it.

        Raises:
            Unavailable: PROVIDER_STREAM_BROKEN, it is no candidate; PROVIDER_FAILED, it is a
                failure's.
        """
        piece = Piece(logprobs=_logprobs(value.get("logprobsResult")))
        content = value.get("content") or {}
        parts = content.get("parts") or [] if isinstance(content, dict) else None
        if not isinstance(parts, list):
            raise broken("the content of a candidate is not a list of parts")
        for part in parts:
            if not isinstance(part, dict):
                raise broken("a part of a candidate is not an object")
            self._take(part, piece)
        piece.finish = self._finish(value)
        if piece.finish is not None:
            # One for the whole text: pieces of a stream would be joined.
            piece.signature = self._signature
        return piece

    def _take(self, part: JsonObject, piece: Piece) -> None:
        """Adds a part; what tools of the API's own do, which cannot be asked for, is left out."""
        signature = part.get("thoughtSignature")
        if isinstance(call := part.get("functionCall"), dict):
            piece.calls.append(self._call(call) | signed(signature))
            return
        if "text" not in part:
            return
        text = part["text"]
        if not isinstance(text, str):
            raise broken("the text of a part is none")
        if part.get("thought"):
            piece.reasoning += text
            return
        piece.text += text
        if isinstance(signature, str) and signature:
            self._signature = signature

    def _call(self, call: JsonObject) -> dict[str, object]:
        name, arguments, given = call.get("name"), call.get("args") or {}, call.get("id")
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise broken("a call of a tool has no name, or arguments that are none")
        made = hashlib.sha256(f"{self._name}:{self.calls}".encode()).hexdigest()[:24]
        self.calls += 1
        return {
            "id": given if isinstance(given, str) and given else f"call_{made}",
            "type": "function",
            "function": {"name": name, "arguments": orjson.dumps(arguments).decode()},
        }

    def _finish(self, value: JsonObject) -> str | None:
        reason = value.get("finishReason")
        if reason is None or reason == _NOT_YET:
            return None
        if not isinstance(reason, str):
            raise broken("the reason why a candidate ends is not a text")
        if reason in _FAILED:
            raise reported({"message": value.get("finishMessage") or reason, "code": reason})
        if reason == "STOP" and self.calls:
            return "tool_calls"
        return _FINISH.get(reason, reason)


def _logprobs(result: object) -> list[JsonObject]:
    """Log probabilities in OpenAI's form. What is not as it should be is left out."""
    chosen = result.get("chosenCandidates") if isinstance(result, dict) else None
    if not isinstance(chosen, list):
        return []
    assert isinstance(result, dict)
    top = result.get("topCandidates")
    others = top if isinstance(top, list) else []
    return [
        {**_token(token), "top_logprobs": _tokens(others[place] if place < len(others) else None)}
        for place, token in enumerate(chosen)
    ]


def _tokens(step: object) -> list[JsonObject]:
    found = step.get("candidates") if isinstance(step, dict) else None
    return [_token(token) for token in found] if isinstance(found, list) else []


def _token(token: object) -> JsonObject:
    said = token.get("token") if isinstance(token, dict) else None
    logprob = token.get("logProbability") if isinstance(token, dict) else None
    text = said if isinstance(said, str) else ""
    # Left out where it is 0.
    number = logprob if isinstance(logprob, (int, float)) else 0.0
    return {"token": text, "logprob": number, "bytes": list(text.encode("utf-8", "replace"))}

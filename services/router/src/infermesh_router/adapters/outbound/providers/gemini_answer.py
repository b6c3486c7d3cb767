"""Answers in Gemini's form. Source: Gemini API reference, "GenerateContentResponse"."""

import time
import uuid

from infermesh_router.adapters.outbound.providers.errors import reported
from infermesh_router.adapters.outbound.providers.gemini_candidate import Candidate, Piece
from infermesh_router.domain.answer import Answer, Payload, broken
from infermesh_router.domain.request import JsonObject

_FIELDS = frozenset(
    {"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "createTime"}
)


def read_answer(data: bytes) -> Answer:
    """A response as a chat completion.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is none; PROVIDER_FAILED, it reports an error.
    """
    value = Payload(data).value
    begun = head(value)
    choices = [
        _choice(index, Candidate(str(begun["id"]), index).read(candidate))
        for index, candidate in candidates_of(value)
    ]
    if not choices and not is_blocked(value):
        raise broken("the provider's answer has no candidates")
    return Answer(
        value={
            **begun,
            "object": "chat.completion",
            "choices": choices or [_choice(0, Piece(finish="content_filter"))],
            "usage": usage_of(value),
        }
    )


def candidates_of(value: JsonObject) -> list[tuple[int, JsonObject]]:
    """The candidates of a response, or of a piece of one, with their numbers.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is none; PROVIDER_FAILED, it reports an error.
    """
    if value.get("error"):
        raise reported(value)
    if not _FIELDS & value.keys():
        raise broken("the provider's answer is not a response")
    candidates = value.get("candidates") or []
    if not isinstance(candidates, list):
        raise broken("the candidates are not a list")
    return [(_index(candidate), candidate) for candidate in candidates]


def is_blocked(value: JsonObject) -> bool:
    """Whether the prompt has been refused. There is no candidate then."""
    feedback = value.get("promptFeedback")
    return isinstance(feedback, dict) and bool(feedback.get("blockReason"))


def head(value: JsonObject) -> dict[str, object]:
    """What an answer and its chunks begin with."""
    given = value.get("responseId")
    return {
        "id": given if isinstance(given, str) and given else f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": value.get("modelVersion"),
    }


def usage_of(value: JsonObject) -> JsonObject | None:
    """Usage in OpenAI's form; None when there is none.

    The total is that of prompt, results of tools, candidates and thoughts. Some versions of the
    API count the thoughts among the candidates, so what is not input is output.
    """
    usage = value.get("usageMetadata")
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    said, thoughts = _count(usage, "candidatesTokenCount"), _count(usage, "thoughtsTokenCount")
    completion = _count(usage, "totalTokenCount") - prompt
    if completion < max(said, thoughts):
        completion = said + thoughts
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": min(_count(usage, "cachedContentTokenCount"), prompt)
        },
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }


def _count(values: JsonObject, name: str) -> int:
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _index(candidate: object) -> int:
    # Left out where it is 0.
    index = candidate.get("index") or 0 if isinstance(candidate, dict) else None
    if not isinstance(index, int):
        raise broken("a candidate is not an object with a number")
    return index


def _choice(index: int, piece: Piece) -> JsonObject:
    if piece.finish is None:
        raise broken("the provider's answer has not ended")
    message = {"role": "assistant", "content": None, **piece.fields()}
    if piece.calls:
        message["tool_calls"] = piece.calls
    logprobs = {"logprobs": {"content": piece.logprobs}} if piece.logprobs else {}
    return {"index": index, "message": message, **logprobs, "finish_reason": piece.finish}

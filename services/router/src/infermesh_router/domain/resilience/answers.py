"""What counts as an answer, and as the beginning of one: until then another model may be asked."""

from infermesh_router.domain.answer import Answer, Chunk, broken
from infermesh_router.domain.request import Surface

_LISTS = {Surface.CHAT: "choices", Surface.EMBEDDINGS: "data"}


def check_answer(surface: Surface, answer: Answer) -> None:
    """Whether a provider that reports success has answered.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it has not; some report errors with status 200.
    """
    value = answer.value
    if value.get("error") is not None:
        raise broken("the provider reported an error as its answer")
    items = value.get(_LISTS[surface])
    if not isinstance(items, list) or not items:
        raise broken(f"the provider's answer has no {_LISTS[surface]}")


def begins(chunk: Chunk) -> bool:
    """Whether `chunk` is the first that a client has something of: text, a call of a tool,
    reasoning, a refusal or the reason of the end. Others hold a role, an empty text or nothing.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is not a chunk of an answer.
    """
    value = chunk.value
    if value.get("error") is not None:
        raise broken("the provider reported an error in its stream")
    choices = value.get("choices")
    if not isinstance(choices, list):
        raise broken("a chunk has no list of choices")
    return any(_has_content(choice) for choice in choices)


def _has_content(choice: object) -> bool:
    delta = choice.get("delta") or {} if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(delta, dict):
        raise broken("a choice is not an object with a delta")
    if choice.get("finish_reason"):
        return True
    return any(value and name != "role" for name, value in delta.items())

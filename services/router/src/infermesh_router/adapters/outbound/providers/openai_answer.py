"""Answers of OpenAI's family of servers, made alike where they differ.

What is as OpenAI sends it keeps its bytes; only the odd ones are written anew.
"""

from infermesh_router.adapters.outbound.providers.errors import reported
from infermesh_router.domain.answer import Answer, Chunk, broken
from infermesh_router.domain.request import JsonObject, Surface

_FINISH = {
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "model_length": "length",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}
"""Reasons that mean one of OpenAI's: Together's, TGI's, Mistral's, and Anthropic's where a proxy
lets them through. Others are passed on as they are; an answer that ends for one is not cached."""

_FAILED = frozenset({"error", "abort"})
"""Reasons of answers that are none: OpenRouter's and Mistral's, vLLM's."""


def read_answer(surface: Surface, answer: Answer) -> Answer:
    """The whole answer of a server.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is none; PROVIDER_FAILED, it reports an error.
    """
    value = answer.value
    _check_error(value)
    choices = value.get("choices")
    if surface is not Surface.CHAT or not isinstance(choices, list):
        return answer
    read = [_choice(choice, "message") for choice in choices]
    if all(new is old for new, old in zip(read, choices)):
        return answer
    return Answer(value={**value, "choices": read})


class ChunkReader:
    """Reads the chunks of one stream."""

    def __init__(self) -> None:
        self._latest_calls: dict[object, int] = {}

    def read(self, chunk: Chunk) -> Chunk:
        """The chunk that a server has sent.

        Raises:
            Unavailable: PROVIDER_STREAM_BROKEN, it is none; PROVIDER_FAILED, it reports an error.
        """
        value = chunk.value
        _check_error(value)
        choices = value.get("choices")
        if choices is None and isinstance(value.get("usage"), dict):
            return Chunk(value={**value, "choices": []})
        if not isinstance(choices, list):
            raise broken("a chunk has no list of choices")
        read = [self._numbered(_choice(choice, "delta")) for choice in choices]
        if all(new is old for new, old in zip(read, choices)):
            return chunk
        return Chunk(value={**value, "choices": read})

    def _numbered(self, choice: JsonObject) -> JsonObject:
        """With an index for each call of a tool: some servers leave it out. A call that has an id
        is a new one then, any other piece belongs to the latest."""
        delta = choice.get("delta")
        calls = delta.get("tool_calls") if isinstance(delta, dict) else None
        if not calls:
            return choice
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise broken("the calls of tools are not a list of objects")
        read = [self._with_index(choice.get("index"), call) for call in calls]
        if all(new is old for new, old in zip(read, calls)):
            return choice
        assert isinstance(delta, dict)
        return {**choice, "delta": {**delta, "tool_calls": read}}

    def _with_index(self, choice: object, call: dict[str, object]) -> dict[str, object]:
        index = call.get("index")
        if isinstance(index, int):
            self._latest_calls[choice] = index
            return call
        latest = self._latest_calls.get(choice, -1)
        if call.get("id") or latest < 0:
            latest += 1
        self._latest_calls[choice] = latest
        return {**call, "index": latest}


def _check_error(value: JsonObject) -> None:
    if value.get("error"):
        raise reported(value)
    if value.get("object") == "error":
        raise reported(value)


def _choice(choice: object, name: str) -> JsonObject:
    """A choice whose message or delta, whichever `name` says, is in OpenAI's form."""
    if not isinstance(choice, dict):
        raise broken("a choice is not an object")
    message = choice.get(name)
    if not isinstance(message, dict):
        if message is not None:
            raise broken(f"the {name} of a choice is not an object")
        message = {}
    if not isinstance(choice.get("index", 0), int):
        raise broken("the index of a choice is not a number")
    finish = choice.get("finish_reason")
    if finish is not None and not isinstance(finish, str):
        raise broken("the reason why a choice ends is not a text")
    if finish in _FAILED:
        raise reported(choice)
    read = _message(message)
    if read is not message:
        choice = {**choice, name: read}
    if finish in _FINISH:
        choice = {**choice, "finish_reason": _FINISH[finish]}
    return choice


def _message(message: dict[str, object]) -> dict[str, object]:
    """With thoughts in `reasoning_content` and the text in one string."""
    if "reasoning" in message and message.get("reasoning_content") is None:
        message = {**message, "reasoning_content": message["reasoning"]}
        del message["reasoning"]
    content = message.get("content")
    if isinstance(content, list):
        message = {**message, "content": _texts(content, "text")}
        if thoughts := _texts(content, "thinking"):
            message["reasoning_content"] = thoughts
    return message


def _texts(parts: list[object], kind: str) -> str:
    """Texts of one kind out of Mistral's parts: {"type": "text", "text": "..."}, or
    {"type": "thinking", "thinking": [<texts>]}."""
    found: list[str] = []
    for part in parts:
        if isinstance(part, dict) and part.get("type") == kind:
            inner = part.get(kind)
            if isinstance(inner, list):
                inner = _texts(inner, "text")
            if isinstance(inner, str):
                found.append(inner)
    return "".join(found)

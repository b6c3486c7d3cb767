"""Chat completions as a stream: out of chunks into a body, and out of a body into chunks.

Source: OpenAI API reference, "chat.completion.chunk". Deltas are merged as OpenAI's own SDKs do:
text is appended, indexed lists are merged by index, other lists are extended, anything else is
replaced.
"""

from collections.abc import Iterator

from infermesh_router.domain.answer import Chunk
from infermesh_router.domain.request import JsonObject

# Identifiers and kinds are repeated in some providers' deltas, never continued.
_NOT_APPENDED = frozenset({"id", "type", "role", "index"})


class UnmergeableStream(Exception):
    """The chunks do not make up one answer."""


def _merge(into: dict[str, object], delta: JsonObject) -> None:
    for name, value in delta.items():
        old = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif old is None:
            into[name] = _own(value)
        elif isinstance(old, str) and isinstance(value, str) and name not in _NOT_APPENDED:
            into[name] = old + value
        elif isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            into[name] = _indexed(old, value)
        else:
            into[name] = value


def _own(value: object) -> object:
    """`value` in containers that later chunks may be merged into: its chunk still has to be
    written."""
    if isinstance(value, list):
        return _indexed(None, value)
    if isinstance(value, dict):
        copy: dict[str, object] = {}
        _merge(copy, value)
        return copy
    return value


def _indexed(old: list[object] | None, new: list[object]) -> list[object]:
    """`new` merged into `old`: by "index" where the items have one, appended where not."""
    merged = old if old is not None else []
    by_index = {
        item["index"]: item for item in merged if isinstance(item, dict) and "index" in item
    }
    for item in new:
        if not isinstance(item, dict) or "index" not in item:
            merged.append(item)
        elif item["index"] in by_index:
            _merge(by_index[item["index"]], item)
        else:
            copy: dict[str, object] = {}
            _merge(copy, item)
            by_index[item["index"]] = copy
            merged.append(copy)
    return merged


class ChatStreamAssembler:
    """Builds the body that the chunks of one stream amount to."""

    def __init__(self) -> None:
        self._top: dict[str, object] = {}
        self._choices: dict[int, dict[str, object]] = {}
        self.usage_seen = False

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return bool(self._choices) and all(
            choice.get("finish_reason") for choice in self._choices.values()
        )

    def add(self, chunk: JsonObject) -> None:
        """Takes the next chunk in.

        Raises:
            UnmergeableStream: it is not a chunk of a chat completion.
        """
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise UnmergeableStream("a chunk has no list of choices")
        for name, value in chunk.items():
            if name != "choices" and value is not None:
                self._top[name] = value
        self.usage_seen = self.usage_seen or isinstance(chunk.get("usage"), dict)
        for part in choices:
            if not isinstance(part, dict) or not isinstance(part.get("delta", {}), dict):
                raise UnmergeableStream("a choice is not an object with a delta")
            self._add_choice(part)

    def _add_choice(self, part: JsonObject) -> None:
        index = part.get("index", 0)
        if not isinstance(index, int):
            raise UnmergeableStream("the index of a choice is not a number")
        choice = self._choices.setdefault(index, {"index": index, "message": {}})
        rest = {name: value for name, value in part.items() if name not in ("index", "delta")}
        finish_reason = rest.pop("finish_reason", None)
        _merge(choice, rest)
        choice["finish_reason"] = finish_reason or choice.get("finish_reason")
        message, delta = choice["message"], part.get("delta") or {}
        assert isinstance(message, dict) and isinstance(delta, dict)
        _merge(message, delta)

    def body(self) -> dict[str, object]:
        """The chat completion so far."""
        choices = []
        for _, choice in sorted(self._choices.items()):
            message = choice["message"]
            assert isinstance(message, dict)
            choices.append(
                {
                    **choice,
                    "message": {
                        "role": "assistant",
                        "content": None,
                        **{name: _without_index(value) for name, value in message.items()},
                    },
                }
            )
        return {**self._top, "object": "chat.completion", "choices": choices}


def _without_index(value: object) -> object:
    """Tool calls carry an index in deltas and none in a body."""
    if not isinstance(value, list):
        return value
    return [
        {k: v for k, v in item.items() if k != "index"} if isinstance(item, dict) else item
        for item in value
    ]


def replay(body: JsonObject) -> Iterator[Chunk]:
    """A stored body as a stream, the usage at its end."""
    head = {
        name: value
        for name, value in body.items()
        if name not in ("object", "choices", "usage") and value is not None
    }
    head["object"] = "chat.completion.chunk"
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        yield from _replay_choice(choice, head)
    if isinstance(body.get("usage"), dict):
        yield Chunk(value={**head, "choices": [], "usage": body["usage"]})


def _replay_choice(choice: JsonObject, head: JsonObject) -> Iterator[Chunk]:
    message = choice.get("message")
    message = dict(message) if isinstance(message, dict) else {}
    extra = {
        name: value
        for name, value in choice.items()
        if name not in ("index", "message", "finish_reason") and value is not None
    }
    index = choice.get("index", 0)

    def part(delta: JsonObject, finish_reason: object = None, **more: object) -> Chunk:
        item = {"index": index, "delta": delta, **more, "finish_reason": finish_reason}
        return Chunk(value={**head, "choices": [item]})

    yield part({"role": message.pop("role", "assistant"), "content": ""})
    tool_calls = message.pop("tool_calls", None)
    delta = {name: value for name, value in message.items() if value is not None}
    if delta or extra:
        yield part(delta, **extra)
    for number, call in enumerate(tool_calls if isinstance(tool_calls, list) else ()):
        yield part({"tool_calls": [{"index": number, **call}]})
    yield part({}, choice.get("finish_reason"))

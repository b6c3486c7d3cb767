"""A chat request taken apart: the turn that is asked, the turns before it, and the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infermesh_common.fingerprint import DELIVERY_FIELDS

_INSTRUCTIONS = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Turn:
    """A message that is no instruction.

    Attributes:
        role: who says it.
        text: of its text parts, one after another.
        rest: whatever else it holds: images, tool calls, names.
    """

    role: str
    text: str
    rest: object


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request by what its parts are for.

    Attributes:
        asked: the last turn.
        history: the turns before it, in order.
        instructions: system and developer messages, in order.
        options: every other field: tools, response format, sampling parameters, unknown ones.
    """

    asked: Turn
    history: tuple[Turn, ...]
    instructions: tuple[Mapping[str, object], ...]
    options: Mapping[str, object]


def read_conversation(body: Mapping[str, object]) -> Conversation | None:
    """The parts of an OpenAI chat request; None when its last message is not a user's text.

    Instructions after the first turn stay where they are, as turns: they may concern what comes
    after them only.
    """
    messages = body.get("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)) or not messages:
        return None
    instructions: list[Mapping[str, object]] = []
    turns: list[Turn] = []
    for message in messages:
        if not isinstance(message, Mapping):
            return None
        if not turns and message.get("role") in _INSTRUCTIONS:
            instructions.append(message)
            continue
        turn = _turn(message)
        if turn is None:
            return None
        turns.append(turn)
    if not turns or turns[-1].role != "user":
        return None
    options = {
        name: value
        for name, value in body.items()
        if name != "messages" and name not in DELIVERY_FIELDS
    }
    return Conversation(turns[-1], tuple(turns[:-1]), tuple(instructions), options)


def _turn(message: Mapping[str, object]) -> Turn | None:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        return None
    others = {name: value for name, value in message.items() if name not in ("role", "content")}
    if content is None or isinstance(content, str):
        return Turn(role, content or "", others or None)
    if not isinstance(content, Sequence):
        return None
    texts: list[str] = []
    rest: list[object] = [others] if others else []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else None
        if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(text, str):
            texts.append(text)
        else:
            # Its place among the texts counts.
            rest.append([len(texts), part])
    return Turn(role, "\n".join(texts), rest or None)

"""ContextualEmbeddingEngine of the roadmap: a request in its context, ready to be compared.

Two requests may have one answer only when the exact parts of their keys are equal; whether they do
is then asked of the soft parts. A turn that leans on the turns before it has all of them in its
exact part: the same words after another history are another question. The soft part stays the
turn alone: with the history before it, any two turns of one conversation would look alike.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from infermesh_cache.domain.context.constraints import constraints_of, is_overlong
from infermesh_cache.domain.context.language import language_of
from infermesh_cache.domain.context.leaning import why_leaning
from infermesh_cache.domain.context.request import Conversation, Turn, read_conversation

_VERSION = "infermesh-context-1"
"""Raise it with any change of what the exact part holds."""
_NOT_WORDS = re.compile(r"[\W_]+")

LEANING = "leaning"
OVERLONG = "overlong"
ATTACHED = "attached"
FIRST_TURN = "first_turn"


@dataclass(frozen=True, slots=True)
class ContextualKey:
    """A request as the semantic tier knows it.

    Attributes:
        context: hexadecimal SHA-256 of the exact part; `VectorRecord.context`.
        text: soft part, to be embedded; `VectorRecord.text`.
        flags: for explanations: `first_turn`, `leaning` and `leaning:<why>`, `overlong` (the whole
            text is in the exact part), `attached` (so are images and the like).
        language: or script, of the soft part.
    """

    context: str
    text: str
    flags: frozenset[str]
    language: str

    @property
    def leans(self) -> bool:
        """Whether the turns before must be the same."""
        return LEANING in self.flags


class ContextualEmbeddingEngine:
    """Takes requests apart. Pure: what it returns is embedded by an `EmbeddingEngine`.

    Whether a turn leans is seen in its words, and some turns do not show it: "What is the role of
    melatonin?" in a talk about winter depression. Where that is too much of a risk, every turn can
    be bound to its history.

    Args:
        bind_every_history: every turn but the first of a conversation counts as leaning.
    """

    def __init__(self, *, bind_every_history: bool = False) -> None:
        self._bind_every_history = bind_every_history

    def key(
        self,
        tenant: str,
        body: Mapping[str, object],
        *,
        protocol: str,
        models: Sequence[str],
        epoch: int,
    ) -> ContextualKey | None:
        """The key of a chat request; None when it has none and must not be looked up.

        That is the case without messages, when the last one is not a user's text (an answer to a
        tool call), when it is blank, and when the body holds what JSON does not.

        Args:
            tenant: whose request it is.
            body: in the form of an OpenAI chat completion request.
            protocol: surface the answer is a body of, for example "openai.chat".
            models: Model resources whose answer the caller accepts; order does not matter.
            epoch: the policy's cache epoch.
        """
        conversation = read_conversation(body)
        if conversation is None or not conversation.asked.text.strip():
            return None
        text = " ".join(conversation.asked.text.split())
        language = language_of(text)
        flags, bound = self._bound(conversation, text)
        exact = {
            "version": _VERSION,
            "tenant": tenant,
            "protocol": protocol,
            "models": sorted(set(models)),
            "epoch": epoch,
            "instructions": conversation.instructions,
            "options": conversation.options,
            "language": language,
            **bound,
        }
        try:
            canonical = orjson.dumps(exact, option=orjson.OPT_SORT_KEYS)
        except TypeError:  # orjson.JSONEncodeError: too deep, a lone surrogate, no JSON
            return None
        return ContextualKey(hashlib.sha256(canonical).hexdigest(), text, flags, language)

    def _bound(
        self, conversation: Conversation, text: str
    ) -> tuple[frozenset[str], dict[str, object]]:
        """What is said of the last turn, and what of it and of the history must be equal."""
        flags: set[str] = set()
        bound: dict[str, object] = {}
        asked = conversation.asked
        overlong = is_overlong(text)
        if overlong:
            # The end of it is not in the vector. Nothing else of it needs to be looked at.
            flags.add(OVERLONG)
            bound["whole"] = hashlib.sha256(asked.text.encode("utf-8", "replace")).hexdigest()
        else:
            bound["constraints"] = constraints_of(asked.text)
        if asked.rest is not None:
            flags.add(ATTACHED)
            bound["attached"] = asked.rest
        if not conversation.history:
            flags.add(FIRST_TURN)
            return frozenset(flags), bound
        why = "always" if self._bind_every_history else why_leaning(asked.text)
        if ATTACHED in flags:
            why = ATTACHED
        if why is not None:
            flags.update((LEANING, f"{LEANING}:{why.partition(':')[0]}"))
            bound["history"] = [_normalised(turn) for turn in conversation.history]
        return frozenset(flags), bound


def _normalised(turn: Turn) -> list[object]:
    """A turn without what does not change it: case, punctuation and white space of what a user
    says. What a model or a tool said counts as it is."""
    if turn.role != "user":
        return [turn.role, turn.text, turn.rest]
    words = _NOT_WORDS.sub(" ", turn.text).casefold().strip()
    if is_overlong(turn.text) or any(constraints_of(turn.text)):
        # Signs count in code and numbers.
        words = turn.text
    return [turn.role, words, turn.rest]

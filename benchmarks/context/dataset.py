"""TREC CAsT: conversational questions as they were asked, and as people resolved them.

Every year has a form of its own; read are all of them that hold both: JSON topics whose turns have
`manual_rewritten_utterance`, and JSON topics beside a table `<topic>_<turn> TAB <resolved>`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """A turn of a conversation.

    Attributes:
        topic: names its conversation, across files.
        history: what was said before it in its conversation, in order, as messages.
        raw: as it was asked.
        resolved: so that it can be understood alone.
    """

    topic: str
    history: tuple[Mapping[str, str], ...]
    raw: str
    resolved: str

    @property
    def stands_alone(self) -> bool:
        """Whether those who resolved it changed nothing but case and punctuation."""
        return normalised(self.raw) == normalised(self.resolved)


def normalised(text: str) -> str:
    """A text without case, punctuation and white space at its ends."""
    return _NOT_WORDS.sub(" ", text.casefold()).strip()


def read_conversations(folder: Path) -> list[Asked]:
    """All resolved turns of a folder, a topic of one year from one file only.

    Raises:
        FileNotFoundError: the folder has none.
    """
    turns: list[Asked] = []
    seen: set[str] = set()
    tables = {path: _table(path) for path in sorted(folder.rglob("*.tsv"))}
    for path in sorted(folder.rglob("*.json")):
        year = path.relative_to(folder).parts[0]
        resolved = {
            key: text
            for table, rows in tables.items()
            if table.parent == path.parent
            for key, text in rows.items()
        }
        for topic in json.loads(path.read_text("utf-8")):
            name = f"{year}/{topic['number']}"
            asked = list(_topic(name, topic["turn"], str(topic["number"]), resolved))
            if asked and name not in seen:
                seen.add(name)
                turns.extend(asked)
    if not turns:
        raise FileNotFoundError(f"{folder} holds no resolved turns")
    return turns


def _table(path: Path) -> dict[str, str]:
    rows = (line.split("\t") for line in path.read_text("utf-8").splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _topic(
    name: str, turns: Sequence[Mapping[str, object]], number: str, table: Mapping[str, str]
) -> Iterator[Asked]:
    history: list[Mapping[str, str]] = []
    for turn in turns:
        raw = turn.get("raw_utterance") or turn.get("utterance")
        if not isinstance(raw, str) or turn.get("participant") == "System":
            continue
        raw = raw.strip()
        resolved = turn.get("manual_rewritten_utterance") or table.get(f"{number}_{turn['number']}")
        if isinstance(resolved, str) and raw:
            yield Asked(name, tuple(history), raw, resolved.strip())
        history.append({"role": "user", "content": raw})
        answer = turn.get("passage") or turn.get("response")
        if isinstance(answer, str):
            history.append({"role": "assistant", "content": answer})

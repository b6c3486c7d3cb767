"""Who is measured, what for, and how an answer is known to be right."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from benchmarks.target import Reply, Target


class Reaches(Enum):
    """Which requests reach the upstream."""

    NEVER = "never"
    EACH = "each"


@dataclass(frozen=True)
class Contender:
    """One way of asking one gateway.

    Attributes:
        name: its figures begin with it.
        target: what is asked.
        reaches: which of its requests the upstream must see; with EACH every question is new.
        median: its median latency at one connection is a figure.
        tail: its 99th percentile at half of saturation is a figure.
    """

    name: str
    target: Target
    reaches: Reaches
    median: bool = False
    tail: bool = False

    @property
    def unique(self) -> bool:
        """Whether every question is new."""
        return self.reaches is Reaches.EACH

    def figures(self) -> list[str]:
        """Names of what is measured of it."""
        names = [f"{self.name}_rps"]
        if self.median:
            names.append(f"{self.name}_p50_ms")
        if self.tail:
            names.append(f"{self.name}_p99_ms")
        return names


def content(reply: Reply, *, stream: bool) -> str:
    """The text of a chat completion.

    Raises:
        ValueError: it is none, or a stream that does not end as it must.
    """
    text = reply.body.decode()
    if not stream:
        return _text_of(json.loads(text), "message")
    events = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    if not events or events[-1] != "[DONE]":
        raise ValueError(f"the stream does not end with [DONE]: {text[-200:]!r}")
    return "".join(_text_of(json.loads(event), "delta") for event in events[:-1])


def _text_of(document: object, part: str) -> str:
    if not isinstance(document, Mapping) or not isinstance(document.get("choices"), list):
        raise ValueError(f"not a chat completion: {document!r:.200}")
    # The last piece of a stream holds the usage and no choice.
    texts = [choice[part].get("content") or "" for choice in document["choices"]]
    return "".join(texts)

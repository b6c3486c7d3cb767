"""What the log of a container says about its end, or about why it is not ready."""

import json
from collections.abc import Iterator

from infermesh.cli.kube_doctor.fields import Fields
from infermesh.cli.output import printable

_LONGEST = 300


def last_line(log: str) -> str:
    """The last line in words: of a JSON line its event and error."""
    lines = [line for line in log.splitlines() if line.strip()]
    return short(_in_words(lines[-1])) if lines else ""


def plain_sentence(log: str) -> str:
    """The last line that is no JSON: the services say so what is wrong with their settings."""
    plain = (x for x in reversed(log.splitlines()) if x.strip() and not x.lstrip().startswith("{"))
    return short(next(plain, ""))


def failing_dependencies(log: str) -> tuple[str, ...]:
    """What the service last found failing when it checked its health, each once."""
    found: dict[str, None] = {}
    for entry in _entries(log):
        if entry.text("event") == "health_check_failed" and entry.text("dependency"):
            found[entry.text("dependency")] = None
    return tuple(found)


def short(text: str) -> str:
    """One line, safe for a terminal, of bounded length."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _entries(log: str) -> Iterator[Fields]:
    for line in log.splitlines():
        try:
            yield Fields(json.loads(line))
        except ValueError:
            continue


def _in_words(line: str) -> str:
    entry = next(_entries(line), Fields(None))
    parts = (entry.text("event"), entry.text("error"), entry.text("reason"))
    return ": ".join(part for part in parts if part) or line

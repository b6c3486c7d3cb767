"""Stands in for commands in unit tests of this package."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from tests.cluster.commands import CommandFailed


class Commands:
    """A runner that knows what to answer to commands with certain words in them."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.given: list[str] = []
        self.environments: list[Mapping[str, str]] = []
        self._answers: list[tuple[str, Callable[[], str]]] = []

    def answer(self, words: str, with_what: str | Mapping[str, object] | CommandFailed) -> None:
        """Answers commands in which `words` occur; the newest answer counts."""

        def reply() -> str:
            if isinstance(with_what, CommandFailed):
                raise with_what
            return with_what if isinstance(with_what, str) else json.dumps(with_what)

        self._answers.insert(0, (words, reply))

    def __call__(
        self,
        argv: Sequence[str],
        *,
        given: str | None = None,
        timeout_s: float = 60,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        line = " ".join(argv)
        self.run.append(line)
        self.given.append(given or "")
        self.environments.append(environment or {})
        for words, reply in self._answers:
            if words in line:
                return reply()
        return '{"items": []}' if line.endswith("-o json") else ""

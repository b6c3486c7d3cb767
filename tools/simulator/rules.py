"""Which rule of a script a request falls under."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from random import Random

from tools.simulator.faults import Fault
from tools.simulator.script import Choice, Rule, Script, When
from tools.simulator.wire import Ask

Header = Callable[[str], str]


class Chooser:
    """Takes some of those that come one after another.

    Args:
        choice: which.
        seed: of its own sequence of chances.
    """

    def __init__(self, choice: Choice, seed: str) -> None:
        self._choice = choice
        self._random = Random(seed)
        self._seen = 0

    def takes(self) -> bool:
        """Whether the next one is taken."""
        choice = self._choice
        self._seen += 1
        if choice.first is not None:
            return self._seen <= choice.first
        if choice.nth is not None:
            return self._seen in choice.nth
        if choice.every is not None:
            return self._seen % choice.every == 0
        if choice.probability is not None:
            return self._random.random() < choice.probability
        return True


class Rules:
    """A script's rules, counting from the start.

    Args:
        script: with them.
    """

    def __init__(self, script: Script) -> None:
        self._rules = [
            (rule, Chooser(rule.when, f"{script.seed}:{at}"))
            for at, rule in enumerate(script.rules)
        ]
        self._connections = script.connections
        if script.connections is not None:
            self._of_connections = Chooser(script.connections, f"{script.seed}:connections")

    def rule(self, wire: str, path: str, ask: Ask, header: Header) -> Rule | None:
        """The first whose conditions all hold; `header` is asked for values by lower-case name."""
        for rule, chooser in self._rules:
            if _holds(rule.when, wire, path, ask, header) and chooser.takes():
                return rule
        return None

    @property
    def any(self) -> bool:
        """Whether there is one at all."""
        return bool(self._rules)

    def connection(self) -> Fault | None:
        """What becomes of the next connection; None: it is served."""
        if self._connections is None or not self._of_connections.takes():
            return None
        return self._connections.fault


def _holds(when: When, wire: str, path: str, ask: Ask, header: Header) -> bool:
    return (
        (when.wire is None or when.wire == wire)
        and (when.path is None or when.path in path)
        and (when.model is None or fnmatchcase(ask.model, when.model))
        and (when.prompt is None or when.prompt in ask.prompt)
        and (when.stream is None or when.stream == ask.stream)
        and all(part in header(name.lower()) for name, part in when.header.items())
    )

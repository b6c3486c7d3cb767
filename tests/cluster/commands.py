"""Runs commands; one that fails says what it was and what it said."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol


class CommandFailed(RuntimeError):
    """A command ended with another status than 0, or not in time."""


class Runner(Protocol):
    """What runs a command."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        given: str | None = None,
        timeout_s: float = 60,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Returns what it wrote on standard output.

        Args:
            argv: the command.
            given: text for its standard input.
            timeout_s: after which it is killed.
            environment: all of its variables; None: those of this process.

        Raises:
            CommandFailed: see there.
        """


def run_command(
    argv: Sequence[str],
    *,
    given: str | None = None,
    timeout_s: float = 60,
    environment: Mapping[str, str] | None = None,
) -> str:
    """A `Runner`."""
    try:
        done = subprocess.run(
            argv,
            input=given if given is not None else "",
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(argv)}: not done after {timeout_s} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise CommandFailed(f"{' '.join(argv)}: status {done.returncode}: {said}")
    return done.stdout

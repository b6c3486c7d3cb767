"""Exit codes, and how a failure becomes one sentence and one of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from infermesh.errors import (
    AuthenticationError,
    DeadlineExceededError,
    InfermeshError,
    InvalidRequestError,
    PermissionDeniedError,
    UnavailableError,
)

OTHER = 1
USAGE = 2
AUTH = 3
UNAVAILABLE = 4


def fail(sentence: str, code: int) -> NoReturn:
    """Ends the command with one sentence on stderr."""
    print(f"Error: {' '.join(sentence.split())}", file=sys.stderr)
    raise typer.Exit(code)


def exit_code(error: InfermeshError) -> int:
    """The exit code of a failed call."""
    match error:
        case InvalidRequestError():
            return USAGE
        case AuthenticationError() | PermissionDeniedError():
            return AUTH
        case UnavailableError() | DeadlineExceededError():
            return UNAVAILABLE
        case _:
            return OTHER


def sentence_of(error: InfermeshError, address: str) -> str:
    """What to tell a person about a failed call.

    Args:
        error: what the SDK raised.
        address: the mesh that was asked.
    """
    sentence = error.message
    if isinstance(error, UnavailableError) and error.reason == "UNAVAILABLE":
        # gRPC's own: it never got as far as the mesh.
        sentence = f"The mesh at {address} cannot be reached: {error.message}"
    if isinstance(error, DeadlineExceededError) and error.reason == "DEADLINE_EXCEEDED":
        sentence = f"The mesh at {address} did not answer in time; see --timeout."
    if error.retry_after_s is not None:
        sentence += f" Try again in {error.retry_after_s:g} s."
    facts = [error.reason]
    if error.request_id:
        facts.append(f"request {error.request_id}")
    return f"{sentence} ({', '.join(facts)})"


@contextmanager
def reported(address: str) -> Iterator[None]:
    """Ends the command with a sentence and a code when a call in the block fails."""
    try:
        yield
    except InfermeshError as error:
        fail(sentence_of(error, address), exit_code(error))

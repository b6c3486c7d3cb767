"""`infermesh chat`."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from infermesh.cli.connection import Access, connected
from infermesh.cli.exits import sentence_of
from infermesh.cli.inference import (
    Asking,
    MaxTokensOption,
    ModelOption,
    NoCacheOption,
    SystemOption,
    TagOption,
    TaskOption,
    TemperatureOption,
    conversation,
    print_summary,
    show,
)
from infermesh.errors import AuthenticationError, InfermeshError
from infermesh.inference import CacheControl, Message

if TYPE_CHECKING:
    from infermesh.client import Client

_HELP = "/reset forgets the conversation, /exit or Ctrl-D ends, Ctrl-C stops an answer."


class Conversation:
    """Turns so far, and the next one.

    Args:
        client: whom to ask.
        asking: how.
        system: system prompt; may be empty.
    """

    def __init__(self, client: "Client", asking: Asking, system: str) -> None:
        self._client = client
        self._asking = asking
        self._system = system
        self._turns = conversation(system, "")

    def reset(self) -> None:
        """Forgets everything but the system prompt."""
        self._turns = conversation(self._system, "")

    def answer(self, text: str) -> None:
        """Asks, and prints the answer as it comes. A turn without its answer is not kept.

        Raises:
            InfermeshError: there is no whole answer.
        """
        turns = [*self._turns, Message(role="user", content=text)]
        with self._asking.stream(self._client, turns) as stream:
            show(stream)
        self._turns = [*turns, stream.result.message]
        print_summary(stream.result)


def chat(
    context: typer.Context,
    message: Annotated[
        str, typer.Option("--message", "-m", help="Ask this, print the answer and end.")
    ] = "",
    model: ModelOption = "auto",
    task: TaskOption = "",
    system: SystemOption = "",
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    tag: TagOption = None,
    no_cache: NoCacheOption = False,
) -> None:
    """Talk to the mesh; after each answer: where it came from and what it cost."""
    asking = Asking(
        model=model,
        task=task,
        temperature=temperature,
        max_tokens=max_tokens,
        tags=tuple(tag or ()),
        cache=CacheControl(bypass=no_cache),
    )
    with connected(context, Access.TENANT) as client:
        talk = Conversation(client, asking, system)
        if message:
            talk.answer(message)
        elif sys.stdin.isatty():
            print(_HELP, file=sys.stderr)
            repl(talk, typed_lines(input), client.address)
        else:
            for line in filter(None, map(str.strip, sys.stdin)):
                talk.answer(line)


def repl(talk: Conversation, lines: Iterable[str], address: str) -> None:
    """Answers line by line. A turn that fails or is stopped by Ctrl-C does not end it.

    Args:
        talk: the conversation.
        lines: what the person types.
        address: of the mesh, for messages.

    Raises:
        AuthenticationError: no turn will do better.
    """
    for text in filter(None, map(str.strip, lines)):
        if text == "/exit":
            return
        if text == "/reset":
            talk.reset()
        elif text.startswith("/"):
            print(_HELP, file=sys.stderr)
        else:
            try:
                talk.answer(text)
            except AuthenticationError:
                raise
            except InfermeshError as error:
                print(f"Error: {sentence_of(error, address)}", file=sys.stderr)
            except KeyboardInterrupt:
                print("\n(stopped)", file=sys.stderr)


def typed_lines(read: Callable[[str], str]) -> Iterator[str]:
    """Lines of a person, until Ctrl-D.

    Args:
        read: shows a prompt and reads a line, as `input`.
    """
    # Being imported is what gives `input` editing and history; not every Python has it.
    with suppress(ImportError):
        import_module("readline")
    while True:
        try:
            yield read("you> ")
        except EOFError:
            print(file=sys.stderr)
            return

"""`infermesh infer`, and what `chat` shares with it."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from infermesh.cli.connection import Access, connected
from infermesh.cli.exits import USAGE, fail
from infermesh.cli.output import JsonOption, console, milliseconds, money, print_json, printable
from infermesh.inference import CacheControl, InferResult, JsonValue, Message, Tier

if TYPE_CHECKING:
    from infermesh.client import Client
    from infermesh.streams import InferStream

ModelOption = Annotated[str, typer.Option(help="A model, an alias, or auto for the policy.")]
TaskOption = Annotated[str, typer.Option(help="Kind of task, for quality floors by task.")]
SystemOption = Annotated[str, typer.Option(help="System prompt.")]
TemperatureOption = Annotated[float | None, typer.Option(min=0)]
MaxTokensOption = Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="Label for the ledger.")]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write caches.")]


@dataclass(frozen=True)
class Asking:
    """How to ask; the fields are the arguments of `Client.infer_stream`."""

    model: str = "auto"
    task: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cache: CacheControl = CacheControl()

    def stream(
        self,
        client: "Client",
        messages: list[Message],
        parameters: Mapping[str, JsonValue] | None = None,
    ) -> "InferStream":
        """Asks; the answer is streamed."""
        return client.infer_stream(
            messages=messages,
            model=self.model,
            task=self.task,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            seed=self.seed,
            stop=self.stop,
            tags=self.tags,
            cache=self.cache,
            extra_body=parameters,
        )


def infer(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin.")],
    model: ModelOption = "auto",
    task: TaskOption = "",
    system: SystemOption = "",
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: Annotated[int | None, typer.Option()] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends the answer.")] = None,
    tag: TagOption = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", help="Further field of OpenAI's chat request, as name=JSON."
        ),
    ] = None,
    no_cache: NoCacheOption = False,
    refresh: Annotated[bool, typer.Option(help="Ask the model, replace the entry.")] = False,
    only_if_cached: Annotated[bool, typer.Option(help="Answer from a cache or fail.")] = False,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep no answer.")] = False,
    max_age: Annotated[int | None, typer.Option(min=0, help="Oldest entry, in seconds.")] = None,
    ttl: Annotated[int | None, typer.Option(min=1, help="Keep the answer, in seconds.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask once. The answer goes to stdout as it is produced, what it cost to stderr."""
    asking = Asking(
        model=model,
        task=task,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        stop=tuple(stop or ()),
        tags=tuple(tag or ()),
        cache=CacheControl(
            bypass=no_cache,
            refresh=refresh,
            only_if_cached=only_if_cached,
            no_store=no_store,
            max_age_s=max_age,
            ttl_s=ttl,
        ),
    )
    messages = conversation(system, sys.stdin.read() if prompt == "-" else prompt)
    parameters = parameters_of(parameter or [])
    with connected(context, Access.TENANT) as client:
        stream = asking.stream(client, messages, parameters)
        if as_json:
            for _ in stream:
                pass
            print_json(stream.result)
            return
        show(stream)
    print_summary(stream.result)


def conversation(system: str, prompt: str) -> list[Message]:
    """A first turn after the system prompt, which may be empty."""
    turns = [Message(role="system", content=system)] if system else []
    if prompt:
        turns.append(Message(role="user", content=prompt))
    return turns


def show(stream: "InferStream") -> None:
    """Prints an answer to stdout as it comes; unchanged when stdout is not a terminal."""
    on_terminal = sys.stdout.isatty()
    shown = False
    try:
        for piece in stream:
            sys.stdout.write(printable(piece) if on_terminal else piece)
            sys.stdout.flush()
            shown = True
    finally:
        # Also of an answer that breaks off: the error has a line of its own.
        if shown:
            print(flush=True)
    for call in stream.result.message.tool_calls:
        line = f"{call.name}({call.arguments})"
        print(printable(line) if on_terminal else line, flush=True)


def print_summary(result: InferResult) -> None:
    """One line about an answer on stderr: where from, by which model, cost, saving, time."""
    console(stderr=True).print(summary(result), style="dim")


def summary(result: InferResult) -> str:
    """Tier, model, cost, saving and time of an answer, and how to learn more."""
    decision = result.decision
    source = "model" if decision.tier is Tier.NONE else f"{decision.tier} hit"
    facts = [
        source,
        decision.model or result.model,
        f"cost {money(decision.cost, decision.currency)}",
        f"saved {money(decision.saved, decision.currency)}",
        milliseconds(sum(stage.duration_ms for stage in decision.stages)),
        f"infermesh explain {decision.decision_id}",
    ]
    return printable(" · ".join(facts))


def parameters_of(given: list[str]) -> dict[str, JsonValue]:
    """Fields of a request given as name=JSON."""
    parsed: dict[str, JsonValue] = {}
    for each in given:
        name, separator, text = each.partition("=")
        try:
            parsed[name] = json.loads(text)
        except ValueError:
            separator = ""
        if not name or not separator:
            fail(f"--parameter {each} is not of the form name=JSON.", USAGE)
    return parsed

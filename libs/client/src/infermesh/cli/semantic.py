"""`infermesh cache explain` and `infermesh feedback`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infermesh.cli.connection import Access, connected
from infermesh.cli.exits import USAGE, fail
from infermesh.cli.inference import SystemOption, TaskOption, conversation, parameters_of
from infermesh.cli.output import JsonOption, console, moment, print_json, printable, table
from infermesh.inference import JsonValue, Message, SemanticMatch, SemanticVerdict
from infermesh.records import SemanticExplanation

if TYPE_CHECKING:
    from rich.table import Table

_LONGEST_TEXT = 60
_ANSWER_CHARS = 8


def explain_lookup(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="The question.")] = "",
    model: Annotated[
        list[str] | None, typer.Option(help="Model accepted; all that there are if not given.")
    ] = None,
    task: TaskOption = "",
    system: SystemOption = "",
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", help="Further field of OpenAI's chat request, as name=JSON."
        ),
    ] = None,
    request: Annotated[
        Path | None, typer.Option(help="File with a whole chat request, in place of a question.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What the semantic tier would make of a request, and why. Counts nothing.

    System prompt, parameters and models are part of what must be equal: give those that the
    application gives.
    """
    messages: list[Message | dict[str, JsonValue]]
    if request is not None:
        messages, parameters, named = _request(request)
    else:
        messages = [*conversation(system, prompt)]
        parameters, named = parameters_of(parameter or []), []
    if not messages:
        fail("Give a question, or a --request.", USAGE)
    with connected(context, Access.TENANT) as client:
        models = list(model or named or [each.name for each in client.models()])
        told = client.explain_lookup(messages, models=models, task=task, parameters=parameters)
    if as_json:
        print_json(told)
    else:
        _show(told)


def feedback(
    context: typer.Context,
    decision_id: Annotated[str, typer.Argument(help="The decision id of an answer.")],
    wrong: Annotated[bool, typer.Option("--wrong/--right", help="What the answer was.")],
) -> None:
    """Say whether an answer that the semantic tier served was right."""
    with connected(context, Access.TENANT) as client:
        retired = client.send_feedback(decision_id, right=not wrong)
    if not wrong:
        console().print("Noted: it was right.")
    elif retired:
        console().print("Noted: it was wrong. Its entry does not propose that answer any more.")
    else:
        console().print("Noted: it was wrong.")


def how_sure(match: SemanticMatch) -> str:
    """Similarity, probability and bound, as a continuation; empty without a proposal."""
    if match.verdict is SemanticVerdict.NONE:
        return ""
    sure = "" if match.probability is None else f", {match.probability:.2%} sure"
    return (
        f", similarity {match.similarity:.3f}{sure};"
        f" at most {match.error_bound:.2%} of requests wrong at {match.confidence:.0%} confidence,"
        f" {match.delta:.2%} permitted"
    )


def _request(
    file: Path,
) -> tuple[list[Message | dict[str, JsonValue]], dict[str, JsonValue], list[str]]:
    """Messages, further fields and the model of a request in a file."""
    try:
        body = json.loads(file.read_text("utf-8"))
        messages = body.pop("messages")
        model = body.pop("model", "")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        fail(f"{file} does not hold a chat request.", USAGE)
    for delivery in ("stream", "stream_options", "user", "safety_identifier", "prompt_cache_key"):
        body.pop(delivery, None)
    return messages, body, [model] if model and model != "auto" else []


def _show(told: SemanticExplanation) -> None:
    out, match, evidence = console(), told.match, told.evidence
    facts = table("lookup", match.verdict.value)
    for name, value in (
        ("why", told.explanation),
        ("reason", match.reason),
        ("question", told.text),
        ("similarity", f"{match.similarity:.4f}" if match.entry else ""),
        ("right with", "" if match.probability is None else f"{match.probability:.2%}"),
        ("served up to", f"{1 - told.price:.2%} and surer" if told.price else ""),
        (
            "bound",
            f"{match.error_bound:.3%} of requests at {match.confidence:.0%}"
            f" confidence; {match.delta:.2%} permitted",
        ),
        ("category", match.category),
        (
            "evidence",
            f"{evidence.requests} requests, {evidence.served} served,"
            f" {evidence.compared} compared, {evidence.known_wrong} known wrong",
        ),
        ("context", told.context[:16]),
        ("read as", ", ".join(told.flags)),
        ("embedding", told.space),
    ):
        if value:
            facts.add_row(name, printable(value))
    out.print(facts, soft_wrap=False)
    if told.candidates:
        out.print()
        out.print(_candidates(told), soft_wrap=False)
    if told.features:
        out.print()
        out.print(_features(told), soft_wrap=False)


def _candidates(told: SemanticExplanation) -> "Table":
    shown = table("near", "similarity", "answer", "model", "since", numeric=["similarity"])
    for each in told.candidates:
        text = each.text if len(each.text) <= _LONGEST_TEXT else each.text[:_LONGEST_TEXT] + "..."
        since = moment(each.create_time, never="-")
        answer = each.answer[:_ANSWER_CHARS]
        shown.add_row(printable(text), f"{each.similarity:.4f}", answer, each.model, since)
    return shown


def _features(told: SemanticExplanation) -> "Table":
    shown = table("sign", "value", numeric=["value"])
    for name, value in told.features.items():
        shown.add_row(name.replace("_", " "), f"{value:.4f}")
    return shown

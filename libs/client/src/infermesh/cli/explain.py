"""`infermesh explain`."""

from typing import TYPE_CHECKING, Annotated

import typer

from infermesh.cli.connection import Access, connected
from infermesh.cli.output import (
    JsonOption,
    console,
    milliseconds,
    moment,
    money,
    print_json,
    printable,
    table,
)
from infermesh.cli.semantic import how_sure
from infermesh.inference import Decision, SemanticMatch, TokenUsage
from infermesh.records import UsageEvent

if TYPE_CHECKING:
    from rich.table import Table

_BAR_CELLS = 40


def explain(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(help="The decision id of an answer.")],
    as_json: JsonOption = False,
) -> None:
    """Why one inference was answered as it was: tier, model, cost, time."""
    with connected(context, Access.OPERATOR) as client:
        event = client.event(event_id)
    if as_json:
        print_json(event)
        return
    out = console()
    out.print(_facts(event), soft_wrap=False)
    if event.decision.candidates:
        out.print()
        out.print(_candidates(event.decision), soft_wrap=False)
    if event.decision.stages:
        out.print()
        block = "█" if out.encoding.startswith("utf") else "#"
        out.print(_stages(event.decision, block), soft_wrap=False)


def _facts(event: UsageEvent) -> "Table":
    decision = event.decision
    shown = table("inference", event.event_id)
    for name, value in (
        ("asked", f"{moment(event.request_time, never='-')} by {_caller(event)}"),
        ("for", f"{event.requested_model or 'auto'} ({event.protocol}, task {event.task or '-'})"),
        ("tags", ", ".join(event.tags)),
        ("outcome", f"{event.outcome} {event.error_reason}".strip()),
        ("tier", f"{decision.tier} (cache {decision.cache_status})"),
        ("entry age", _age(decision.entry_age_s)),
        ("model", f"{decision.model} of {decision.provider}" if decision.model else ""),
        ("why", decision.reason),
        ("semantic", _semantic(decision.semantic)),
        ("stored", decision.store_outcome),
        ("tried before", "; ".join(decision.fallbacks)),
        ("cost", money(decision.cost, decision.currency)),
        ("baseline", _baseline(decision)),
        ("saved", money(decision.saved, decision.currency)),
        ("tokens billed", _tokens(decision.usage)),
        ("prices", decision.price_version),
        ("time", f"{milliseconds(event.duration_ms)}, {_first_byte(event)}"),
        ("fingerprint", decision.fingerprint),
        ("configuration", decision.configuration_revision),
        ("request", event.request_id),
    ):
        if value:
            shown.add_row(name, printable(value))
    return shown


def _candidates(decision: Decision) -> "Table":
    shown = table("candidate", "eligible", "estimated cost", "why", numeric=["estimated cost"])
    for each in decision.candidates:
        cost = money(each.estimated_cost, decision.currency)
        shown.add_row(each.model, "yes" if each.eligible else "no", cost, printable(each.reason))
    return shown


def _stages(decision: Decision, block: str) -> "Table":
    longest = max(stage.duration_ms for stage in decision.stages)
    shown = table("stage", "time", "", numeric=["time"])
    for each in decision.stages:
        cells = round(_BAR_CELLS * each.duration_ms / longest) if longest else 0
        shown.add_row(each.stage, milliseconds(each.duration_ms), block * cells)
    return shown


def _semantic(match: SemanticMatch | None) -> str:
    if match is None:
        return ""
    return f"{match.verdict}: {match.reason}{how_sure(match)}"


def _caller(event: UsageEvent) -> str:
    return f"{event.tenant or '-'} with key {event.key_id or '-'}"


def _baseline(decision: Decision) -> str:
    cost = money(decision.baseline_cost, decision.currency)
    return f"{cost} on {decision.baseline_model}" if decision.baseline_model else cost


def _age(age_s: float | None) -> str:
    return "" if age_s is None else f"{age_s:.0f} s"


def _first_byte(event: UsageEvent) -> str:
    return f"first byte after {milliseconds(event.first_byte_ms)}"


def _tokens(usage: TokenUsage | None) -> str:
    if usage is None:
        return "unknown"
    parts = {
        "input": usage.input_tokens,
        "cached input": usage.cached_input_tokens,
        "cache write": usage.cache_write_input_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
        "batch input": usage.batch_input_tokens,
        "batch output": usage.batch_output_tokens,
    }
    listed = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    return listed or "0"

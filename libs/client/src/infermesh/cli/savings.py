"""`infermesh savings`."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated

import typer

from infermesh.cli.connection import Access, connected
from infermesh.cli.exits import USAGE, fail
from infermesh.cli.output import JsonOption, console, money, print_json, table
from infermesh.records import Dimension, UsageFilter, UsageRow

_AGO = re.compile(r"(\d{1,5})([dh])", re.ASCII)
_NUMBERS = (
    "requests",
    "hits",
    "hit rate",
    "failed",
    "tokens",
    "cost",
    "baseline",
    "saved",
    "saved %",
    "unpriced",
)


def savings(
    context: typer.Context,
    by: Annotated[
        list[Dimension] | None, typer.Option(help="Group by it; may be given several times.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Only this tenant.")] = "",
    model: Annotated[str, typer.Option(help="Only answers of this model.")] = "",
    tag: Annotated[str, typer.Option(help="Only requests with this label.")] = "",
    since: Annotated[
        str, typer.Option(help="From then on: 2026-01-31, 2026-01-31T12:00 (UTC), 7d or 24h ago.")
    ] = "",
    until: Annotated[str, typer.Option(help="Before then; as --since.")] = "",
    as_json: JsonOption = False,
) -> None:
    """What was spent and saved."""
    chosen = UsageFilter(
        tenant=tenant,
        model=model,
        tag=tag,
        start_time=_moment(since, "--since"),
        end_time=_moment(until, "--until"),
    )
    with connected(context, Access.OPERATOR) as client:
        # Asked for, not summed up here: an event with two tags is in two rows.
        totals = next(iter(client.usage((), chosen)), None)
        rows = list(client.usage(by, chosen)) if by else []
    if as_json:
        print_json({"rows": rows, "totals": totals})
    elif totals is None or totals.requests + totals.failures == 0:
        console().print("No inferences yet.")
    else:
        _print(by or [], rows, totals)


def _print(by: Sequence[Dimension], rows: Sequence[UsageRow], totals: UsageRow) -> None:
    shown = table(*by, *_NUMBERS, numeric=_NUMBERS)
    for row in rows:
        shown.add_row(*(str(getattr(row, dimension)) or "-" for dimension in by), *_cells(row))
    if by:
        shown.add_section()
    labels = ["total", *[""] * (len(by) - 1)] if by else []
    shown.add_row(*labels, *_cells(totals), style="bold")
    out = console()
    out.print(shown, soft_wrap=False)
    if totals.unpriced_requests:
        out.print(
            f"{totals.unpriced_requests} of the requests have an unknown cost"
            " and are in no sum of money."
        )


def _cells(row: UsageRow) -> list[str]:
    return [
        str(row.requests),
        str(row.cache_hits),
        f"{row.hit_rate:.1%}",
        str(row.failures),
        str(row.usage.total_tokens),
        money(row.cost, row.currency),
        money(row.baseline_cost, row.currency),
        money(row.saved, row.currency),
        _saved_share(row),
        str(row.unpriced_requests),
    ]


def _saved_share(row: UsageRow) -> str:
    """Share of the baseline that was saved. The three sums run over different events when some
    amounts are unknown; then no share can be stated."""
    if row.cost is None or row.baseline_cost is None or row.saved is None:
        return "-"
    if row.baseline_cost <= 0 or row.baseline_cost - row.cost != row.saved:
        return "-"
    share = (row.saved * 100 / row.baseline_cost).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    return f"{share}%"


def _moment(text: str, option: str) -> datetime | None:
    if not text:
        return None
    ago = _AGO.fullmatch(text)
    if ago is not None:
        unit = timedelta(days=1) if ago[2] == "d" else timedelta(hours=1)
        return datetime.now(UTC) - int(ago[1]) * unit
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text} is neither a date or time nor a number of days or hours.", USAGE)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)

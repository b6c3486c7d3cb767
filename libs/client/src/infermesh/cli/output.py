"""How things are shown: tables and JSON, exact money, milliseconds. Works without a terminal."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infermesh.inference import JsonValue

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Without a terminal nothing is cut to a width: whoever reads a file or a pipe wants all of it.
_NO_WIDTH = 100_000

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def console(*, stderr: bool = False) -> "Console":
    """Where to print. Never interprets markup, for what is printed comes from elsewhere, and
    breaks no lines, for they hold paths and ids to copy; tables want `soft_wrap=False`."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _NO_WIDTH
    return Console(
        file=stream, markup=False, highlight=False, emoji=False, soft_wrap=True, width=width
    )


def table(*columns: str, numeric: Sequence[str] = ()) -> "Table":
    """An empty table; the columns in `numeric` are aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    return made


def print_json(value: object) -> None:
    """Prints `value`, made of dataclasses, mappings, sequences and scalars, as JSON."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: object) -> JsonValue:
    """`value` as JSON: money as exact decimal strings, times in ISO 8601, unknown as null.

    Raises:
        TypeError: something in it has no JSON form.
    """
    match value:
        case Enum():
            return str(value.value)
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.isoformat()
        case Mapping():
            return {str(name): plain(inner) for name, inner in value.items()}
        case Sequence():
            return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def money(amount: Decimal | None, currency: str) -> str:
    """An exact amount, for example "$0.0000125"; None is unknown, which is not 0."""
    if amount is None:
        return "unknown"
    sign = "-" if amount < 0 else ""
    # Not abs(): it rounds to the context's precision.
    return f"{sign}${amount.copy_abs():f}" if currency in ("", "USD") else f"{amount:f} {currency}"


def milliseconds(duration_ms: float) -> str:
    """A duration, to a tenth of a millisecond below ten of them."""
    return f"{duration_ms:.1f} ms" if duration_ms < 10 else f"{duration_ms:.0f} ms"


def moment(when: datetime | None, *, never: str) -> str:
    """A time in UTC to the second; `never` when there is none."""
    return never if when is None else f"{when:%Y-%m-%d %H:%M:%S} UTC"


def printable(text: str) -> str:
    """`text` without control characters, which could do things to a terminal."""
    return "".join(each if each in "\n\t" or each.isprintable() else "�" for each in text)

"""`infermesh models` and `infermesh health`."""

import typer

from infermesh.cli.connection import Access, connected
from infermesh.cli.exits import UNAVAILABLE
from infermesh.cli.output import JsonOption, console, print_json, table


def models(context: typer.Context, as_json: JsonOption = False) -> None:
    """The models the router may choose from."""
    with connected(context, Access.OPERATOR) as client:
        found = list(client.models())
    if as_json:
        print_json(found)
        return
    shown = table(
        "model",
        "provider",
        "aliases",
        "capabilities",
        "context tokens",
        "quality by task",
        "typical latency",
        "price",
        numeric=["context tokens", "typical latency"],
    )
    for each in found:
        shown.add_row(
            each.name,
            each.provider,
            ", ".join(each.aliases),
            ", ".join(each.capabilities),
            str(each.context_tokens),
            ", ".join(f"{task} {quality:g}" for task, quality in each.quality.items()),
            "not stated" if each.latency_ms is None else f"{each.latency_ms} ms",
            "known" if each.priced else "unknown",
        )
    console().print(shown if found else "No models are registered.", soft_wrap=False)


def health(context: typer.Context, as_json: JsonOption = False) -> None:
    """Whether the mesh can answer. The exit code is 4 when it cannot."""
    with connected(context, Access.OPERATOR) as client:
        found = client.health()
    if as_json:
        print_json(found)
    else:
        shown = table("dependency", "status")
        for name, status in found.dependencies.items():
            shown.add_row(name, status)
        out = console()
        out.print(
            f"{found.status} (version {found.version or 'unknown'},"
            f" configuration {found.configuration_revision or 'unknown'})"
        )
        if found.dependencies:
            out.print()
            out.print(shown, soft_wrap=False)
    if found.status not in ("SERVING", "DEGRADED"):
        raise typer.Exit(UNAVAILABLE)

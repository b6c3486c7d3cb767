"""`infermesh cache`."""

from typing import Annotated

import typer

from infermesh.cli.connection import Access, connected
from infermesh.cli.semantic import explain_lookup
from infermesh.cli.output import JsonOption, console, print_json, table

cache = typer.Typer(help="The cache of your tenant.", no_args_is_help=True)
cache.command("explain")(explain_lookup)


@cache.command()
def stats(context: typer.Context, as_json: JsonOption = False) -> None:
    """How full it is."""
    with connected(context, Access.TENANT) as client:
        found = client.cache_stats()
    if as_json:
        print_json(found)
        return
    names = ["entries", "bytes stored", "bytes allowed", "epoch"]
    shown = table(*names, numeric=names)
    counts = (found.entries, found.stored_bytes, found.limit_bytes, found.epoch)
    shown.add_row(*map(str, counts))
    console().print(shown, soft_wrap=False)


@cache.command()
def invalidate(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Answers of this model.")] = "",
    tag: Annotated[str, typer.Option(help="Answers to requests with this label.")] = "",
    fingerprint: Annotated[str, typer.Option(help="One answer; see explain.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, remove nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove answers, named by exactly one of the options."""
    with connected(context, Access.TENANT) as client:
        count = client.invalidate_cache(
            model=model, tag=tag, fingerprint=fingerprint, all=everything, dry_run=dry_run
        )
    if as_json:
        print_json({"count": count, "dry_run": dry_run})
    else:
        verb = "would be" if dry_run else "were"
        console().print(f"{count} entries {verb} removed.")

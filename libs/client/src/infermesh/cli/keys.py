"""`infermesh keys` and `infermesh tenants`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from infermesh.cli.connection import Access, connected
from infermesh.cli.output import JsonOption, console, moment, print_json, printable, table
from infermesh.records import Role

keys = typer.Typer(help="API keys.", no_args_is_help=True)


@keys.command()
def create(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="Tenant of the key; empty: the caller's.")] = "",
    role: Annotated[str, typer.Option(help="member, admin or operator.")] = Role.MEMBER.value,
    team: Annotated[str, typer.Option(help="Whom it belongs to within the tenant.")] = "",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="Not given: it does not expire.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a key. It goes to stdout, this once."""
    days = expires_in_days
    with connected(context, Access.OPERATOR) as client:
        issued = client.create_key(
            tenant=tenant,
            role=role,
            description=description,
            team=team,
            expire_time=None if days is None else datetime.now(UTC) + timedelta(days=days),
        )
    if as_json:
        print_json(issued)
        return
    console(stderr=True).print(
        f"Key {issued.key.key_id} of {issued.key.tenant or 'no tenant'}, role {issued.key.role},"
        f" expires {moment(issued.key.expire_time, never='never')}."
        " Keep it now: it is not shown again."
    )
    print(issued.secret)


@keys.command("list")
def list_keys(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Keys, without their secrets."""
    with connected(context, Access.OPERATOR) as client:
        found = list(client.list_keys(tenant=tenant))
    if as_json:
        print_json(found)
        return
    shown = table("key", "tenant", "team", "role", "description", "created", "expires", "revoked")
    for each in found:
        shown.add_row(
            each.key_id,
            each.tenant or "-",
            each.team or "-",
            each.role,
            printable(each.description),
            moment(each.create_time, never="-"),
            moment(each.expire_time, never="never"),
            moment(each.revoke_time, never="no"),
        )
    console().print(shown if found else "There are no keys.", soft_wrap=False)


@keys.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="The id, not the key itself.")],
    as_json: JsonOption = False,
) -> None:
    """Revoke a key for good."""
    with connected(context, Access.OPERATOR) as client:
        revoked = client.revoke_key(key_id)
    if as_json:
        print_json(revoked)
    else:
        console().print(f"Key {revoked.key_id} of {revoked.tenant or 'no tenant'} is revoked.")


def tenants(context: typer.Context, as_json: JsonOption = False) -> None:
    """The tenants you may see."""
    with connected(context, Access.OPERATOR) as client:
        found = list(client.tenants())
    if as_json:
        print_json(found)
        return
    shown = table("tenant", "name", "suspended")
    for each in found:
        shown.add_row(each.name, printable(each.display_name), "yes" if each.suspended else "no")
    console().print(shown if found else "There are no tenants.", soft_wrap=False)

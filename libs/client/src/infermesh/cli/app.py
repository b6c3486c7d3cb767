"""The commands, and the options they share."""

from pathlib import Path
from typing import Annotated

import typer

from infermesh.cli.cache import cache
from infermesh.cli.chat import chat
from infermesh.cli.connection import CliSettings
from infermesh.cli.explain import explain
from infermesh.cli.inference import infer
from infermesh.cli.installed_mesh import load_installed
from infermesh.cli.keys import keys, tenants
from infermesh.cli.local_mesh import LocalMeshLoader
from infermesh.cli.mesh import doctor, down, logs, status, up
from infermesh.cli.registry import health, models
from infermesh.cli.savings import savings
from infermesh.cli.semantic import feedback


def build_app(load_local: LocalMeshLoader = load_installed) -> typer.Typer:
    """The whole command line.

    Args:
        load_local: how to get at the mesh of this machine.
    """
    app = typer.Typer(
        help="InferMesh: the same answers for less money, with every decision explained.",
        no_args_is_help=True,
        # Plain help and errors, which scripts and logs can hold; and no traceback with locals.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def root(
        context: typer.Context,
        address: Annotated[
            str,
            typer.Option(
                envvar="INFERMESH_ADDRESS",
                help="https://host:port or host:port; else the mesh on this machine.",
            ),
        ] = "",
        api_key: Annotated[str, typer.Option(envvar="INFERMESH_API_KEY", show_default=False)] = "",
        api_key_file: Annotated[
            Path | None,
            typer.Option(envvar="INFERMESH_API_KEY_FILE", help="File that holds the API key."),
        ] = None,
        root_certificates: Annotated[
            Path | None,
            typer.Option(
                envvar="INFERMESH_ROOT_CERTIFICATES", help="PEM file of the authorities to trust."
            ),
        ] = None,
        timeout: Annotated[float, typer.Option(help="Deadline of a call, in seconds.")] = 60,
        state_dir: Annotated[
            Path | None,
            typer.Option(
                envvar="INFERMESH_STATE", help="State folder of the mesh on this machine."
            ),
        ] = None,
    ) -> None:
        context.obj = CliSettings(
            address=address,
            api_key=api_key,
            api_key_file=api_key_file,
            root_certificates_file=root_certificates,
            timeout_s=timeout,
            state_dir=state_dir,
            load_local=load_local,
        )

    for command in (up, down, status, logs, doctor):
        app.command()(command)
    for talking in (chat, infer):
        app.command()(talking)
    for reading in (savings, explain, feedback, models, health, tenants):
        app.command()(reading)
    app.add_typer(keys, name="keys")
    app.add_typer(cache, name="cache")
    return app

"""Names are loaded lazily, and all of them can be."""

import subprocess
import sys

import pytest

import infermesh


def loaded_by(statements: str) -> set[str]:
    """Top-level and `infermesh` modules that a fresh interpreter holds after `statements`."""
    code = f"{statements}\nimport sys\nprint('\\nLOADED', *sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("name", infermesh.__all__)
def test_every_public_name_can_be_loaded(name: str) -> None:
    assert getattr(infermesh, name) is not None
    assert name in dir(infermesh)


def test_names_that_do_not_exist_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        getattr(infermesh, "Clint")


def test_a_stub_of_the_shared_namespace_does_not_load_the_sdk() -> None:
    loaded = loaded_by("import infermesh.router.v1.inference_pb2")
    assert "infermesh.router.v1.inference_pb2" in loaded
    assert not loaded & {"infermesh.client", "infermesh.errors", "infermesh.wire", "grpc", "typer"}


def test_the_sdk_loads_neither_the_command_line_nor_what_services_use() -> None:
    loaded = loaded_by("import infermesh; infermesh.Client, infermesh.AsyncClient")
    assert "grpc" in loaded
    assert not loaded & {"typer", "rich", "infermesh.cli", "infermesh_common", "infermesh_local"}


def test_help_loads_neither_grpc_nor_local_mode_nor_rich() -> None:
    loaded = loaded_by(
        "import sys\n"
        "from infermesh.cli import main\n"
        "sys.argv = ['infermesh', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
    )
    assert "infermesh.cli.app" in loaded
    assert not loaded & {"grpc", "google", "rich", "infermesh_local", "infermesh_common"}

"""Meshes in folders of the test's own, which leave nothing behind."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from infermesh_local import LocalMesh, LocalSettings, load_local_settings
from infermesh_local.layout import StateLayout
from infermesh_local.launch import stop
from infermesh_local.processes import Blueprint

MakeMesh = Callable[..., LocalMesh]


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    """The shipped settings, with a state folder of the test's own and no keys of providers."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INFERMESH")}
    environment.pop("OPENAI_API_KEY", None)
    return load_local_settings(environment | {"INFERMESH_STATE": str(tmp_path / "state")})


@pytest.fixture
def make_mesh(settings: LocalSettings) -> Iterator[MakeMesh]:
    """Makes meshes; what of them still runs after the test is ended."""
    made: list[Path] = []

    def make(
        blueprint: Blueprint | None = None, state_dir: Path | None = None, **changes: object
    ) -> LocalMesh:
        changed = settings.model_copy(update=changes)
        mesh = LocalMesh(state_dir, settings=changed, blueprint=blueprint)
        made.append(mesh.state_dir)
        return mesh

    yield make
    for folder in made:
        stop(StateLayout.at(folder), 10.0, lambda line: None)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Polls a condition until it holds, or fails."""

    def poll(condition: Callable[[], bool], within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"did not hold within {within_s} s"

    return poll

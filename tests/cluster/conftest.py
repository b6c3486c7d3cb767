"""Tests of this folder run with INFERMESH_CLUSTER_TESTS=1; see settings.py for the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.mesh import MeshOnCluster
from tests.cluster.settings import ENABLED, read_settings

HERE = Path(__file__).parent
"""Its own files need a cluster; those of folders below it do not."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a cluster, unless it was asked for; gives it more time when it was."""
    enabled = read_settings(os.environ).enabled
    for item in items:
        if item.path.parent != HERE:
            continue
        if enabled:
            item.add_marker(pytest.mark.timeout(1800))
        else:
            item.add_marker(pytest.mark.skip(reason=f"needs a cluster: {ENABLED}=1"))


@pytest.fixture
def mesh(installed_mesh: MeshOnCluster) -> MeshOnCluster:
    """The chart, installed with two of everything. A test leaves it as it found it."""
    return installed_mesh

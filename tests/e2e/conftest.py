"""A mesh behind Envoy with a scripted provider: processes on this machine, or, with
INFERMESH_CLUSTER_TESTS=1, the chart on a cluster (`make e2e-cluster`)."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.servers import free_port
from infermesh_local import LocalMesh, UpOptions
from tests.cluster.settings import read_settings
from tests.e2e.local_mesh import LocalRunningMesh
from tests.e2e.running_mesh import RunningMesh
from tests.e2e.threaded_upstream import ThreadedUpstream

# Models for limits of the rate: a model rests after one.
LIMITED = ("limited-whole", "limited-stream", "limited-messages")


@pytest.fixture(scope="session")
def _upstream(request: pytest.FixtureRequest) -> Iterator[ThreadedUpstream]:
    host = "127.0.0.1"
    if read_settings(os.environ).enabled:
        host = request.getfixturevalue("cluster").host_address
        if not host:
            pytest.skip("INFERMESH_CLUSTER_HOST does not say how pods reach this machine")
    with ThreadedUpstream(host) as server:
        yield server


@pytest.fixture
def upstream(_upstream: ThreadedUpstream) -> ThreadedUpstream:
    """The scripted provider, with nothing asked of it yet."""
    _upstream.reset()
    return _upstream


@pytest.fixture(scope="session")
def local_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRunningMesh]:
    """Processes on this machine; a test that breaks one mends it."""
    state: Path = tmp_path_factory.mktemp("mesh")
    local = LocalMesh(state)
    info = local.up(UpOptions(port=free_port()), print)
    try:
        yield LocalRunningMesh(local, info)
    finally:
        local.down(print)


def scripted(upstream: ThreadedUpstream) -> list[dict[str, object]]:
    """Resources by which a mesh knows the scripted provider."""
    return [
        resource("Provider", "scripted", baseUrl=upstream.base_url),
        *(model(name, provider="scripted", price="1") for name in ("scripted", *LIMITED)),
    ]


@pytest.fixture(scope="session")
def mesh(request: pytest.FixtureRequest, _upstream: ThreadedUpstream) -> RunningMesh:
    """One mesh for the whole run."""
    running: RunningMesh
    if read_settings(os.environ).enabled:
        running = request.getfixturevalue("cluster_running_mesh")
    else:
        running = request.getfixturevalue("local_mesh")
    running.apply(scripted(_upstream))
    names = set()
    for _ in range(200):
        names = {m.id for m in running.openai().models.list()}
        if "scripted" in names:
            break
        threading.Event().wait(0.1)
    assert "scripted" in names, names
    return running


@pytest.fixture
def unique() -> str:
    """A question nobody asked before."""
    return f"question {uuid.uuid4()}"

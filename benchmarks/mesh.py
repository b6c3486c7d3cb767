"""The whole mesh on this machine in front of the fixed upstream: auth, cache and ledger on."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.processes import rss_mb, wait_until
from benchmarks.target import Target, answers
from benchmarks.upstream import Upstream
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.servers import free_port
from infermesh_local import LocalMesh, MeshInfo, UpOptions

MODEL = "fixed"


@dataclass(frozen=True)
class RunningMesh:
    """A mesh that answers.

    Attributes:
        info: as local mode tells it.
        pids: of its processes, by name.
    """

    info: MeshInfo
    pids: dict[str, int]

    @property
    def port(self) -> int:
        """Of Envoy."""
        return int(self.info.url.rpartition(":")[2])

    @property
    def key(self) -> str:
        """An API key of a tenant."""
        return self.info.tenant_key_files["demo"].read_text().strip()

    def target(self, *, stream: bool = False) -> Target:
        """Its OpenAI wire."""
        headers = {"authorization": f"Bearer {self.key}"}
        return Target(self.port, MODEL, headers, stream=stream)

    def memory(self) -> dict[str, float]:
        """Resident MB (10^6 bytes) of each process with its descendants."""
        return {name: rss_mb(pid) for name, pid in self.pids.items()}


@contextlib.contextmanager
def mesh_before(upstream: Upstream, folder: Path) -> Iterator[RunningMesh]:
    """Runs while the block does.

    Args:
        upstream: its only provider.
        folder: of its state.

    Raises:
        LocalMeshError: it does not start.
        NotReady: it does not answer.
    """
    local = LocalMesh(folder)
    info = local.up(UpOptions(port=free_port()), lambda line: print(f"  {line}"))
    try:
        documents = [
            resource("Provider", "fixed", baseUrl=upstream.base_url),
            model(MODEL, provider="fixed"),
        ]
        (info.resources_dir / "fixed.yaml").write_text(yaml.safe_dump_all(documents))
        processes = local.status().processes
        mesh = RunningMesh(info, {p.name: p.pid for p in processes if p.pid is not None})
        wait_until(lambda: answers(mesh.target()), "the mesh's first answer")
        yield mesh
    finally:
        local.down(lambda line: None)

"""The mesh in front of the simulator, with an operator's resources in force."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import yaml

import infermesh
from benchmarks.processes import NotReady, wait_until
from benchmarks.savings.books import read_ledger
from benchmarks.savings.dataset import Dataset
from benchmarks.savings.resources import (
    REFERENCE_TENANT,
    Operator,
    documents,
    resource_name,
    team_tenant,
    tenants,
)
from infermesh import UsageRow
from infermesh_common.testing.servers import free_port
from infermesh_local import LocalMesh, MeshInfo, UpOptions


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """A mesh that runs.

    Attributes:
        url: of it, without a path.
        client: with an operator's key.
        team_keys: API key of each team.
        reference_key: API key of the tenant that always calls the reference, without a cache.
    """

    url: str
    client: infermesh.Client
    team_keys: Sequence[str]
    reference_key: str

    def settled_ledger(self, requests: int) -> list[UsageRow]:
        """Usage by tenant and model, once the ledger holds as many requests as were answered.

        Raises:
            NotReady: it does not in time, or holds more.
        """
        wait_until(lambda: self._written() >= requests, f"{requests} requests in the ledger")
        if (written := self._written()) != requests:
            raise NotReady(f"{requests} requests were answered, the ledger holds {written}")
        return read_ledger(self.client)

    def _written(self) -> int:
        return sum(row.requests for row in read_ledger(self.client))


@contextlib.contextmanager
def mesh(
    folder: Path, dataset: Dataset, operator: Operator, provider_url: str
) -> Iterator[RunningMesh]:
    """The mesh with its state in `folder`, while the block runs.

    Raises:
        LocalMeshError: it does not start.
        NotReady: the resources do not come into force.
    """
    local = LocalMesh(folder)
    info = local.up(UpOptions(port=free_port()), lambda line: print(f"  {line}"))
    try:
        declared = documents(dataset, operator, provider_url)
        (info.resources_dir / "savings.yaml").write_text(yaml.safe_dump_all(declared))
        with infermesh.Client(info.url, info.operator_key_file.read_text().strip()) as client:
            wait_until(
                lambda: _in_force(client, dataset, operator), "the resources' coming into force"
            )
            keys = {
                tenant: client.create_key(tenant=tenant).secret
                for tenant in tenants(operator.teams)
            }
            for key in keys.values():
                wait_until(lambda: _admitted(info, key), "the first use of a new key")
            yield RunningMesh(
                url=info.url,
                client=client,
                team_keys=[keys[team_tenant(team)] for team in range(operator.teams)],
                reference_key=keys[REFERENCE_TENANT],
            )
    finally:
        local.down(lambda line: None)


def _in_force(client: infermesh.Client, dataset: Dataset, operator: Operator) -> bool:
    """Whether router and governance both know the resources."""
    models = {model.name for model in client.models()}
    known = {tenant.name for tenant in client.tenants()}
    wanted = {resource_name(model) for model in dataset.models}
    return wanted <= models and known.issuperset(tenants(operator.teams))


def _admitted(info: MeshInfo, key: str) -> bool:
    headers = {"authorization": f"Bearer {key}"}
    try:
        with urlopen(Request(f"{info.url}/v1/models", headers=headers), timeout=5):
            return True
    except OSError:
        return False

"""Every command of docs/install.md works, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.access import Cluster
from tests.cluster.kubectl import Kubectl
from tests.cluster.namespaces import objects_in
from tests.cluster.settings import ROOT

PAGE = ROOT / "docs" / "install.md"
_COMMAND = re.compile(
    r"^    ((?:kubectl|helm) (?:.*<<EOF\n(?:    .*\n)*?    EOF|.*))$", re.MULTILINE
)
# Definitions belong to all namespaces: deleting them would take other meshes' resources away.
_NOT_DONE = "kubectl delete -f deploy/helm/infermesh/crds"


def commands(page: str) -> list[str]:
    """The commands of a page, with their here-documents."""
    return [re.sub(r"^    ", "", found, flags=re.MULTILINE) for found in _COMMAND.findall(page)]


def within(namespace: str, command: str) -> str:
    """The command in another namespace than `infermesh`."""
    named = r"(-n|--namespace|create namespace|label namespace) infermesh\b"
    changed = re.sub(named, rf"\1 {namespace}", command)
    return changed.replace(_NOT_DONE, f"{_NOT_DONE} --dry-run=server")


def test_commands_are_found_with_their_documents() -> None:
    found = commands(PAGE.read_text())
    assert len(found) > 15
    assert any(command.endswith("EOF") and "kind: Provider" in command for command in found)
    assert within("x", "helm test infermesh --namespace infermesh") == (
        "helm test infermesh --namespace x"
    )
    assert within("x", "kubectl -n infermesh get infermesh") == "kubectl -n x get infermesh"


@pytest.fixture
def desk(tmp_path: Path, cluster: Cluster) -> Path:
    """A folder from where an operator works: the chart, values of their own, kubectl and helm."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(cluster.kubectl_binary)
    (tmp_path / "bin" / "helm").symlink_to(cluster.helm_binary)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    values = {"config": {"common": {"server": {"drain_ms": 4000}}}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


@pytest.mark.usefixtures("images")
def test_every_command_of_the_guide_works_in_its_order(desk: Path, cluster: Cluster) -> None:
    kubectl: Kubectl = cluster.kubectl(f"infermesh-guide-{os.getpid()}")
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "PATH": f"{desk / 'bin'}:{os.environ['PATH']}",
    }
    try:
        for command in commands(PAGE.read_text()):
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", within(kubectl.namespace, command)],
                cwd=desk,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert (desk / "ledger.db").read_bytes().startswith(b"SQLite format 3")
        assert "kind: Provider" in (desk / "resources.yaml").read_text()
        assert objects_in(kubectl) <= {"Secret/openai-key", "Provider/openai"}
    finally:
        kubectl.delete("namespace", kubectl.namespace, "--wait", timeout_s=180)

"""Every command of docs/install.md works, in the order of the page."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.access import Cluster
from tests.cluster.guide import commands, within
from tests.cluster.kubectl import Kubectl
from tests.cluster.namespaces import objects_in
from tests.cluster.settings import ROOT

PAGE = ROOT / "docs" / "install.md"


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

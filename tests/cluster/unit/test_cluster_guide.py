"""Commands of a page are found, and moved into another namespace."""

from __future__ import annotations

from tests.cluster.guide import commands, within
from tests.cluster.settings import ROOT

PAGE = ROOT / "docs" / "install.md"


def test_commands_are_found_with_their_documents() -> None:
    found = commands(PAGE.read_text())
    assert len(found) > 15
    assert any(command.endswith("EOF") and "kind: Provider" in command for command in found)
    assert within("x", "helm test infermesh --namespace infermesh") == (
        "helm test infermesh --namespace x"
    )
    assert within("x", "kubectl -n infermesh get infermesh") == "kubectl -n x get infermesh"

"""Commands of a page of the documentation, to be run on a cluster."""

from __future__ import annotations

import re

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

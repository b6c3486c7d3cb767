"""What the person who runs the tests decides, by variables of the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENABLED = "INFERMESH_CLUSTER_TESTS"
LOADERS = ("kit", "kind", "minikube", "none")


class SettingsWrong(ValueError):
    """A variable has a value that it cannot have. The message says which."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """See docs/images.md.

    Attributes:
        enabled: whether tests that need a cluster run. INFERMESH_CLUSTER_TESTS=1
        kubeconfig: of a cluster that is there; None: the kit's is brought up. KUBECONFIG
        kit: folder of the kit, or None when there is none. INFERMESH_CLUSTER_KIT
        loader: how images get onto nodes, see `LOADERS`; None: the kit's own way in the kit's
            cluster, else none. INFERMESH_CLUSTER_IMAGES
        cluster_name: of kind, profile of minikube; empty: their default. INFERMESH_CLUSTER_NAME
        build: whether images are built first. INFERMESH_CLUSTER_BUILD=no: they are there already.
        node_address: of a node, as this machine reaches it; empty: ports are forwarded instead.
            INFERMESH_CLUSTER_NODE
        host_address: of this machine, as pods reach it; empty: tests whose provider runs here are
            skipped. INFERMESH_CLUSTER_HOST
        values: files of values for every installation. INFERMESH_CLUSTER_VALUES, with colons
        keep: whether namespaces stay when a test fails. INFERMESH_CLUSTER_KEEP=1
    """

    enabled: bool
    kubeconfig: Path | None
    kit: Path | None
    loader: str | None
    cluster_name: str
    build: bool
    node_address: str
    host_address: str
    values: tuple[Path, ...]
    keep: bool


def read_settings(environment: Mapping[str, str], root: Path = ROOT) -> ClusterSettings:
    """The settings of an environment.

    Args:
        environment: variables.
        root: of the repository; the kit is looked for beside it.

    Raises:
        SettingsWrong: see there.
    """
    loader = environment.get("INFERMESH_CLUSTER_IMAGES") or None
    if loader not in (None, *LOADERS):
        raise SettingsWrong(f"INFERMESH_CLUSTER_IMAGES={loader}: it is one of {', '.join(LOADERS)}")
    kit = Path(environment.get("INFERMESH_CLUSTER_KIT") or root.parent / "shared" / "cluster")
    there = (kit / "up").is_file()
    if loader == "kit" and not there:
        raise SettingsWrong(f"INFERMESH_CLUSTER_IMAGES=kit: there is no kit at {kit}")
    kubeconfig = environment.get("KUBECONFIG", "").split(":")[0]
    values = [Path(file) for file in environment.get("INFERMESH_CLUSTER_VALUES", "").split(":")]
    return ClusterSettings(
        enabled=_is_on(environment, ENABLED, False),
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        kit=kit if there else None,
        loader=loader,
        cluster_name=environment.get("INFERMESH_CLUSTER_NAME", ""),
        build=_is_on(environment, "INFERMESH_CLUSTER_BUILD", True),
        node_address=environment.get("INFERMESH_CLUSTER_NODE", ""),
        host_address=environment.get("INFERMESH_CLUSTER_HOST", ""),
        values=tuple(file for file in values if file.name),
        keep=_is_on(environment, "INFERMESH_CLUSTER_KEEP", False),
    )


def _is_on(environment: Mapping[str, str], name: str, default: bool) -> bool:
    value = environment.get(name, "").lower()
    if value not in ("", "0", "1", "no", "yes"):
        raise SettingsWrong(f"{name}={value}: it is 0 or 1")
    return value in ("1", "yes") if value else default

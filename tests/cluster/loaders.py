"""Ways to get an image onto the nodes of a cluster that cannot pull it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from tests.cluster.access import Cluster
from tests.cluster.commands import Runner, run_command
from tests.cluster.settings import ClusterSettings
from tools.images.builders import Builder
from tools.images.catalogue import Image
from tools.images.sources import fingerprint


class ImageLoader(Protocol):
    """What puts images onto nodes."""

    def load(self, archive: Path) -> None:
        """Puts one there.

        Args:
            archive: as `docker save` writes it.

        Raises:
            CommandFailed: it did not get there.
        """


class CommandLoader:
    """Puts images onto nodes by a command.

    Args:
        before: what comes before the name of the archive.
        after: what comes after it.
        run: runs commands.
    """

    def __init__(
        self, before: Sequence[str], after: Sequence[str] = (), run: Runner = run_command
    ) -> None:
        self.before = tuple(before)
        self.after = tuple(after)
        self._run = run

    def load(self, archive: Path) -> None:
        """See `ImageLoader`."""
        self._run([*self.before, str(archive), *self.after], timeout_s=600)


def loader_for(
    settings: ClusterSettings, cluster: Cluster, run: Runner = run_command
) -> ImageLoader | None:
    """The loader that was chosen, or that fits the cluster; None: nodes have or pull the images."""
    chosen = settings.loader or ("kit" if cluster.is_kits else "none")
    if chosen == "kit":
        assert settings.kit is not None, "settings are refused without a kit"
        return CommandLoader([str(settings.kit / "load-image")], run=run)
    if chosen == "kind":
        name = ["--name", settings.cluster_name] if settings.cluster_name else []
        return CommandLoader(["kind", "load", "image-archive"], name, run)
    if chosen == "minikube":
        profile = ["-p", settings.cluster_name] if settings.cluster_name else []
        return CommandLoader(["minikube", "image", "load"], profile, run)
    return None


class Provided:
    """Remembers what is on the nodes, in a file: what has not changed need not get there again.

    Args:
        file: of JSON; it need not be there.
        cluster: by which a cluster is known from others, also from an earlier one of its name.
    """

    def __init__(self, file: Path, cluster: str) -> None:
        self._file = file
        self._cluster = cluster

    def has(self, image: Image, fingerprint: str) -> bool:
        """Whether this very image is there."""
        return self._read().get(self._cluster, {}).get(image.reference) == fingerprint

    def add(self, image: Image, fingerprint: str) -> None:
        """It is there now. Other clusters are forgotten."""
        here = self._read().get(self._cluster, {})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({self._cluster: {**here, image.reference: fingerprint}}, indent=2)
        self._file.write_text(text, "utf-8")

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            known: dict[str, dict[str, str]] = json.loads(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return known


def provide(
    images: Sequence[Image], builder: Builder, loader: ImageLoader, root: Path, provided: Provided
) -> dict[str, str]:
    """Builds images and puts them onto the nodes, those that are not there as they are now.

    Args:
        images: which.
        builder: builds them.
        loader: puts them there.
        root: of the repository.
        provided: what is there.

    Returns:
        What a pod asks for, by the key of the image.
    """
    for image in images:
        is_now = fingerprint(image, root)
        if provided.has(image, is_now):
            continue
        builder.build(image, root)
        # The kit's builder has put it there itself.
        if builder.name != "kit":
            with TemporaryDirectory() as folder:
                archive = Path(folder) / f"{image.key}.tar"
                builder.save(image, archive)
                loader.load(archive)
        provided.add(image, is_now)
    return {image.key: image.reference for image in images}

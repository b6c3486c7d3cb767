"""Programs that build images: docker, podman, buildah, and the kit of a cluster on one machine.

All of them build by the same Dockerfiles; an archive has an image under the name that pods ask for.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tools.images.catalogue import BASE, Image
from tools.images.pip_settings import as_secrets, pip_settings

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it wrote on standard output.

Raises:
    subprocess.CalledProcessError: it failed.
"""


class NoBuilder(RuntimeError):
    """Nothing here can build an image. The message says what was looked for."""


class Builder(Protocol):
    """What can build an image."""

    name: str

    def build(self, image: Image, root: Path) -> None:
        """Builds it.

        Args:
            image: what.
            root: of the repository.
        """

    def save(self, image: Image, archive: Path) -> None:
        """Writes it to a file that is not there yet, as `docker save` would."""

    def base_layers(self) -> list[str]:
        """Digests of the layers of the base, lowest first."""


def run(command: Sequence[str]) -> str:
    """See `Run`. Standard error goes to this process's, and so does the output of what fails."""
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    except subprocess.CalledProcessError as error:
        print(error.stdout, file=sys.stderr)
        raise


def arguments_of(image: Image, name: str, root: Path) -> list[str]:
    """Options of a build that are the same everywhere, and the context."""
    options = ["-t", name, "-f", str(root / image.dockerfile)]
    for key, value in image.arguments.items():
        options += ["--build-arg", f"{key}={value}"]
    return [*options, str(root)]


class Docker:
    """docker, with BuildKit.

    Args:
        run: see `Run`.
        environment: variables, for pip's settings.
    """

    name = "docker"

    def __init__(self, run: Run, environment: Mapping[str, str]) -> None:
        self._run = run
        self._environment = environment

    def build(self, image: Image, root: Path) -> None:
        """See `Builder`."""
        settings = pip_settings(self._environment, Path.home(), Path("/etc/pip.conf"))
        with as_secrets(settings) as secrets:
            options = arguments_of(image, image.reference, root)
            self._run([self.name, "build", *secrets, *options])

    def save(self, image: Image, archive: Path) -> None:
        """See `Builder`."""
        self._run([self.name, "save", "-o", str(archive), image.reference])

    def base_layers(self) -> list[str]:
        """See `Builder`."""
        # BuildKit keeps a base to itself until it is asked for.
        if not self._run([self.name, "image", "ls", "-q", BASE]).strip():
            self._run([self.name, "pull", "--quiet", BASE])
        template = "{{json .RootFS.Layers}}"
        said = self._run([self.name, "image", "inspect", "--format", template, BASE])
        return [str(digest) for digest in json.loads(said)]


class Podman(Docker):
    """podman. It keeps an image under `localhost/`, an archive has it without."""

    name = "podman"

    def save(self, image: Image, archive: Path) -> None:
        """See `Builder`."""
        target = f"docker-archive:{archive}:{image.reference}"
        self._run([self.name, "push", "--quiet", image.reference, target])


class Buildah(Podman):
    """buildah."""

    name = "buildah"

    def base_layers(self) -> list[str]:
        """See `Builder`."""
        return _buildah_layers(self._run([self.name, "inspect", "--type", "image", BASE]))


class Kit:
    """The kit's build-image: buildah with the base image and pip's settings of this machine.

    Args:
        run: see `Run`.
        folder: of the kit.
    """

    name = "kit"

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder

    def build(self, image: Image, root: Path) -> None:
        """Builds it, and puts it on the node when the cluster is up."""
        options = arguments_of(image, self._full(image), root)
        self._run([str(self._folder / "build-image"), *options])

    def save(self, image: Image, archive: Path) -> None:
        """See `Builder`."""
        target = f"docker-archive:{archive}:{image.reference}"
        self._run([*_STORAGE, "push", "--quiet", self._full(image), target])

    def base_layers(self) -> list[str]:
        """See `Builder`."""
        return _buildah_layers(self._run([*_STORAGE, "inspect", "--type", "image", BASE]))

    def _full(self, image: Image) -> str:
        """The name in full, as the node completes a short one: like that of the kit's base."""
        found = re.search(r"^BASE=([^/\s]+)/", (self._folder / "lib.sh").read_text(), re.MULTILINE)
        if found is None:
            raise NoBuilder(f"{self._folder}/lib.sh does not say what the base image is called")
        official = "" if "/" in image.reference else "library/"
        return f"{found[1]}/{official}{image.reference}"


_STORAGE = ("buildah", "--storage-driver", "overlay")


def _buildah_layers(description: str) -> list[str]:
    return [str(digest) for digest in json.loads(description)["OCIv1"]["rootfs"]["diff_ids"]]


def kit_folder(environment: Mapping[str, str]) -> Path:
    """Where the kit would be: INFERMESH_CLUSTER_KIT, or beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "cluster"
    return Path(environment.get("INFERMESH_CLUSTER_KIT", beside))


def find_builder(
    wanted: str | None,
    kit: Path,
    environment: Mapping[str, str],
    *,
    run: Run = run,
    which: Callable[[str], str | None] = shutil.which,
) -> Builder:
    """The builder of that name, or else the first that works: docker, podman, kit, buildah.

    Args:
        wanted: its name, or None.
        kit: folder where the kit would be.
        environment: variables, for pip's settings.
        run: see `Run`.
        which: finds a command.

    Raises:
        NoBuilder: there is none.
    """
    if wanted not in (None, "docker", "podman", "kit", "buildah"):
        raise NoBuilder(f"{wanted} is none of docker, podman, kit, buildah")
    if wanted == "docker" or wanted is None and which("docker") and _answers(run, "docker"):
        return Docker(run, environment)
    if wanted == "podman" or wanted is None and which("podman") and _answers(run, "podman"):
        return Podman(run, environment)
    if wanted == "kit" or wanted is None and (kit / "build-image").is_file():
        return Kit(run, kit)
    if wanted == "buildah" or wanted is None and which("buildah"):
        return Buildah(run, environment)
    raise NoBuilder("images are built by docker, podman or buildah: none of them works here")


def _answers(run: Run, command: str) -> bool:
    """A command may be there and its daemon not."""
    try:
        return bool(run([command, "info", "--format", "{{json .}}"]).strip())
    except (subprocess.CalledProcessError, OSError):
        return False

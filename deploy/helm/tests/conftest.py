"""What the tests of the chart share."""

import base64
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tools import chart

Json = dict[str, object]
Render = Callable[[str], list[chart.Object]]


@cache
def _rendered(case: str) -> list[chart.Object]:
    return chart.render(files=[chart.values_of(case)])


@pytest.fixture(scope="session")
def rendered() -> Render:
    """The objects of a golden case, rendered once. Nobody may change them."""
    return _rendered


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `case` runs with each golden case."""
    own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "case" in metafunc.fixturenames and "case" not in own:
        metafunc.parametrize("case", chart.cases())


class Pods:
    """Pod templates of rendered objects."""

    @staticmethod
    def of(objects: list[chart.Object]) -> Iterator[tuple[str, Mapping[str, object]]]:
        """(identifier of the object, spec of its pod) pairs."""
        for part in objects:
            spec = part.get("spec")
            assert spec is None or isinstance(spec, dict)
            if part["kind"] == "Pod":
                yield chart.identifier(part), spec or {}
            elif part["kind"] in ("Deployment", "StatefulSet", "Job", "DaemonSet"):
                assert isinstance(spec, dict)
                yield chart.identifier(part), spec["template"]["spec"]


@pytest.fixture(scope="session")
def pods() -> type[Pods]:
    """See `Pods`."""
    return Pods


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as /run/secrets of Envoy's pod, with a certificate that it can load."""
    root = tmp_path_factory.mktemp("secrets")
    objects = chart.render({"envoy": {"tls": {"mode": "selfSigned"}}})
    (secret,) = [p for p in objects if chart.identifier(p) == "Secret/infermesh-envoy-tls"]
    data = secret["data"]
    assert isinstance(data, dict)
    for folder in ("infermesh-edge-tls", "infermesh-tls"):
        (root / folder).mkdir()
        for name, value in data.items():
            (root / folder / name).write_bytes(base64.b64decode(value))
    return root

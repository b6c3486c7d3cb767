"""What the status of a provider, a model or a policy says is true, and says what to do."""

from collections.abc import Callable
from typing import Any

import pytest

from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_common.resources.types import SecretRef
from infermesh_common.secrets.faults import Fault
from infermesh_common.testing.resources import model, resource
from infermesh_router.application.resource_readiness import ResourceReadiness, Standing
from infermesh_router.domain.registry import ModelRegistry

MISSING = Fault("SecretMissing", "The secret file cannot be read.")
SEALED = Fault("VaultSealed", "Vault is sealed.", in_use=True)
URL = "https://provider.test/v1"


class Mesh:
    """Resources, faults of secrets by file, and the standing of providers."""

    def __init__(self, *documents: dict[str, object]) -> None:
        self.resources = build([("", document) for document in documents], ResourceSet())
        assert not self.resources.faults
        self.faults: dict[str, Fault] = {}
        self.standing: dict[str, Standing] = {}
        self.now = 0.0
        registry = ModelRegistry(self.resources)
        self.kinds = ResourceReadiness(
            lambda: registry, self._fault, self.standing.get, lambda: self.now
        ).kinds()

    def _fault(self, ref: SecretRef) -> Fault | None:
        assert ref.file is not None
        return self.faults.get(ref.file)

    def says(self, kind: str, name: str) -> tuple[bool, str]:
        self.now += 10
        found = self.kinds[kind](self.resources.by_key[kind, name])
        assert found.message.endswith(".")
        return found.ready, found.reason


def provider(name: str = "main", *files: str, **spec: object) -> dict[str, object]:
    keys = [{"secret": {"file": file}} for file in files]
    return resource("Provider", name, baseUrl=URL, keys=keys, **spec)


def test_a_provider_is_ready_when_a_key_of_it_can_be_read() -> None:
    mesh = Mesh(provider("main", "a", "b"), provider("open"))
    assert mesh.says("Provider", "open") == (True, "Ready")
    assert mesh.says("Provider", "main") == (True, "Ready")
    mesh.faults["a"] = MISSING
    assert mesh.says("Provider", "main") == (True, "SecretMissing")
    mesh.faults["b"] = SEALED
    assert mesh.says("Provider", "main")[0], "the value that was read last is in use"
    mesh.faults["b"] = MISSING
    assert mesh.says("Provider", "main") == (False, "SecretMissing")


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing(2, 0, 0, False), (True, "Ready")),
        (Standing(2, 1, 1, False), (True, "SomeKeysRefused")),
        (Standing(2, 2, 2, False), (False, "KeyRefused")),
        (Standing(2, 0, 1, False), (True, "Ready")),
        (Standing(2, 0, 2, False), (True, "RateLimited")),
        (Standing(2, 0, 0, True), (False, "Failing")),
    ],
)
def test_a_provider_says_how_its_calls_went(standing: Standing, expected: tuple[bool, str]) -> None:
    mesh = Mesh(resource("Provider", "main", baseUrl=URL, auth={"file": "a"}))
    mesh.standing["main"] = standing
    assert mesh.says("Provider", "main") == expected


def test_a_model_is_as_ready_as_its_provider() -> None:
    mesh = Mesh(provider("main", "a"), model("m"), model("gratis", pricing={}))
    assert mesh.says("Model", "m") == (True, "Ready")
    assert mesh.says("Model", "gratis") == (True, "PriceUnknown")
    mesh.faults["a"] = MISSING
    assert mesh.says("Model", "m") == (False, "ProviderNotReady")


def test_a_model_whose_provider_has_just_gone_is_not_ready() -> None:
    mesh = Mesh(provider("main"), model("m"))
    without = ModelRegistry(ResourceSet())
    kinds = ResourceReadiness(lambda: without, mesh._fault, mesh.standing.get).kinds()
    assert kinds["Model"](mesh.resources.models["m"]).reason == "ProviderNotReady"


def test_a_route_policy_is_ready_when_a_model_of_it_is() -> None:
    mesh = Mesh(
        provider("main", "a"),
        provider("second", "b"),
        model("m"),
        model("n", provider="second", pricing={}),
        resource("RoutePolicy", "all"),
        resource("RoutePolicy", "one", models=["m"]),
        resource("RoutePolicy", "measured", baselineModel="n"),
    )
    assert mesh.says("RoutePolicy", "all") == (True, "Ready")
    assert mesh.says("RoutePolicy", "measured") == (True, "BaselinePriceUnknown")
    mesh.faults["a"] = MISSING
    assert mesh.says("RoutePolicy", "all") == (True, "SomeModelsNotReady")
    assert mesh.says("RoutePolicy", "one") == (False, "NoModelReady")
    assert Mesh(resource("RoutePolicy", "all")).says("RoutePolicy", "all")[0] is False


def test_a_cache_policy_is_ready_and_says_when_it_caches_nothing() -> None:
    mesh = Mesh(resource("CachePolicy", "on"), resource("CachePolicy", "off", enabled=False))
    assert mesh.says("CachePolicy", "on") == (True, "Ready")
    assert mesh.says("CachePolicy", "off") == (True, "CachingOff")


def test_a_provider_is_looked_at_once_for_all_its_models() -> None:
    mesh = Mesh(provider("main", "a"), *(model(f"m{number}") for number in range(20)))
    looks: list[object] = []

    def fault(ref: SecretRef) -> None:
        looks.append(ref)

    registry = ModelRegistry(mesh.resources)
    silent: Callable[[str], Any] = mesh.standing.get
    kinds = ResourceReadiness(lambda: registry, fault, silent, lambda: 0.0).kinds()
    assert all(kinds["Model"](found).ready for found in mesh.resources.models.values())
    assert len(looks) == 1

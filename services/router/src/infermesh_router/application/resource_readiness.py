"""How ready the resources are that the router works with, for their status."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infermesh_common.kubernetes.status import Assess, Readiness
from infermesh_common.resources.types import (
    CachePolicy,
    Model,
    Provider,
    Resource,
    RoutePolicy,
    SecretRef,
)
from infermesh_common.secrets.faults import Fault
from infermesh_router.domain.registry import ModelRegistry

_REMEMBER_S = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What calls of a provider have shown so far.

    Attributes:
        keys: how many it has; one that is empty counts too.
        refused: of them the provider does not let in.
        resting: of them are left alone for a while because of a rate limit.
        failing: calls fail so often that it is left alone.
    """

    keys: int
    refused: int
    resting: int
    failing: bool


class ResourceReadiness:
    """Assesses the kinds whose status the router writes.

    Args:
        registry: of the resources in force.
        fault: what is wrong with a secret; None when all is well.
        standing: of the provider of that name; None when it was not called yet.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        registry: Callable[[], ModelRegistry],
        fault: Callable[[SecretRef], Fault | None],
        standing: Callable[[str], Standing | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._fault = fault
        self._standing = standing
        self._clock = clock
        self._remembered: dict[str, tuple[float, Provider, Readiness]] = {}

    def kinds(self) -> Mapping[str, Assess]:
        """How to assess each kind."""
        return {
            "Provider": self._provider,
            "Model": self._model,
            "RoutePolicy": self._route_policy,
            "CachePolicy": self._cache_policy,
        }

    def _provider(self, resource: Resource) -> Readiness:
        assert isinstance(resource, Provider)
        # Its models, and their policies, ask for it too.
        known = self._remembered.get(resource.name)
        now = self._clock()
        if known is not None and known[1] is resource and now - known[0] < _REMEMBER_S:
            return known[2]
        readiness = self._look_at(resource)
        self._remembered[resource.name] = (now, resource, readiness)
        return readiness

    def _look_at(self, provider: Provider) -> Readiness:
        spec = provider.spec
        refs = [spec.auth] if spec.auth else [key.secret for key in spec.keys]
        faults = [fault for ref in refs if (fault := self._fault(ref)) is not None]
        unreadable = [fault for fault in faults if not fault.in_use]
        if refs and len(unreadable) == len(refs):
            return Readiness(False, unreadable[0].reason, unreadable[0].message)
        standing = self._standing(provider.name)
        if standing is not None and standing.refused >= standing.keys:
            said = "The provider refuses every key: put a valid one in its place."
            return Readiness(False, "KeyRefused", said)
        if standing is not None and standing.failing:
            said = "Its calls fail, so it is left alone for now: see the log of the router."
            return Readiness(False, "Failing", said)
        if faults:
            return Readiness(True, faults[0].reason, f"It works for now. {faults[0].message}")
        if standing is not None and standing.refused:
            said = f"The provider refuses {standing.refused} of {standing.keys} keys."
            return Readiness(True, "SomeKeysRefused", said)
        if standing is not None and standing.resting >= standing.keys:
            return Readiness(True, "RateLimited", "The provider limits the rate of every key.")
        return Readiness(True, "Ready", "Its keys can be read." if refs else "It needs no key.")

    def _model(self, resource: Resource) -> Readiness:
        assert isinstance(resource, Model)
        registry = self._registry()
        provider = registry.providers.get(resource.spec.provider)
        if provider is None:
            return Readiness(False, "ProviderNotReady", "Its provider is not in force.")
        served = self._provider(provider)
        if not served.ready:
            said = f"Provider {provider.name}: {served.message}"
            return Readiness(False, "ProviderNotReady", said)
        if registry.prices.price(resource.name) is None:
            said = (
                "It works, but what it costs is unknown: state its prices in pricing.overlay, or "
                "name it in pricing.catalog as the catalog does."
            )
            return Readiness(True, "PriceUnknown", said)
        return Readiness(True, "Ready", f"Provider {provider.name} serves it.")

    def _route_policy(self, resource: Resource) -> Readiness:
        assert isinstance(resource, RoutePolicy)
        registry, spec = self._registry(), resource.spec
        names = spec.models or tuple(sorted(registry.models))
        models = [registry.models[name] for name in names if name in registry.models]
        idle = [model.name for model in models if not self._model(model).ready]
        if len(idle) == len(models):
            return Readiness(False, "NoModelReady", "None of the models it may choose is ready.")
        if spec.baseline_model and registry.prices.price(spec.baseline_model) is None:
            said = f"Savings are not counted: what {spec.baseline_model} costs is unknown."
            return Readiness(True, "BaselinePriceUnknown", said)
        if idle:
            said = f"Not ready: {', '.join(idle)}. It chooses among the others."
            return Readiness(True, "SomeModelsNotReady", said)
        return Readiness(True, "Ready", "Every model it may choose is ready.")

    def _cache_policy(self, resource: Resource) -> Readiness:
        assert isinstance(resource, CachePolicy)
        if not resource.spec.enabled:
            return Readiness(True, "CachingOff", "Nothing is cached: spec.enabled is false.")
        return Readiness(True, "Ready", "Answers are cached by it.")

"""The keys of one provider: secrets that may be rotated, and when each may be used."""

import random
import time
from collections.abc import Mapping
from typing import NamedTuple

import structlog

from infermesh_common.errors import InfermeshError, ResourceExhausted, Unavailable
from infermesh_common.resources.resource_set import ResourceSet
from infermesh_common.resources.types import (
    Model,
    Provider,
    ProviderKey,
    ProviderSpec,
    SecretRef,
)
from infermesh_common.secrets.facade import Secrets
from infermesh_common.secrets.faults import SecretError
from infermesh_common.telemetry.metrics import Metrics
from infermesh_router.application.resource_readiness import Standing
from infermesh_router.domain.resilience.cooldown import exhausted_s
from infermesh_router.domain.resilience.key_ring import KeyRing, RestRules, Why

_log = structlog.get_logger(__name__)


class Key(NamedTuple):
    """A key as one call uses it.

    Attributes:
        place: in the resource, from 0 on.
        secret: empty for a provider without keys.
    """

    place: int
    secret: str


class ProviderKeys:
    """Chooses keys for calls, and hears how the calls went.

    Args:
        provider: the resource; one without any key has one that is empty.
        rules: how long keys rest.
        metrics: of the process.
        secrets: where the keys are read.
    """

    def __init__(
        self, provider: Provider, rules: RestRules, metrics: Metrics, secrets: Secrets
    ) -> None:
        self._provider = provider.name
        self._secrets = secrets
        keys = _keys_of(provider.spec)
        self._refs = [key.secret for key in keys]
        # What was read last.
        self._texts = [""] * len(keys)
        weights = [key.weight for key in keys] or [1]
        self._ring = KeyRing(weights, rules, time.monotonic, random.random)
        # Why a key cannot be read, by its place.
        self._unreadable: dict[int, str] = {}
        # Also an only key, which does not rest for it.
        self._refused: set[int] = set()
        calls = metrics.counter("infermesh_provider_key_calls_total")
        self._calls = [calls.labels(provider.name, str(key)) for key in range(len(weights))]
        self._rests = metrics.counter("infermesh_provider_cooldowns_total")

    def choose(self, model: Model) -> Key:
        """The key for the next call of `model`.

        Raises:
            Unavailable: PROVIDER_KEY_MISSING, no key can be read;
                PROVIDER_REFUSED_CREDENTIALS, every key was refused a short while ago.
            ResourceExhausted: PROVIDER_KEYS_COOLING, every key rests.
        """
        self._notice_rotation()
        tried: list[int] = []
        while (place := self._ring.choose(model.name, tried)) is not None:
            secret = self._secret(place)
            if secret is not None:
                self._calls[place].inc()
                return Key(place, secret)
            tried.append(place)
        raise self._none_left(model)

    def is_free(self, model: Model) -> bool:
        """Whether there is a key that does not rest."""
        return self._ring.is_free(model.name)

    def answered(self, key: Key, model: Model, headers: Mapping[str, str]) -> None:
        """A call was let in; what its headers say of the next one is heeded."""
        self._ring.answered(key.place, model.name)
        self._refused.discard(key.place)
        wait_s = exhausted_s(headers, time.time())
        if wait_s:
            self._rest(key, model, Why.EXHAUSTED, wait_s)

    def limited(self, key: Key, model: Model, stated_s: float | None) -> float:
        """A call was refused for its rate. Returns the seconds for which the key rests."""
        return self._rest(key, model, Why.RATE_LIMITED, stated_s)

    def refused(self, key: Key, model: Model) -> bool:
        """The key itself was refused. Returns whether another one is free.

        An only key does not rest: there is nothing to prefer to it, and a provider that refuses
        one request so would be out of reach for all the others.
        """
        if self._refs:
            self._refused.add(key.place)
        if len(self._calls) == 1:
            return False
        self._rest(key, model, Why.REFUSED, None)
        return self.is_free(model)

    def standing(self, *, failing: bool) -> Standing:
        """How many keys are not let in, and how many rest. A new secret is given its chance."""
        refused = {
            key
            for key in self._refused
            if not self._secrets.differs(self._refs[key], self._texts[key])
        }
        return Standing(len(self._calls), len(refused), len(self._ring.resting), failing)

    def _rest(self, key: Key, model: Model, why: Why, stated_s: float | None) -> float:
        if self._refs and self._texts[key.place] != key.secret:
            # Rotated while the call was under way: nothing is known of the new one.
            return 0.0
        self._rests.labels(self._provider, why.value).inc()
        seconds = self._ring.rest(key.place, model.name, why, stated_s)
        _log.info(
            "provider_key_rests",
            provider=self._provider,
            key=key.place,
            model=model.name,
            why=why.value,
            seconds=round(seconds, 3),
        )
        return seconds

    def _notice_rotation(self) -> None:
        for key in self._ring.rested:
            if self._refs and self._secrets.differs(self._refs[key], self._texts[key]):
                self._ring.forget(key)

    def _secret(self, key: int) -> str | None:
        """None when the key cannot be read: told once, until it can."""
        if not self._refs:
            return ""
        try:
            secret = self._texts[key] = self._secrets.read(self._refs[key])
        except SecretError as error:
            if self._unreadable.get(key) != error.fault.reason:
                self._unreadable[key] = error.fault.reason
                _log.error(
                    "provider_key_unreadable",
                    provider=self._provider,
                    key=key,
                    reason=error.fault.reason,
                    error=str(error),
                )
            return None
        if self._unreadable:
            self._unreadable.pop(key, None)
        return secret

    def _none_left(self, model: Model) -> InfermeshError:
        resting = [key for key in range(len(self._calls)) if self._ring.rest_s(key, model.name)]
        metadata = {"provider": self._provider}
        if not resting:
            # Not what the faults say at length: that concerns the operator, not the client.
            why = ", ".join(sorted(set(self._unreadable.values())))
            return Unavailable(
                "PROVIDER_KEY_MISSING",
                f"The provider {self._provider} has no readable key ({why}).",
                metadata=metadata,
            )
        wait_s = min(self._ring.rest_s(key, model.name) for key in resting)
        if all(self._ring.is_refused(key) for key in resting):
            return Unavailable(
                "PROVIDER_REFUSED_CREDENTIALS",
                f"The provider {self._provider} refuses the mesh's credentials.",
                metadata=metadata,
                retry_after_s=wait_s,
            )
        return ResourceExhausted(
            "PROVIDER_KEYS_COOLING",
            f"The provider {self._provider} limits the rate: every key is left alone for now.",
            metadata=metadata,
            retry_after_s=wait_s,
        )


def _keys_of(spec: ProviderSpec) -> tuple[ProviderKey, ...]:
    return (ProviderKey(secret=spec.auth),) if spec.auth else spec.keys


def keys_in_use(resources: ResourceSet) -> list[SecretRef]:
    """Where the keys of all providers stand."""
    return [key.secret for p in resources.providers.values() for key in _keys_of(p.spec)]

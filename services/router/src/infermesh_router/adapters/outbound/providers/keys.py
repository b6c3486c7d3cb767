"""The keys of one provider: files that may be rotated, and when each may be used."""

import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from infermesh_common.errors import InfermeshError, ResourceExhausted, Unavailable
from infermesh_common.resources.types import Model, Provider, ProviderKey, ProviderSpec
from infermesh_common.settings import SettingsError, read_secret
from infermesh_common.telemetry.metrics import Metrics
from infermesh_router.domain.resilience.cooldown import exhausted_s
from infermesh_router.domain.resilience.key_ring import KeyRing, RestRules, Why

_log = structlog.get_logger(__name__)
_Signature = tuple[int, int, int]
_LOOK_EVERY_S = 0.1


class Key(NamedTuple):
    """A key as one call uses it.

    Attributes:
        place: in the resource, from 0 on.
        secret: empty for a provider without keys.
    """

    place: int
    secret: str


class SecretFile:
    """A secret that is read again when its file has changed.

    Every call asks for it. Reading the file each time would cost a call a tenth more, and looking
    whether it has changed a thirtieth: so that is done once in a while.

    Args:
        path: of the file; a link may lead to another one later, as in mounted Secrets.
        clock: seconds that only grow.

    Attributes:
        text: what was read last.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self.text = ""
        self._signature: _Signature | None = None
        self._look_at = 0.0

    def changed(self) -> bool:
        """Whether the file is another one than was read."""
        return self._now() != self._signature

    def read(self) -> str:
        """The secret, as it was a tenth of a second ago or later.

        Raises:
            SettingsError: the file cannot be read or is empty.
        """
        now = self._clock()
        if now < self._look_at and self._signature is not None:
            return self.text
        signature = self._now()
        if signature is None or signature != self._signature:
            self._signature = None
            self.text = read_secret(self._path)
            self._signature = signature
        self._look_at = now + _LOOK_EVERY_S
        return self.text

    def forget(self) -> None:
        """The next `read` looks at the file."""
        self._look_at = 0.0

    def _now(self) -> _Signature | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


class ProviderKeys:
    """Chooses keys for calls, and hears how the calls went.

    Args:
        provider: the resource; one without any key has one that is empty.
        rules: how long keys rest.
        metrics: of the process.
    """

    def __init__(self, provider: Provider, rules: RestRules, metrics: Metrics) -> None:
        self._provider = provider.name
        keys = _keys_of(provider.spec)
        self._files = [SecretFile(Path(key.secret.file)) for key in keys]
        weights = [key.weight for key in keys] or [1]
        self._ring = KeyRing(weights, rules, time.monotonic, random.random)
        self._unreadable: set[int] = set()
        calls = metrics.counter("infermesh_provider_key_calls_total")
        self._calls = [calls.labels(provider.name, str(key)) for key in range(len(weights))]
        self._rests = metrics.counter("infermesh_provider_cooldowns_total")

    def choose(self, model: Model) -> Key:
        """The key for the next call of `model`.

        Raises:
            Unavailable: PROVIDER_KEY_MISSING, no file of a key can be read;
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
        if len(self._calls) == 1:
            return False
        self._rest(key, model, Why.REFUSED, None)
        return self.is_free(model)

    def _rest(self, key: Key, model: Model, why: Why, stated_s: float | None) -> float:
        if self._files and self._files[key.place].text != key.secret:
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
            if self._files and self._files[key].changed():
                self._ring.forget(key)
                self._files[key].forget()

    def _secret(self, key: int) -> str | None:
        """None when the file cannot be read: told once, until it can."""
        if not self._files:
            return ""
        try:
            secret = self._files[key].read()
        except SettingsError as error:
            if key not in self._unreadable:
                self._unreadable.add(key)
                _log.error("provider_key_unreadable", provider=self._provider, error=str(error))
            return None
        self._unreadable.discard(key)
        return secret

    def _none_left(self, model: Model) -> InfermeshError:
        resting = [key for key in range(len(self._calls)) if self._ring.rest_s(key, model.name)]
        metadata = {"provider": self._provider}
        if not resting:
            return Unavailable(
                "PROVIDER_KEY_MISSING",
                f"The provider {self._provider} has no readable key.",
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

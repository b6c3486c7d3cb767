"""Where code reads secrets, wherever they stand."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from infermesh_common.resources.types import SecretRef
from infermesh_common.secrets.faults import Fault, Reason, where
from infermesh_common.secrets.files import SecretFile
from infermesh_common.secrets.held import HeldSecret
from infermesh_common.telemetry.metrics import Metrics


class SecretSource(Protocol):
    """A place of secrets that is followed in the background."""

    @property
    def name(self) -> str:
        """For metrics: "kubernetes" or "vault"."""

    def follow(self, held: Mapping[SecretRef, HeldSecret]) -> None:
        """Keeps these up to date from now on, and no others."""

    async def run(self) -> None:
        """Follows until cancelled."""


class _Secret(Protocol):
    @property
    def fault(self) -> Fault | None: ...

    def read(self) -> str: ...

    def look(self) -> str: ...

    def differs(self, text: str) -> bool: ...


class Secrets:
    """The secrets that resources refer to.

    Those in files are read when they are asked for. The others must be declared by `follow`, and
    `run` keeps them at hand: reading one never waits.

    Args:
        metrics: of the process.
        stale_after_s: for so long a value is used while its source cannot be read.
        kubernetes: follows Kubernetes Secrets; None where there are none.
        vault: follows a Vault; None where there is none.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        stale_after_s: float,
        kubernetes: SecretSource | None = None,
        vault: SecretSource | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stale_after_s = stale_after_s
        self._kubernetes = kubernetes
        self._vault = vault
        self._clock = clock
        self._failures = metrics.counter("infermesh_secret_failures_total")
        self._known: dict[SecretRef, _Secret] = {}
        self._held: dict[SecretRef, HeldSecret] = {}
        self._started = False
        age = metrics.gauge("infermesh_secret_age_seconds")
        for source in self._sources:
            age.labels(source.name).set_function(self._oldest(source))

    @property
    def _sources(self) -> list[SecretSource]:
        return [source for source in (self._kubernetes, self._vault) if source is not None]

    def follow(self, refs: Iterable[SecretRef]) -> None:
        """Says which secrets are in use from now on: only these are fetched."""
        wanted = list(dict.fromkeys(refs))
        self._known = {ref: self._known.get(ref) or self._made(ref) for ref in wanted}
        self._held = {
            ref: secret for ref, secret in self._known.items() if isinstance(secret, HeldSecret)
        }
        for source in self._sources:
            source.follow(self._of(source))

    async def run(self) -> None:
        """Keeps what is followed at hand until cancelled."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(source.run(), name=f"secrets-{source.name}")

    async def looked_at(self) -> bool:
        """Readiness check: at the start, every secret has been asked for, whatever came of it.

        So no replica takes calls for the moment before it has its keys, and each starts without.
        """
        looked = self._started or all(held.looked.is_set() for held in self._held.values())
        # Not when nothing is followed, which may be so because nothing is declared yet.
        self._started = looked and bool(self._held)
        return looked

    async def first_look(self, within_s: float) -> None:
        """Waits until every secret that is followed has been asked for once, whatever came of it.

        Not for longer than `within_s`: a service starts without them too.
        """
        waiting = [held.looked.wait() for ref, held in self._held.items() if self._source_of(ref)]
        try:
            async with asyncio.timeout(within_s):
                await asyncio.gather(*waiting)
        except TimeoutError:
            return

    def read(self, ref: SecretRef) -> str:
        """The secret; of a file, as it was a tenth of a second ago or later.

        Raises:
            SecretError: it cannot be had. No text of it ever holds the secret.
        """
        return self._secret(ref).read()

    def look(self, ref: SecretRef) -> str:
        """As `read`; a file is read anew in any case."""
        return self._secret(ref).look()

    def differs(self, ref: SecretRef, text: str) -> bool:
        """Whether the secret is known to be another one than `text`: it has been rotated."""
        return self._secret(ref).differs(text)

    def fault(self, ref: SecretRef) -> Fault | None:
        """What is wrong with a secret; None when all is well. A file is read for it."""
        return self._secret(ref).fault

    def _secret(self, ref: SecretRef) -> _Secret:
        if (secret := self._known.get(ref)) is not None:
            return secret
        secret = self._made(ref)
        if ref.file is not None:
            self._known[ref] = secret
        # Any other is not followed: it says that it has not been read.
        return secret

    def _made(self, ref: SecretRef) -> _Secret:
        if ref.file is not None:
            return SecretFile(Path(ref.file), self._failed("file"), self._clock)
        source = self._source_of(ref)
        name = "vault" if ref.vault is not None else "kubernetes"
        held = HeldSecret(
            where(ref),
            stale_after_s=self._stale_after_s,
            failed=self._failed(name),
            clock=self._clock,
        )
        if source is None:
            held.fail(_not_configured(ref))
        return held

    def _failed(self, source: str) -> Callable[[str], None]:
        return lambda reason: self._failures.labels(source, reason).inc()

    def _source_of(self, ref: SecretRef) -> SecretSource | None:
        return self._vault if ref.vault is not None else self._kubernetes

    def _of(self, source: SecretSource) -> dict[SecretRef, HeldSecret]:
        return {ref: held for ref, held in self._held.items() if self._source_of(ref) is source}

    def _oldest(self, source: SecretSource) -> Callable[[], float]:
        def age_s() -> float:
            ages = (held.age_s() for held in self._of(source).values())
            return max((age for age in ages if age is not None), default=0.0)

        return age_s


def _not_configured(ref: SecretRef) -> Fault:
    if ref.vault is not None:
        return Fault(
            Reason.VAULT_NOT_CONFIGURED,
            f"The {where(ref)} cannot be read: this service knows of no Vault (secrets.vault).",
        )
    return Fault(
        Reason.KUBERNETES_NOT_CONFIGURED,
        f"The {where(ref)} cannot be read: this service knows of no cluster "
        "(secrets.kubernetes_namespace).",
    )

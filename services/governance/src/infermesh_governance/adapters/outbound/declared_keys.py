"""Keys that are declared, not issued: of ApiKey resources, and the operator's of the settings."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from infermesh_common.identity.model import Role, hash_key, parse_key_id
from infermesh_common.resources.types import ApiKey, SecretRef
from infermesh_common.secrets.facade import Secrets
from infermesh_common.secrets.faults import SecretError, where
from infermesh_common.telemetry.metrics import Metrics
from infermesh_governance.domain.keys import KeyRecord, Origin

_log = structlog.get_logger(__name__)
_OPERATOR = "bootstrap_operator_key_file"
_ROLES = {"member": Role.MEMBER, "admin": Role.ADMIN}
# A Vault that hangs must not keep keys from working that stand elsewhere.
_FIRST_LOOK_S = 5.0
_WRONG_FORM = "does not hold an API key of the form im_<16 hexadecimal digits>_<secret>"


@dataclass(frozen=True, slots=True)
class _Source:
    """A secret that should be a key, and whose key that is."""

    where: str
    ref: SecretRef
    tenant: str
    role: Role
    description: str
    origin: Origin
    team: str = ""


@dataclass(frozen=True, slots=True)
class _Secret:
    """What is kept of a key."""

    key_id: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why there is no key.

    Attributes:
        message: for people.
        ends_key: whether the key that was there before is in force no more.
    """

    message: str
    ends_key: bool = False


class DeclaredKeys:
    """Reads declared keys and reads them again when they change.

    A secret that cannot be used takes no working key away: the key it was before stays in force
    until the secret is right again or is no longer named. Only a Vault or an API server that cannot
    be reached for longer than `secrets.stale_after_ms` ends it. The fault is logged when it begins.

    Args:
        operator_key_file: see `GovernanceSettings`.
        secrets: where the keys are read.
        listener: gets all declared keys, by key id, after each change.
        metrics: counts the secrets that cannot be used.
        poll_s: time between two looks at the secrets.

    Attributes:
        faults: what is wrong with which secret, by the resource or setting that names it.
    """

    def __init__(
        self,
        operator_key_file: Path | None,
        secrets: Secrets,
        listener: Callable[[Mapping[str, KeyRecord]], None],
        metrics: Metrics,
        *,
        poll_s: float,
    ) -> None:
        self._operator = (
            []
            if operator_key_file is None
            else [
                _Source(
                    where=_OPERATOR,
                    ref=SecretRef(file=str(operator_key_file)),
                    tenant="",
                    role=Role.OPERATOR,
                    description="operator key of the settings",
                    origin=Origin.BOOTSTRAP,
                )
            ]
        )
        self._sources: list[_Source] = list(self._operator)
        self._secrets = secrets
        self._listener = listener
        self._poll_s = poll_s
        self._invalid = metrics.gauge("infermesh_declared_keys_invalid")
        self._wake = asyncio.Event()
        self._held: dict[tuple[str, SecretRef], _Secret] = {}
        self.faults: Mapping[str, str] = {}
        self._told: dict[str, KeyRecord] | None = None

    def declare(self, resources: Iterable[ApiKey]) -> None:
        """Takes over the ApiKey resources in force; their secrets are read soon."""
        self._sources = self._operator + [
            _Source(
                where=f"ApiKey {resource.name}",
                ref=resource.spec.secret_ref,
                tenant=resource.spec.tenant,
                role=_ROLES[resource.spec.role],
                description=resource.spec.description,
                origin=Origin.DECLARED,
                team=resource.spec.team,
            )
            for resource in resources
        ]
        self._secrets.follow(source.ref for source in self._sources)
        self._wake.set()

    async def run(self) -> None:
        """Keeps reading until cancelled."""
        while True:
            self._wake.clear()
            await self.read_once()
            with contextlib.suppress(TimeoutError):  # then a look is due
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()

    async def read_once(self) -> None:
        """Reads every secret and tells the listener when a key is another one than before."""
        await self._secrets.first_look(_FIRST_LOOK_S)
        sources = self._sources
        read = await asyncio.to_thread(lambda: [self._read(source) for source in sources])
        held: dict[tuple[str, SecretRef], _Secret] = {}
        faults: dict[str, str] = {}
        keys: dict[str, KeyRecord] = {}
        for source, found in zip(sources, read, strict=True):
            place = source.where, source.ref
            secret = found if isinstance(found, _Secret) else None
            if isinstance(found, _Fault):
                secret = None if found.ends_key else self._held.get(place)
                kept = " The key it was before stays in force." if secret else ""
                faults[source.where] = found.message + kept
            if secret is None:
                continue
            held[place] = secret
            if secret.key_id in keys:
                faults[source.where] = (
                    f"The {where(source.ref)} holds a key that is declared already."
                )
            keys.setdefault(secret.key_id, _record(source, secret))
        self._held = held
        self._report(faults)
        if keys != self._told:
            self._told = keys
            self._listener(keys)

    def _read(self, source: _Source) -> _Secret | _Fault:
        """The key, or what is wrong. What a secret holds is never repeated."""
        try:
            api_key = self._secrets.look(source.ref)
        except SecretError as error:
            return _Fault(str(error), ends_key=error.expired)
        key_id = parse_key_id(api_key)
        if key_id is None:
            return _Fault(f"The {where(source.ref)} {_WRONG_FORM}.")
        return _Secret(key_id, hash_key(api_key))

    def _report(self, faults: dict[str, str]) -> None:
        for owner, fault in faults.items():
            if self.faults.get(owner) != fault:
                _log.warning("declared_key_refused", where=owner, reason=fault)
        for owner in self.faults.keys() - faults.keys():
            _log.info("declared_key_fault_ended", where=owner)
        self.faults = faults
        self._invalid.set(len(faults))


def _record(source: _Source, secret: _Secret) -> KeyRecord:
    return KeyRecord(
        key_id=secret.key_id,
        secret_sha256=secret.sha256,
        tenant=source.tenant,
        role=source.role,
        description=source.description,
        origin=source.origin,
        team=source.team,
    )

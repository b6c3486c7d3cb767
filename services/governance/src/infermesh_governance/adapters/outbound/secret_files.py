"""Keys that stand in files: those of ApiKey resources and the operator's of the settings."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from infermesh_common.identity.model import Role, hash_key, parse_key_id
from infermesh_common.resources.types import ApiKey
from infermesh_common.settings import SettingsError, read_secret
from infermesh_common.telemetry.metrics import Metrics
from infermesh_governance.domain.keys import KeyRecord, Origin

_log = structlog.get_logger(__name__)
_OPERATOR = "bootstrap_operator_key_file"
_ROLES = {"member": Role.MEMBER, "admin": Role.ADMIN}
_WRONG_FORM = "does not hold an API key of the form im_<16 hexadecimal digits>_<secret>"


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that should hold a key, and whose key that is."""

    where: str
    path: Path
    tenant: str
    role: Role
    description: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class _Secret:
    """What is kept of a key."""

    key_id: str
    sha256: bytes


class SecretFileKeys:
    """Reads declared keys and reads them again when they change.

    A file that cannot be used takes no working key away: the key it held before stays in force
    until the file is right again or is no longer named. The fault is logged when it begins.

    Args:
        operator_key_file: see `GovernanceSettings`.
        listener: gets all declared keys, by key id, after each change.
        metrics: counts the files that cannot be used.
        poll_s: time between two looks at the files.

    Attributes:
        faults: what is wrong with which file, by the resource or setting that names it.
    """

    def __init__(
        self,
        operator_key_file: Path | None,
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
                    path=operator_key_file,
                    tenant="",
                    role=Role.OPERATOR,
                    description="operator key of the settings",
                    origin=Origin.BOOTSTRAP,
                )
            ]
        )
        self._sources: list[_Source] = list(self._operator)
        self._listener = listener
        self._poll_s = poll_s
        self._invalid = metrics.gauge("infermesh_declared_keys_invalid")
        self._wake = asyncio.Event()
        self._held: dict[tuple[str, Path], _Secret] = {}
        self.faults: Mapping[str, str] = {}
        self._told: dict[str, KeyRecord] | None = None

    def declare(self, resources: Iterable[ApiKey]) -> None:
        """Takes over the ApiKey resources in force; their files are read soon."""
        self._sources = self._operator + [
            _Source(
                where=f"ApiKey {resource.name}",
                path=Path(resource.spec.secret_ref.file),
                tenant=resource.spec.tenant,
                role=_ROLES[resource.spec.role],
                description=resource.spec.description,
                origin=Origin.DECLARED,
            )
            for resource in resources
        ]
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
        """Reads every file and tells the listener when a key is another one than before."""
        sources = self._sources
        read = await asyncio.to_thread(lambda: [_read(source.path) for source in sources])
        held: dict[tuple[str, Path], _Secret] = {}
        faults: dict[str, str] = {}
        keys: dict[str, KeyRecord] = {}
        for source, found in zip(sources, read, strict=True):
            place = source.where, source.path
            secret = self._held.get(place) if isinstance(found, str) else found
            if isinstance(found, str):
                kept = "; the key it held before stays in force" if secret else ""
                faults[source.where] = found + kept
            if secret is None:
                continue
            held[place] = secret
            if secret.key_id in keys:
                faults[source.where] = f"{source.path} holds a key that is declared already"
            keys.setdefault(secret.key_id, _record(source, secret))
        self._held = held
        self._report(faults)
        if keys != self._told:
            self._told = keys
            self._listener(keys)

    def _report(self, faults: dict[str, str]) -> None:
        for where, fault in faults.items():
            if self.faults.get(where) != fault:
                _log.warning("declared_key_refused", where=where, reason=fault)
        for where in self.faults.keys() - faults.keys():
            _log.info("declared_key_fault_ended", where=where)
        self.faults = faults
        self._invalid.set(len(faults))


def _read(path: Path) -> _Secret | str:
    """The key in a file, or what is wrong with the file. What it holds is never repeated."""
    try:
        api_key = read_secret(path)
    except SettingsError as error:
        return str(error)
    key_id = parse_key_id(api_key)
    if key_id is None:
        return f"secret file {path} {_WRONG_FORM}"
    return _Secret(key_id, hash_key(api_key))


def _record(source: _Source, secret: _Secret) -> KeyRecord:
    return KeyRecord(
        key_id=secret.key_id,
        secret_sha256=secret.sha256,
        tenant=source.tenant,
        role=source.role,
        description=source.description,
        origin=source.origin,
    )

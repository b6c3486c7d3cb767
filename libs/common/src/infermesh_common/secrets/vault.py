"""Secrets in Vault or OpenBao, looked at once in a while."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from infermesh_common.resources.types import SecretRef, VaultRef
from infermesh_common.secrets.faults import Fault, Reason, SecretError
from infermesh_common.secrets.held import HeldSecret
from infermesh_common.secrets.vault_client import Denied, Entries, Lease, Vault

T = TypeVar("T")
# Of its time, a token lives this much before it is prolonged.
_RENEW_AT = 2 / 3
# A token whose prolonging yields less than this of its first time nears the end it cannot pass.
_WORTH_KEEPING = 1 / 2
# Between two logins only because a path is denied to a token that Vault does not tell about.
_LOGIN_AGAIN_S = 30.0
_LONGEST_CLOSE_S = 1.0
# Making the client imports its library, which takes long on a busy machine.
_LONGEST_IMPORT_S = 30.0


class VaultSecrets:
    """Reads the paths of a Vault that are referred to, and no others.

    hvac blocks, so it has a thread of its own. A call that takes too long is left alone; until it
    has ended, no other is begun.

    Args:
        connect: makes the client, at the first call and in that thread.
        poll_s: time between two looks at a path.
        timeout_s: longest wait for one call.
        clock: seconds that only grow.
    """

    name = "vault"

    def __init__(
        self,
        connect: Callable[[], Vault],
        *,
        poll_s: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._poll_s = poll_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="vault")
        # Of the call before.
        self._ended: Callable[[], bool] = lambda: True
        self._vault: Vault | None = None
        self._first_ttl_s: float | None = None
        self._renew_at: float | None = None
        self._renewable = False
        self._login_again_at = 0.0
        self._held: Mapping[SecretRef, HeldSecret] = {}
        self._wake = asyncio.Event()

    def follow(self, held: Mapping[SecretRef, HeldSecret]) -> None:
        """Keeps these up to date from now on, and no others."""
        self._held = held
        self._wake.set()

    async def run(self) -> None:
        """Follows until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._look()
                try:
                    async with asyncio.timeout(self._pause_s()):
                        await self._wake.wait()
                except TimeoutError:
                    continue  # a look is due
        finally:
            await self._close()

    def _pause_s(self) -> float:
        """Not the same for every replica; a token is not left to die meanwhile."""
        pause_s = self._poll_s * random.uniform(0.9, 1.1)
        if self._held and self._renew_at is not None:
            left_s = self._renew_at - self._clock()
            # Nothing is left where Vault could not be asked to prolong it.
            if 0 < left_s < pause_s:
                return left_s
        return pause_s

    async def _look(self) -> None:
        """Reads every path once. What concerns Vault as a whole ends the look."""
        paths: dict[str, list[tuple[VaultRef, HeldSecret]]] = {}
        for ref, held in self._held.items():
            assert ref.vault is not None
            paths.setdefault(ref.vault.path, []).append((ref.vault, held))
        while paths:
            path, wanted = next(iter(paths.items()))
            try:
                await self._sign_in()
                entries = await self._read(path)
            except SecretError as error:
                for others in paths.values():
                    for _, held in others:
                        held.fail(error.fault)
                return
            for entry, held in wanted:
                _hand_on(entries, entry, held)
            del paths[path]

    async def _sign_in(self) -> None:
        if self._vault is None:
            self._vault = await self._call(self._connect, _LONGEST_IMPORT_S)
        if self._first_ttl_s is None:
            await self._login()
        elif self._renew_at is not None and self._clock() >= self._renew_at:
            await self._renew()

    async def _login(self) -> None:
        self._first_ttl_s = None
        lease = await self._call(self._ready.login)
        self._first_ttl_s = lease.ttl_s
        self._take(lease)

    async def _renew(self) -> None:
        first_s = self._first_ttl_s or 0.0
        try:
            lease = await self._call(self._ready.renew) if self._renewable else None
        except Denied:
            lease = None
        if lease is None or lease.ttl_s < first_s * _WORTH_KEEPING:
            await self._login()
        else:
            self._take(lease)

    def _take(self, lease: Lease) -> None:
        self._renewable = lease.renewable
        self._renew_at = self._clock() + lease.ttl_s * _RENEW_AT if lease.ttl_s else None

    async def _read(self, path: str) -> Entries | Fault:
        for attempt in range(2):
            try:
                entries = await self._call(lambda: self._ready.read(path))
            except Denied:
                if attempt == 0 and await self._token_is_dead():
                    await self._login()
                    continue
                said = f"Vault does not let this service read {path}: its role's policies must."
                return Fault(Reason.VAULT_DENIED, said)
            return entries or Fault(Reason.MISSING, f"There is nothing at {path} in Vault.")
        raise AssertionError("the second attempt returns")

    async def _token_is_dead(self) -> bool:
        """Whether a new token may help. One that may not even look at itself is taken for dead,
        but not time and again."""
        now = self._clock()
        if await self._call(self._ready.knows_token) or now < self._login_again_at:
            return False
        self._login_again_at = now + _LOGIN_AGAIN_S
        return True

    @property
    def _ready(self) -> Vault:
        assert self._vault is not None
        return self._vault

    async def _call(self, operation: Callable[[], T], timeout_s: float | None = None) -> T:
        """Runs it in the thread.

        Raises:
            SecretError: it took too long, or the one before has still not ended.
        """
        if not self._ended():
            raise SecretError(Fault(Reason.VAULT_UNAVAILABLE, "Vault does not answer."))
        future = self._executor.submit(operation)
        self._ended = future.done
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            raise SecretError(
                Fault(Reason.VAULT_UNAVAILABLE, "Vault does not answer in time.")
            ) from None
        except (SecretError, Denied):
            raise
        except Exception as error:  # whatever an odd answer makes the library do
            said = f"Vault cannot be asked ({type(error).__name__})."
            raise SecretError(Fault(Reason.VAULT_UNAVAILABLE, said)) from None

    async def _close(self) -> None:
        try:
            if self._vault is not None:
                await self._call(self._vault.close, min(self._timeout_s, _LONGEST_CLOSE_S))
        except SecretError:
            return  # the token ends by itself when its time is over
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)


def _hand_on(entries: Entries | Fault, entry: VaultRef, held: HeldSecret) -> None:
    if isinstance(entries, Fault):
        held.fail(entries)
        return
    value = entries.values.get(entry.key)
    at = f"The key {entry.key} at {entry.path} in Vault"
    if isinstance(value, str):
        held.put(value, version=entries.version)
    elif value is None:
        held.fail(Fault(Reason.MISSING, f"{at} does not exist."))
    else:
        held.fail(Fault(Reason.INVALID, f"{at} is not a text."))

"""Secrets of Vault are looked at once in a while, with a token that is kept alive."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from infermesh_common.resources.types import SecretRef, VaultRef
from infermesh_common.secrets.facade import Secrets
from infermesh_common.secrets.faults import Fault, Reason, SecretError
from infermesh_common.secrets.vault import VaultSecrets
from infermesh_common.secrets.vault_client import Denied, Entries, Lease
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import eventually

Running = Callable[..., AbstractAsyncContextManager[list[asyncio.Task[None]]]]


def ref(path: str, key: str = "key") -> SecretRef:
    return SecretRef(vault=VaultRef(path=path, key=key))


class Clock:
    """Time that passes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedVault:
    """Implements `Vault` as the test tells it to.

    Attributes:
        content: what stands at which path, and what may not be read.
        down: why it cannot be asked at all.
        ttls: of the tokens it gives, the last one again and again.
        token: the one it knows; None after a revocation.
        told_tokens: whether tokens may look at themselves.
        hold: cleared while calls hang.
        calls: what was asked.
    """

    def __init__(self) -> None:
        self.content: dict[str, dict[str, object] | type[Denied]] = {}
        self.down: Exception | None = None
        self.ttls = [900.0]
        self.renewable = True
        self.token: int | None = None
        self.told_tokens = True
        self.hold = threading.Event()
        self.hold.set()
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self._presented: int | None = None
        self._logins = 0

    def login(self) -> Lease:
        self._begin("login")
        self._logins += 1
        self.token = self._presented = self._logins
        return self._lease()

    def renew(self) -> Lease:
        self._begin("renew")
        self._prove()
        return self._lease()

    def knows_token(self) -> bool:
        self._begin("knows_token")
        return self.told_tokens and self.token == self._presented

    def read(self, path: str) -> Entries | None:
        self._begin(f"read {path}")
        self._prove()
        found = self.content.get(path)
        if isinstance(found, dict):
            return Entries(1, found)
        if found is not None:
            raise Denied
        return None

    def close(self) -> None:
        self._begin("close")

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        self.threads.add(threading.current_thread().name)
        self.hold.wait(20)
        if self.down is not None:
            raise self.down

    def _prove(self) -> None:
        if self.token is None or self.token != self._presented:
            raise Denied

    def _lease(self) -> Lease:
        return Lease(self.ttls.pop(0) if len(self.ttls) > 1 else self.ttls[0], self.renewable)


class Stand:
    """Secrets that are followed in a Vault."""

    def __init__(self, metrics: Metrics, *, timeout_s: float = 10) -> None:
        self.vault = ScriptedVault()
        self.clock = Clock()
        self.connects = 0
        self.source = VaultSecrets(
            self._connect, poll_s=0.01, timeout_s=timeout_s, clock=self.clock
        )
        self.secrets = Secrets(metrics, stale_after_s=60, vault=self.source)

    def _connect(self) -> ScriptedVault:
        self.connects += 1
        if self.connects == 1:
            raise ModuleNotFoundError
        return self.vault

    async def says(self, where: SecretRef, text: str) -> None:
        await eventually(lambda: self.now(where) == text, what=f"{text}, not {self.now(where)}")

    def now(self, where: SecretRef) -> str:
        """The secret, or why there is none."""
        try:
            return self.secrets.read(where)
        except SecretError as error:
            return error.fault.reason

    async def fault(self, where: SecretRef, reason: str) -> Fault:
        def same() -> bool:
            fault = self.secrets.fault(where)
            return fault is not None and fault.reason == reason

        await eventually(same, what=f"{reason}, not {self.secrets.fault(where)}")
        fault = self.secrets.fault(where)
        assert fault is not None
        return fault

    async def looks(self, times: int = 2) -> None:
        """Waits for further reads."""
        before = self.reads()
        await eventually(lambda: self.reads() >= before + times, what="reads")

    def reads(self) -> int:
        return sum(call.startswith("read") for call in self.vault.calls)

    def asked(self, call: str) -> int:
        return self.vault.calls.count(call)


@pytest.fixture
async def stand(metrics: Metrics, running: Running) -> AsyncIterator[Stand]:
    made = Stand(metrics)
    made.vault.content["providers/openai"] = {"key": "one", "other": "two"}
    made.secrets.follow([ref("providers/openai")])
    async with running(made.secrets.run()):
        yield made


async def test_what_is_followed_is_read_and_nothing_else(stand: Stand) -> None:
    await stand.says(ref("providers/openai"), "one")
    stand.secrets.follow([ref("providers/openai"), ref("providers/openai", "other")])
    await stand.says(ref("providers/openai", "other"), "two")
    assert set(stand.vault.calls) == {"login", "read providers/openai"}
    assert stand.asked("login") == 1
    assert all(name.startswith("vault") for name in stand.vault.threads)
    assert len(stand.vault.threads) == 1


async def test_vault_is_left_alone_while_nothing_is_in_it(
    metrics: Metrics, running: Running
) -> None:
    stand = Stand(metrics)
    async with running(stand.secrets.run()):
        for _ in range(5):
            stand.secrets.follow([])
            await asyncio.sleep(0)
    assert stand.connects == 0 and not stand.vault.calls


async def test_a_rotation_is_seen_at_the_next_look(stand: Stand) -> None:
    await stand.says(ref("providers/openai"), "one")
    stand.vault.content["providers/openai"] = {"key": "three"}
    await stand.says(ref("providers/openai"), "three")
    assert stand.secrets.differs(ref("providers/openai"), "one")


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (None, "SecretMissing", "There is nothing at providers/openai in Vault."),
        (
            {"other": "x"},
            "SecretMissing",
            "The key key at providers/openai in Vault does not exist.",
        ),
        ({"key": ""}, "SecretEmpty", "The key key of providers/openai in Vault is empty."),
        (
            {"key": {"a": "sk-secret"}},
            "SecretInvalid",
            "The key key at providers/openai in Vault is not a text.",
        ),
        (
            Denied,
            "VaultDenied",
            "Vault does not let this service read providers/openai: its role's policies must.",
        ),
    ],
)
async def test_what_is_wrong_with_one_path_is_said_and_harms_no_other(
    stand: Stand, content: dict[str, object] | type[Denied] | None, reason: str, says: str
) -> None:
    path = ref("providers/openai")
    await stand.says(path, "one")
    stand.vault.content["providers/other"] = {"key": "good"}
    stand.secrets.follow([path, ref("providers/other")])
    if content is None:
        del stand.vault.content["providers/openai"]
    else:
        stand.vault.content["providers/openai"] = content
    fault = await stand.fault(path, reason)
    assert fault.message == f"{says} The value read last is in use." and fault.in_use
    assert stand.secrets.read(path) == "one"
    await stand.says(ref("providers/other"), "good")
    # Nobody signs in time and again because of it.
    await stand.looks(6)
    assert stand.asked("login") == 1

    stand.vault.content["providers/openai"] = {"key": "back"}
    await stand.says(path, "back")
    assert stand.secrets.fault(path) is None


async def test_a_vault_that_cannot_be_asked_takes_nothing_away_and_comes_back(
    stand: Stand,
) -> None:
    both = [ref("providers/openai"), ref("providers/other")]
    await stand.says(both[0], "one")
    stand.secrets.follow(both)
    stand.vault.down = SecretError(Fault(Reason.VAULT_SEALED, "Vault is sealed."))
    for path in both:
        await stand.fault(path, "VaultSealed")
    assert stand.now(both[0]) == "one" and stand.now(both[1]) == "VaultSealed"
    stand.vault.down = None
    await stand.fault(both[1], "SecretMissing")
    assert stand.secrets.fault(both[0]) is None
    assert stand.asked("login") == 1


async def test_whatever_the_library_does_is_a_fault(stand: Stand) -> None:
    await stand.says(ref("providers/openai"), "one")
    stand.vault.down = KeyError("sk-secret")
    fault = await stand.fault(ref("providers/openai"), "VaultUnavailable")
    assert fault.message.startswith("Vault cannot be asked (KeyError).")


async def test_a_token_is_prolonged_at_two_thirds_of_its_time(stand: Stand) -> None:
    await stand.says(ref("providers/openai"), "one")
    stand.clock.now += 599
    await stand.looks()
    assert stand.asked("renew") == 0
    stand.clock.now += 1
    await eventually(lambda: stand.asked("renew") == 1)
    await stand.looks()
    stand.clock.now += 599
    await stand.looks()
    assert stand.asked("renew") == 1 and stand.asked("login") == 1


async def test_a_token_near_the_end_that_it_cannot_pass_is_replaced(stand: Stand) -> None:
    await stand.says(ref("providers/openai"), "one")
    stand.vault.ttls = [400.0, 900.0]
    stand.clock.now += 600
    await eventually(lambda: stand.asked("login") == 2)
    await stand.looks()
    assert stand.asked("renew") == 1


async def test_a_token_that_cannot_be_prolonged_is_replaced(
    metrics: Metrics, running: Running
) -> None:
    stand = Stand(metrics)
    stand.vault.renewable = False
    stand.secrets.follow([ref("p")])
    async with running(stand.secrets.run()):
        await stand.fault(ref("p"), "SecretMissing")
        stand.clock.now += 600
        await eventually(lambda: stand.asked("login") == 2)
    assert stand.asked("renew") == 0


async def test_a_token_without_an_end_is_left_alone(metrics: Metrics, running: Running) -> None:
    stand = Stand(metrics)
    stand.vault.ttls = [0.0]
    stand.secrets.follow([ref("p")])
    async with running(stand.secrets.run()):
        await stand.fault(ref("p"), "SecretMissing")
        stand.clock.now += 1e9
        await stand.looks()
    assert stand.asked("renew") == 0 and stand.asked("login") == 1


async def test_a_vault_that_cannot_prolong_is_not_asked_more_often(stand: Stand) -> None:
    await stand.says(ref("providers/openai"), "one")
    stand.vault.down = SecretError(Fault(Reason.VAULT_SEALED, "Vault is sealed."))
    stand.clock.now += 800
    await stand.fault(ref("providers/openai"), "VaultSealed")
    assert stand.source._pause_s() >= 0.009


@pytest.mark.parametrize("renewed", [False, True], ids=["by a look", "when it is prolonged"])
async def test_a_revoked_token_is_replaced(stand: Stand, renewed: bool) -> None:
    await stand.says(ref("providers/openai"), "one")
    stand.vault.token = None
    stand.clock.now += 600 if renewed else 0
    stand.vault.content["providers/openai"] = {"key": "three"}
    await stand.says(ref("providers/openai"), "three")
    assert stand.asked("login") == 2


async def test_a_token_that_may_not_look_at_itself_is_replaced_once_in_a_while_only(
    stand: Stand,
) -> None:
    await stand.says(ref("providers/openai"), "one")
    stand.vault.told_tokens = False
    stand.vault.content["providers/openai"] = Denied
    await stand.fault(ref("providers/openai"), "VaultDenied")
    await stand.looks(6)
    assert stand.asked("login") == 2
    stand.clock.now += 30
    await eventually(lambda: stand.asked("login") == 3)


async def test_a_refused_login_is_tried_again(metrics: Metrics, running: Running) -> None:
    stand = Stand(metrics)
    stand.vault.down = SecretError(Fault(Reason.VAULT_LOGIN_REFUSED, "Vault refuses the login."))
    stand.vault.content["p"] = {"key": "one"}
    stand.secrets.follow([ref("p")])
    async with running(stand.secrets.run()):
        await stand.fault(ref("p"), "VaultLoginRefused")
        stand.vault.down = None
        await stand.says(ref("p"), "one")


async def test_a_vault_that_hangs_is_given_up_and_no_call_waits_behind_it(
    metrics: Metrics, running: Running
) -> None:
    stand = Stand(metrics, timeout_s=0.2)
    stand.vault.content["p"] = {"key": "one"}
    stand.secrets.follow([ref("p")])
    async with running(stand.secrets.run()):
        await stand.says(ref("p"), "one")
        stand.vault.hold.clear()
        fault = await stand.fault(ref("p"), "VaultUnavailable")
        assert "does not answer" in fault.message
        asked = len(stand.vault.calls)
        labels = {"source": "vault", "reason": "VaultUnavailable"}
        failures = metrics.sample("infermesh_secret_failures_total", labels)
        await eventually(
            lambda: metrics.sample("infermesh_secret_failures_total", labels) > failures + 3
        )
        assert len(stand.vault.calls) == asked
        assert stand.secrets.read(ref("p")) == "one"
        stand.vault.content["p"] = {"key": "two"}
        stand.vault.hold.set()
        await stand.says(ref("p"), "two")


async def test_the_token_is_given_back_at_the_end(metrics: Metrics, running: Running) -> None:
    stand = Stand(metrics)
    stand.secrets.follow([ref("p")])
    async with running(stand.secrets.run()):
        await stand.fault(ref("p"), "SecretMissing")
    assert stand.vault.calls[-1] == "close"


async def test_a_vault_that_hangs_does_not_hold_up_the_end(
    metrics: Metrics, running: Running
) -> None:
    stand = Stand(metrics)
    stand.vault.hold.clear()
    stand.secrets.follow([ref("p")])
    async with running(stand.secrets.run()):
        await eventually(lambda: stand.vault.calls == ["login"])
    assert stand.vault.calls == ["login"]
    stand.vault.hold.set()

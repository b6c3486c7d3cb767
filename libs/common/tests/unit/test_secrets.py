"""Secrets are read without waiting, outlive their source for a while, and then fail closed."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from infermesh_common.resources.types import SecretKeyRef, SecretRef, VaultRef
from infermesh_common.secrets.facade import Secrets
from infermesh_common.secrets.faults import Fault, Reason, SecretError
from infermesh_common.secrets.held import HeldSecret
from infermesh_common.secrets.opening import open_secrets
from infermesh_common.settings import SecretsSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.secrets import ScriptedSource

VAULT = SecretRef(vault=VaultRef(path="providers/openai", key="key"))
SECRET = SecretRef(secret=SecretKeyRef(name="openai", key="key"))
SEALED = Fault(Reason.VAULT_SEALED, "Vault is sealed.")
Running = Callable[..., AbstractAsyncContextManager[list[asyncio.Task[None]]]]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Held:
    """A secret that may be used for a minute, and why its source failed so far."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.failed: list[str] = []
        self.secret = HeldSecret(
            "key k of p", stale_after_s=60, failed=self.failed.append, clock=self.clock
        )

    def error(self) -> SecretError:
        with pytest.raises(SecretError) as caught:
            self.secret.read()
        return caught.value


@pytest.fixture
def held() -> Held:
    return Held()


def test_what_was_never_read_says_why(held: Held) -> None:
    assert held.error().fault.reason == "SecretNotRead"
    held.secret.fail(SEALED)
    error = held.error()
    assert error.fault == SEALED == held.secret.fault and not error.expired
    assert held.secret.age_s() is None and not held.secret.differs("x")
    assert held.failed == ["VaultSealed"]


def test_the_value_read_last_is_used_for_a_while_and_then_no_more(held: Held) -> None:
    held.secret.put(" one\n")
    assert held.secret.read() == "one" and held.secret.fault is None
    held.secret.fail(SEALED)
    held.clock.now += 59
    assert held.secret.read() == "one" and held.secret.age_s() == 59
    fault = held.secret.fault
    assert fault and fault.in_use and fault.reason == "VaultSealed"
    assert fault.message == "Vault is sealed. The value read last is in use."

    held.clock.now += 1
    error = held.error()
    assert error.expired and error.fault == held.secret.fault and not error.fault.in_use
    assert error.fault.reason == "VaultSealed"
    assert "too old to be used" in error.fault.message
    assert not held.secret.differs("x")

    held.secret.put("two")
    assert held.secret.read() == "two" and held.secret.fault is None


def test_a_source_that_says_nothing_at_all_ends_it_too(held: Held) -> None:
    held.secret.put("one", age_s=20)
    held.clock.now += 39
    assert held.secret.read() == "one"
    held.clock.now += 1
    assert held.error().expired and held.secret.fault == held.error().fault


def test_an_empty_value_takes_the_one_before_not_away(held: Held) -> None:
    held.secret.put("one")
    held.secret.put(" \n")
    assert held.secret.read() == "one"
    assert held.failed == ["SecretEmpty"]


def test_a_rotation_and_a_fault_are_logged_once_and_never_the_secret(held: Held) -> None:
    with capture_logs() as lines:
        for text in ("sk-one", "sk-one", "sk-two"):
            held.secret.put(text, version=7)
        for _ in range(3):
            held.secret.fail(SEALED)
        held.secret.fail(Fault(Reason.VAULT_UNAVAILABLE, "Vault cannot be reached."))
        held.secret.put("sk-two")
    assert [line["event"] for line in lines] == [
        "secret_rotated",
        "secret_unreadable",
        "secret_unreadable",
        "secret_fault_ended",
    ]
    assert lines[0]["version"] == 7
    assert "sk-" not in repr(lines) + repr(held.secret) + repr(held.secret.fault)


class Reader:
    """Secrets out of scripted sources."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.kubernetes, self.vault = ScriptedSource("kubernetes"), ScriptedSource("vault")
        self.secrets = Secrets(
            metrics, stale_after_s=60, kubernetes=self.kubernetes, vault=self.vault
        )

    def refused(self, ref: SecretRef) -> str:
        with pytest.raises(SecretError) as caught:
            self.secrets.read(ref)
        return caught.value.fault.reason


@pytest.fixture
def reader(metrics: Metrics) -> Reader:
    return Reader(metrics)


def test_each_reference_leads_to_its_source(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of a file")
    file = SecretRef(file=str(tmp_path / "key"))
    secrets = reader.secrets
    secrets.follow([file, VAULT, SECRET, VAULT])
    reader.vault.put(VAULT, "of Vault")
    reader.kubernetes.put(SECRET, "of Kubernetes")

    assert [*reader.vault.held] == [VAULT] and [*reader.kubernetes.held] == [SECRET]
    said = {file: "of a file", VAULT: "of Vault", SECRET: "of Kubernetes"}
    for ref, text in said.items():
        assert secrets.read(ref) == secrets.look(ref) == text
        assert secrets.differs(ref, "another") and not secrets.differs(ref, text)
        assert secrets.fault(ref) is None


def test_a_file_needs_not_be_followed_and_anything_else_must(
    reader: Reader, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("there")
    assert reader.secrets.read(SecretRef(file=str(tmp_path / "key"))) == "there"
    assert reader.refused(VAULT) == reader.refused(SECRET) == "SecretNotRead"
    assert not reader.vault.held


def test_what_stays_in_use_keeps_its_value_and_what_does_not_is_forgotten(reader: Reader) -> None:
    reader.secrets.follow([VAULT, SECRET])
    reader.vault.put(VAULT, "one")
    reader.secrets.follow([VAULT])
    assert reader.secrets.read(VAULT) == "one"
    assert not reader.kubernetes.held
    reader.secrets.follow([])
    assert reader.refused(VAULT) == "SecretNotRead"


def test_a_source_that_is_not_configured_is_said(metrics: Metrics) -> None:
    settings = SecretsSettings(
        poll_ms=1000, stale_after_ms=1000, kubernetes_namespace=None, vault=None
    )
    secrets = open_secrets(settings, metrics)
    secrets.follow([VAULT, SECRET])
    faults = [secrets.fault(ref) for ref in (VAULT, SECRET)]
    assert [fault and fault.reason for fault in faults] == [
        "VaultNotConfigured",
        "KubernetesNotConfigured",
    ]
    for ref, fault in zip((VAULT, SECRET), faults, strict=True):
        with pytest.raises(SecretError) as caught:
            secrets.read(ref)
        assert caught.value.fault == fault


async def test_age_and_failures_are_measured_by_source(reader: Reader) -> None:
    metrics = reader.metrics
    assert metrics.sample("infermesh_secret_age_seconds", {"source": "vault"}) == 0
    reader.secrets.follow([VAULT, SECRET])
    reader.vault.held[VAULT].put("one", age_s=7)
    reader.kubernetes.put(SECRET, "one")
    reader.vault.fail(VAULT)
    assert 7 <= metrics.sample("infermesh_secret_age_seconds", {"source": "vault"})
    assert metrics.sample("infermesh_secret_age_seconds", {"source": "kubernetes"}) < 7
    labels = {"source": "vault", "reason": "VaultSealed"}
    assert metrics.sample("infermesh_secret_failures_total", labels) == 1
    reader.refused(SecretRef(file="/nonexistent"))
    labels = {"source": "file", "reason": "SecretMissing"}
    assert metrics.sample("infermesh_secret_failures_total", labels) == 1


async def test_the_first_look_is_over_when_every_source_has_said_something(
    reader: Reader,
) -> None:
    secrets = reader.secrets
    assert await secrets.looked_at()
    await secrets.first_look(60)
    secrets.follow([VAULT, SECRET])
    waiting = asyncio.create_task(secrets.first_look(60))
    await asyncio.sleep(0)
    reader.vault.put(VAULT, "one")
    assert not await secrets.looked_at() and not waiting.done()
    reader.kubernetes.fail(SECRET)
    await waiting
    assert await secrets.looked_at()
    # One more does not take a replica out of service.
    another = SecretRef(vault=VaultRef(path="providers/another", key="key"))
    secrets.follow([VAULT, another])
    assert await secrets.looked_at()
    await secrets.first_look(0.01)
    assert reader.refused(another) == "SecretNotRead"


async def test_every_source_runs_until_the_end(reader: Reader, running: Running) -> None:
    def names() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks()}

    async with running(reader.secrets.run()):
        while not {"secrets-kubernetes", "secrets-vault"} <= names():
            await asyncio.sleep(0)
    assert not {"secrets-kubernetes", "secrets-vault"} & names()

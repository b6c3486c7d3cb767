"""Secrets of a real OpenBao, whatever becomes of it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from infermesh_common.background import end_tasks
from infermesh_common.resources.types import SecretRef, VaultRef
from infermesh_common.secrets.facade import Secrets
from infermesh_common.secrets.faults import Fault, SecretError
from infermesh_common.secrets.opening import open_secrets
from infermesh_common.settings import SecretsSettings, VaultSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import eventually, free_port
from infermesh_common.testing.token_reviews import service_account_token
from infermesh_common.testing.vault import VaultServer

OPENAI = SecretRef(vault=VaultRef(path="providers/openai", key="key"))


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    """A Vault that tests leave as they found it."""
    with VaultServer(tmp_path_factory.mktemp("vault")) as server:
        yield server


class Following:
    """Secrets of one service, which looks often."""

    def __init__(self, vault: VaultSettings, stale_after_ms: int = 600_000) -> None:
        self.metrics = Metrics()
        settings = SecretsSettings(
            poll_ms=50, stale_after_ms=stale_after_ms, kubernetes_namespace=None, vault=vault
        )
        self.secrets: Secrets = open_secrets(settings, self.metrics)

    def now(self, ref: SecretRef = OPENAI) -> str:
        """The secret, or why there is none."""
        try:
            return self.secrets.read(ref)
        except SecretError as error:
            return error.fault.reason

    async def says(self, text: str, ref: SecretRef = OPENAI) -> None:
        await eventually(
            lambda: self.now(ref) == text, within_s=40, what=f"{text}, not {self.now(ref)}"
        )

    async def fault(self, reason: str, ref: SecretRef = OPENAI) -> Fault:
        def found() -> str | None:
            fault = self.secrets.fault(ref)
            return None if fault is None else fault.reason

        await eventually(lambda: found() == reason, within_s=40, what=f"{reason}, not {found()}")
        fault = self.secrets.fault(ref)
        assert fault is not None
        return fault

    async def is_well(self, ref: SecretRef = OPENAI) -> None:
        await eventually(lambda: self.secrets.fault(ref) is None, within_s=40)


@asynccontextmanager
async def following(
    vault: VaultSettings, *refs: SecretRef, stale_after_ms: int = 600_000
) -> AsyncIterator[Following]:
    made = Following(vault, stale_after_ms)
    made.secrets.follow(refs or [OPENAI])
    task = asyncio.create_task(made.secrets.run())
    try:
        yield made
    finally:
        await end_tasks([task])


async def test_a_service_signs_in_with_its_service_account_and_sees_rotations(
    vault: VaultServer,
) -> None:
    vault.put("providers/openai", key="sk-one", other=5)
    before = vault.tokens_of("router")
    with capture_logs() as lines:
        async with following(vault.settings()) as service:
            await service.says("sk-one")
            vault.put("providers/openai", key="sk-two")
            await service.says("sk-two")
            assert service.secrets.differs(OPENAI, "sk-one")
            assert len(vault.tokens_of("router")) == len(before) + 1
    assert vault.tokens_of("router").keys() == before.keys(), "it gives its token back"
    (rotated,) = [line for line in lines if line["event"] == "secret_rotated"]
    assert rotated["version"] > 1
    assert "sk-" not in repr(lines)


async def test_each_fault_has_its_own_sentence_and_harms_no_other(vault: VaultServer) -> None:
    vault.put("providers/openai", key="sk-one", number=5)
    vault.put("providers/gone", key="sk-gone")
    vault.delete("providers/gone")
    vault.put("api-keys/acme", key="im_secret")
    expected = {
        ("providers/none", "key"): ("SecretMissing", "There is nothing at providers/none"),
        ("providers/gone", "key"): ("SecretMissing", "There is nothing at providers/gone"),
        ("providers/openai", "nokey"): ("SecretMissing", "The key nokey at providers/openai"),
        ("providers/openai", "number"): ("SecretInvalid", "is not a text"),
        ("api-keys/acme", "key"): ("VaultDenied", "does not let this service read api-keys/acme"),
    }
    refs = {place: SecretRef(vault=VaultRef(path=place[0], key=place[1])) for place in expected}
    async with following(vault.settings(), OPENAI, *refs.values()) as service:
        await service.says("sk-one")
        for place, (reason, words) in expected.items():
            fault = await service.fault(reason, refs[place])
            assert words in fault.message and not fault.in_use
        await service.secrets.first_look(20)
        assert await service.secrets.looked_at()
    async with following(vault.settings("governance"), refs["api-keys/acme", "key"]) as other:
        await other.says("im_secret", refs["api-keys/acme", "key"])


async def test_a_revoked_token_is_replaced(vault: VaultServer) -> None:
    vault.put("providers/openai", key="sk-one")
    async with following(vault.settings()) as service:
        await service.says("sk-one")
        vault.revoke_tokens()
        vault.put("providers/openai", key="sk-two")
        await service.says("sk-two")


async def test_a_refused_login_is_said_and_mended_by_a_new_token(vault: VaultServer) -> None:
    vault.put("providers/openai", key="sk-one")
    settings = vault.settings()
    settings.auth.token_file.unlink()
    async with following(settings) as service:
        fault = await service.fault("VaultLoginRefused")
        assert str(settings.auth.token_file) in fault.message
        settings.auth.token_file.write_text(service_account_token("somebody-else"))
        await eventually(lambda: "refuses the login" in str(service.secrets.fault(OPENAI)))
        settings.auth.token_file.write_text(service_account_token("mesh-router", audience="x"))
        await eventually(lambda: vault.reviews.asked > 0)
        await service.fault("VaultLoginRefused")
        settings.auth.token_file.write_text(service_account_token("mesh-router"))
        await service.says("sk-one")


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"kv_mount": "elsewhere"}, "VaultDenied", "does not let"),
        ({"ca_file": "/nonexistent/ca"}, "SecretMissing", "nothing"),
    ],
    ids=["another mount", "a CA that plain HTTP does not need"],
)
async def test_settings_that_are_wrong_are_told(
    vault: VaultServer, change: dict[str, str], reason: str, words: str
) -> None:
    settings = VaultSettings.model_validate(vault.settings().model_dump() | change)
    ref = SecretRef(vault=VaultRef(path="providers/never-written", key="key"))
    async with following(settings, ref) as service:
        assert words in (await service.fault(reason, ref)).message


async def test_a_role_that_is_not_there_is_a_refused_login(vault: VaultServer) -> None:
    settings = vault.settings()
    auth = settings.auth.model_copy(update={"role": "nobody"})
    async with following(settings.model_copy(update={"auth": auth})) as service:
        fault = await service.fault("VaultLoginRefused")
    assert 'role "nobody" at "auth/kubernetes"' in fault.message


async def test_a_vault_that_is_sealed_hangs_or_is_gone_takes_nothing_away_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with VaultServer(tmp_path_factory.mktemp("vault")) as vault:
        vault.put("providers/openai", key="sk-one")
        other = SecretRef(vault=VaultRef(path="providers/other", key="key"))
        async with following(vault.settings(timeout_ms=500)) as service:
            await service.says("sk-one")
            vault.seal()
            assert (await service.fault("VaultSealed")).in_use
            service.secrets.follow([OPENAI, other])
            await service.says("VaultSealed", other)
            assert service.now() == "sk-one"

            vault.stop()
            assert (await service.fault("VaultUnavailable")).in_use
            assert service.now() == "sk-one"

            vault.start()
            vault.put("providers/openai", key="sk-two")
            await service.says("sk-two")
            await service.is_well()
            await service.fault("SecretMissing", other)

            vault.pause()
            assert "does not answer" in (await service.fault("VaultUnavailable")).message
            assert service.now() == "sk-two"
            vault.resume()
            await service.is_well()


async def test_a_vault_that_is_away_at_boot_is_found_later(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    vault = VaultServer(tmp_path_factory.mktemp("vault"))
    try:
        async with following(vault.settings()) as service:
            await service.secrets.first_look(20)
            assert service.now() == "VaultUnavailable"
            fault = await service.fault("VaultUnavailable")
            assert vault.address in fault.message and not fault.in_use
            await asyncio.to_thread(vault.start)
            vault.put("providers/openai", key="sk-one")
            await service.says("sk-one")
    finally:
        vault.stop()
        vault.reviews.close()


async def test_a_value_that_is_too_old_is_not_used_until_vault_is_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with VaultServer(tmp_path_factory.mktemp("vault")) as vault:
        vault.put("providers/openai", key="sk-one")
        async with following(vault.settings(), stale_after_ms=1500) as service:
            await service.says("sk-one")
            vault.stop()
            await service.says("VaultUnavailable")
            with pytest.raises(SecretError, match="too old to be used") as caught:
                service.secrets.read(OPENAI)
            assert caught.value.expired
            age = service.metrics.sample("infermesh_secret_age_seconds", {"source": "vault"})
            assert age >= 1.5
            vault.start()
            await service.says("sk-one")


async def test_a_token_is_kept_alive_beyond_its_time_and_replaced_before_its_end(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with VaultServer(tmp_path_factory.mktemp("vault"), ttl_s=3) as vault:
        vault.put("providers/openai", key="sk-one")
        async with following(vault.settings()) as service:
            await service.says("sk-one")

            async def outlived() -> bool:
                # Nobody but the service prolongs them.
                tokens = (await asyncio.to_thread(vault.tokens_of, "router")).values()
                lives = [(t.get("last_renewal_time") or 0) - t["creation_time"] for t in tokens]
                return max(lives, default=0) > 4

            await eventually(outlived, within_s=40)
            assert service.secrets.fault(OPENAI) is None

            vault.ask("POST", "auth/kubernetes/role/router", {"token_explicit_max_ttl": 3})
            vault.revoke_tokens()
            seen: set[str] = set()

            async def replaced() -> bool:
                seen.update(await asyncio.to_thread(vault.tokens_of, "router"))
                return len(seen) > 3

            await eventually(replaced, within_s=40)
            await service.is_well()


async def test_a_certificate_is_checked(tmp_path_factory: pytest.TempPathFactory) -> None:
    with VaultServer(tmp_path_factory.mktemp("vault"), tls=True) as vault:
        vault.put("providers/openai", key="sk-one")
        async with following(vault.settings()) as service:
            await service.says("sk-one")
        untrusted = vault.settings().model_copy(update={"ca_file": None})
        async with following(untrusted) as service:
            fault = await service.fault("VaultUnavailable")
            assert fault.message == (
                "Vault shows a certificate that is not trusted: check ca_file."
            )
        missing = VaultSettings.model_validate(
            vault.settings().model_dump() | {"ca_file": "/nonexistent/ca"}
        )
        async with following(missing) as service:
            fault = await service.fault("VaultUnavailable")
            assert fault.message == "Vault cannot be asked: ca_file cannot be read."


async def test_what_is_no_vault_is_told(vault: VaultServer) -> None:
    settings = vault.settings().model_copy(
        update={"address": f"http://127.0.0.1:{vault.reviews.port}"}
    )
    async with following(settings) as service:
        await service.fault("VaultUnavailable")
    nobody = settings.model_copy(update={"address": f"http://127.0.0.1:{free_port()}"})
    async with following(nobody) as service:
        fault = await service.fault("VaultUnavailable")
        assert "cannot be reached" in fault.message


def test_the_library_is_not_imported_by_who_has_no_vault() -> None:
    code = (
        "import sys\n"
        "from infermesh_common.secrets.opening import open_secrets\n"
        "from infermesh_common.settings import SecretsSettings\n"
        "from infermesh_common.telemetry.metrics import Metrics\n"
        "open_secrets(SecretsSettings(poll_ms=1, stale_after_ms=1, kubernetes_namespace='n',\n"
        "    vault=None), Metrics())\n"
        "print([name for name in ('hvac', 'requests', 'kubernetes') if name in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.strip() == "[]", said.stderr

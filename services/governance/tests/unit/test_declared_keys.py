"""Keys that are declared, wherever they stand."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from infermesh_common.identity.model import Role, hash_key
from infermesh_common.resources.types import API_VERSION, ApiKey, SecretRef, VaultRef
from infermesh_common.secrets.facade import Secrets
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.identity import new_api_key
from infermesh_common.testing.secrets import ScriptedSource
from infermesh_governance.adapters.outbound.declared_keys import DeclaredKeys
from infermesh_governance.domain.keys import KeyRecord, Origin


def _resource(
    name: str, file: Path | None, role: str = "member", *, vault: VaultRef | None = None
) -> ApiKey:
    secret: dict[str, object] = {"file": str(file)}
    if vault is not None:
        secret = {"vault": vault.model_dump()}
    return ApiKey.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "ApiKey",
            "metadata": {"name": name},
            "spec": {
                "tenant": "acme",
                "role": role,
                "secretRef": secret,
                "description": f"of {name}",
                "team": "search",
            },
        }
    )


class Reading:
    """A reader and what it told."""

    def __init__(self, metrics: Metrics, operator_key_file: Path | None = None) -> None:
        self.told: list[Mapping[str, KeyRecord]] = []
        self.metrics = metrics
        self.now = 1000.0
        self.vault = ScriptedSource()
        self.secrets = Secrets(metrics, stale_after_s=60, vault=self.vault, clock=lambda: self.now)
        self.keys = DeclaredKeys(
            operator_key_file, self.secrets, self.told.append, metrics, poll_s=60
        )

    def invalid(self) -> float:
        return self.metrics.sample("infermesh_declared_keys_invalid")


async def test_a_declared_key_is_its_resource_and_its_file(
    tmp_path: Path, metrics: Metrics
) -> None:
    key_id, api_key = new_api_key()
    (tmp_path / "key").write_text(f"{api_key}\n")
    reading = Reading(metrics)
    reading.keys.declare([_resource("ci", tmp_path / "key", "admin")])
    await reading.keys.read_once()

    assert reading.told[-1] == {
        key_id: KeyRecord(
            key_id,
            hash_key(api_key),
            "acme",
            Role.ADMIN,
            "of ci",
            origin=Origin.DECLARED,
            team="search",
        )
    }


async def test_the_operator_key_of_the_settings_belongs_to_no_tenant(
    tmp_path: Path, metrics: Metrics
) -> None:
    key_id, api_key = new_api_key()
    (tmp_path / "operator").write_text(api_key)
    reading = Reading(metrics, tmp_path / "operator")
    await reading.keys.read_once()

    record = reading.told[-1][key_id]
    assert (record.tenant, record.role, record.origin) == ("", Role.OPERATOR, Origin.BOOTSTRAP)


async def test_a_changed_file_is_picked_up_and_an_unchanged_one_tells_nothing(
    tmp_path: Path, metrics: Metrics
) -> None:
    (tmp_path / "key").write_text(new_api_key()[1])
    reading = Reading(metrics)
    reading.keys.declare([_resource("ci", tmp_path / "key")])
    await reading.keys.read_once()
    await reading.keys.read_once()
    assert len(reading.told) == 1
    key_id, api_key = new_api_key()
    (tmp_path / "key").write_text(api_key)
    await reading.keys.read_once()

    assert reading.told[-1].keys() == {key_id}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b"sk-a-very-secret-thing", "does not hold an API key of the form im_"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
async def test_a_bad_file_is_a_fault_with_a_sentence_and_takes_no_key_away(
    tmp_path: Path, metrics: Metrics, content: bytes | None, says: str
) -> None:
    good_id, good_key = new_api_key()
    bad = tmp_path / "bad"
    bad.write_text(good_key)
    reading = Reading(metrics)
    reading.keys.declare([_resource("ci", bad)])
    await reading.keys.read_once()
    if content is None:
        bad.unlink()
    else:
        bad.write_bytes(content)
    await reading.keys.read_once()

    (fault,) = reading.keys.faults.items()
    assert fault[0] == "ApiKey ci"
    assert says in fault[1]
    assert "The key it was before stays in force" in fault[1]
    assert "very-secret" not in fault[1]
    assert reading.told[-1].keys() == {good_id}
    assert reading.invalid() == 1

    bad.write_text(good_key)
    await reading.keys.read_once()
    assert reading.invalid() == 0


async def test_a_file_that_was_never_good_gives_no_key_and_hurts_no_other(
    tmp_path: Path, metrics: Metrics
) -> None:
    key_id, api_key = new_api_key()
    (tmp_path / "good").write_text(api_key)
    reading = Reading(metrics)
    reading.keys.declare(
        [_resource("bad", tmp_path / "missing"), _resource("good", tmp_path / "good")]
    )
    await reading.keys.read_once()

    assert reading.told[-1].keys() == {key_id}
    assert reading.invalid() == 1


async def test_a_key_declared_twice_belongs_to_the_first(tmp_path: Path, metrics: Metrics) -> None:
    key_id, api_key = new_api_key()
    (tmp_path / "key").write_text(api_key)
    reading = Reading(metrics, tmp_path / "key")
    reading.keys.declare([_resource("thief", tmp_path / "key", "admin")])
    await reading.keys.read_once()

    assert reading.told[-1][key_id].role is Role.OPERATOR
    assert reading.invalid() == 1


async def test_a_changed_resource_counts_while_its_file_is_bad(
    tmp_path: Path, metrics: Metrics
) -> None:
    key_id, api_key = new_api_key()
    (tmp_path / "key").write_text(api_key)
    reading = Reading(metrics)
    reading.keys.declare([_resource("ci", tmp_path / "key", "admin")])
    await reading.keys.read_once()
    (tmp_path / "key").unlink()
    reading.keys.declare([_resource("ci", tmp_path / "key", "member")])
    await reading.keys.read_once()
    assert reading.told[-1][key_id].role is Role.MEMBER
    reading.keys.declare([])
    await reading.keys.read_once()

    assert reading.told[-1] == {}
    assert reading.invalid() == 0


async def test_a_new_resource_is_read_without_waiting_for_the_next_look(
    tmp_path: Path, metrics: Metrics
) -> None:
    key_id, api_key = new_api_key()
    (tmp_path / "key").write_text(api_key)
    reading = Reading(metrics)
    running = asyncio.create_task(reading.keys.run())
    async with asyncio.timeout(20):
        while not reading.told:
            await asyncio.sleep(0)
        reading.keys.declare([_resource("ci", tmp_path / "key")])
        while key_id not in reading.told[-1]:
            await asyncio.sleep(0)
    assert set(reading.told[-1]) == {key_id}
    running.cancel()


async def test_a_key_of_vault_outlives_it_for_a_while_and_then_fails_closed(
    metrics: Metrics,
) -> None:
    place = VaultRef(path="api-keys/acme", key="ci")
    ref = SecretRef(vault=place)
    key_id, api_key = new_api_key()
    reading = Reading(metrics)
    reading.keys.declare([_resource("ci", None, vault=place)])
    reading.vault.put(ref, api_key)
    await reading.keys.read_once()
    assert reading.told[-1].keys() == {key_id}

    reading.vault.fail(ref)
    reading.now += 59
    await reading.keys.read_once()
    assert reading.told[-1].keys() == {key_id} and not reading.keys.faults

    reading.now += 1
    await reading.keys.read_once()
    assert reading.told[-1] == {}
    assert "too old to be used" in reading.keys.faults["ApiKey ci"]

    reading.vault.put(ref, api_key)
    await reading.keys.read_once()
    assert reading.told[-1].keys() == {key_id} and not reading.keys.faults


async def test_a_secret_of_vault_that_is_no_api_key_takes_none_away_and_is_not_told(
    metrics: Metrics,
) -> None:
    place = VaultRef(path="api-keys/acme", key="ci")
    ref = SecretRef(vault=place)
    key_id, api_key = new_api_key()
    reading = Reading(metrics)
    reading.keys.declare([_resource("ci", None, vault=place)])
    reading.vault.put(ref, api_key)
    await reading.keys.read_once()
    reading.vault.put(ref, "sk-very-secret")
    await reading.keys.read_once()
    assert reading.told[-1].keys() == {key_id}
    fault = reading.keys.faults["ApiKey ci"]
    assert fault.startswith("The key ci of api-keys/acme in Vault does not hold an API key")
    assert "very-secret" not in fault


async def test_a_new_key_of_vault_is_waited_for(metrics: Metrics) -> None:
    place = VaultRef(path="api-keys/acme", key="ci")
    key_id, api_key = new_api_key()
    reading = Reading(metrics)
    reading.keys.declare([_resource("ci", None, vault=place)])
    read = asyncio.create_task(reading.keys.read_once())
    await asyncio.sleep(0)
    reading.vault.put(SecretRef(vault=place), api_key)
    await read
    assert reading.told == [reading.told[0]] and reading.told[0].keys() == {key_id}
    assert not reading.keys.faults

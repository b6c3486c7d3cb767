"""The use cases of KeyService where the store misbehaves."""

import uuid
from dataclasses import dataclass, field, replace

import pytest

from infermesh_common.errors import DeadlineExceeded, NotFound, Unavailable
from infermesh_common.identity.model import Identity, Role, hash_key
from infermesh_governance.application.board import SnapshotBoard
from infermesh_governance.application.key_manager import KeyManager
from infermesh_governance.domain.keys import KeyRecord
from infermesh_governance.domain.pages import PageRequest
from infermesh_governance.domain.rules import KeyRequest
from infermesh_governance.domain.snapshot import Tenant

_OPERATOR = Identity("", "b" * 16, Role.OPERATOR)


def _request() -> KeyRequest:
    return KeyRequest(str(uuid.uuid4()), "acme", Role.MEMBER, "", None)


@dataclass
class MemoryStore:
    """`KeyStore` in memory, and the refresh that shows it on a board."""

    board: SnapshotBoard
    held: dict[str, KeyRecord] = field(default_factory=dict)
    failure: Exception | None = None
    refresh_failure: Exception | None = None

    async def create(self, record: KeyRecord, request_id: str) -> str | None:
        self._check()
        self.held[record.key_id] = record
        return None

    async def revoke(self, record: KeyRecord, now_us: int) -> KeyRecord | None:
        self._check()
        if record.key_id not in self.held:
            return None
        self.held[record.key_id] = replace(record, revoked_us=now_us)
        return self.held[record.key_id]

    async def refresh(self) -> None:
        if self.refresh_failure is not None:
            raise self.refresh_failure
        self.board.put_issued(dict(self.held))

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def store() -> MemoryStore:
    board = SnapshotBoard(staleness_s=lambda: 0, heartbeat_s=60, now_us=lambda: 7)
    board.put_tenants({"acme": Tenant("acme", "", False)})
    return MemoryStore(board)


def _manager(store: MemoryStore) -> KeyManager:
    return KeyManager(store, store.refresh, store.board, now_us=lambda: 7)


async def test_a_key_that_was_made_is_answered_although_it_cannot_be_seen_yet(
    store: MemoryStore,
) -> None:
    store.refresh_failure = Unavailable("REDIS_UNAVAILABLE", "redis failed.")
    record, api_key = await _manager(store).create(_OPERATOR, _request())

    assert store.held[record.key_id].secret_sha256 == hash_key(api_key)


async def test_a_key_forgotten_meanwhile_is_not_found(store: MemoryStore) -> None:
    record, _ = await _manager(store).create(_OPERATOR, _request())
    held = dict(store.held)

    class Late(MemoryStore):
        async def refresh(self) -> None:
            self.board.put_issued(held)

    with pytest.raises(NotFound) as refused:
        await _manager(Late(store.board)).revoke(_OPERATOR, record.key_id)
    assert refused.value.reason == "KEY_NOT_FOUND"


@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("REDIS_CIRCUIT_OPEN", "redis is being left alone after failures."),
        DeadlineExceeded("REDIS_TIMEOUT", "redis took too long."),
    ],
)
async def test_however_the_store_fails_clients_get_one_reason(
    store: MemoryStore, failure: Exception
) -> None:
    record, _ = await _manager(store).create(_OPERATOR, _request())
    store.failure = failure
    for call in (
        _manager(store).create(_OPERATOR, _request()),
        _manager(store).revoke(_OPERATOR, record.key_id),
    ):
        with pytest.raises(Unavailable) as refused:
            await call
        assert refused.value.reason == "KEY_STORE_UNAVAILABLE"
        assert refused.value.retry_after_s is not None
    store.refresh_failure = failure
    with pytest.raises(Unavailable) as refused:
        await _manager(store).list(_OPERATOR, "", PageRequest())
    assert refused.value.reason == "KEY_STORE_UNAVAILABLE"

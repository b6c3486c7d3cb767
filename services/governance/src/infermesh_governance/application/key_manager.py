"""Issues, lists and revokes keys."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from infermesh_common.errors import AlreadyExists, DeadlineExceeded, Unavailable
from infermesh_common.identity.model import Identity, hash_key
from infermesh_governance.application.board import SnapshotBoard
from infermesh_governance.domain import rules
from infermesh_governance.domain.keys import KeyRecord, new_api_key
from infermesh_governance.domain.pages import Page, PageRequest, Position, page_of
from infermesh_governance.ports import KeyStore

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class KeyManager:
    """The use cases of KeyService. Callers are admins or operators; see `domain.rules`.

    Every method raises Unavailable (KEY_STORE_UNAVAILABLE) when the store does not answer.

    Args:
        store: where issued keys are changed.
        refresh: brings the board up to what the store holds.
        board: who may call at the moment.
        now_us: microseconds since the epoch.
    """

    def __init__(
        self,
        store: KeyStore,
        refresh: Callable[[], Awaitable[None]],
        board: SnapshotBoard,
        *,
        now_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._refresh = refresh
        self._board = board
        self._now_us = now_us

    async def create(self, caller: Identity, request: rules.KeyRequest) -> tuple[KeyRecord, str]:
        """A new (key, API key); in force in this replica at once, elsewhere soon.

        Raises:
            AlreadyExists: the request id was used before.
            InfermeshError: as `rules.validated` and `rules.tenant_of_new_key`.
        """
        now_us = self._now_us()
        request = rules.validated(request, now_us)
        tenant = rules.tenant_of_new_key(caller, request, self._board.tenants)
        key_id, api_key = new_api_key()
        record = KeyRecord(
            key_id=key_id,
            secret_sha256=hash_key(api_key),
            tenant=tenant,
            role=request.role,
            description=request.description,
            created_us=now_us,
            expires_us=request.expires_us,
            team=request.team,
        )
        made_before = await _answered(self._store.create(record, request.request_id))
        if made_before is not None:
            raise AlreadyExists(
                "REQUEST_ALREADY_DONE",
                "This request_id has made a key, whose secret was in the first response. If that "
                "is lost, revoke the key and ask for another one with a new request_id.",
                metadata={"key_id": made_before},
            )
        _log.info("key_created", key_id=key_id, tenant=tenant, role=record.role.name)
        await self._catch_up()
        return record, api_key

    async def list(self, caller: Identity, tenant: str, request: PageRequest) -> Page[KeyRecord]:
        """Keys in the order of their creation, declared ones first.

        Raises:
            InvalidArgument: the page token or size is wrong.
            InfermeshError: as `rules.tenant_to_list`.
        """
        await _answered(self._refresh())
        snapshot = self._board.loaded()
        known = snapshot.tenants.keys() | {record.tenant for record in snapshot.keys.values()}
        wanted = rules.tenant_to_list(caller, tenant, known)
        return page_of(
            (r for r in snapshot.keys.values() if wanted is None or r.tenant == wanted),
            request,
            scope="keys:*" if wanted is None else f"keys={wanted}",
            position=_position,
        )

    async def revoke(self, caller: Identity, key_id: str) -> KeyRecord:
        """The key, revoked now or before.

        Raises:
            NotFound: there is no such key for this caller.
            InfermeshError: as `rules.revocable`.
        """
        rules.valid_key_id(key_id)
        await _answered(self._refresh())
        record = rules.revocable(caller, self._board.loaded().keys.get(key_id))
        revoked = await _answered(self._store.revoke(record, self._now_us()))
        if revoked is None:
            raise rules.no_such_key()
        _log.info("key_revoked", key_id=key_id, tenant=record.tenant)
        await self._catch_up()
        return revoked

    async def _catch_up(self) -> None:
        """Makes the change seen here before it is answered. It is made, whatever happens now."""
        try:
            await self._refresh()
        except (Unavailable, DeadlineExceeded) as error:
            _log.warning("change_not_yet_seen", reason=error.reason)


def _position(record: KeyRecord) -> Position:
    return record.created_us or 0, record.key_id


async def _answered(operation: Awaitable[T]) -> T:
    """What the store answered; one reason for clients, however the store failed."""
    try:
        return await operation
    except (Unavailable, DeadlineExceeded) as error:
        raise Unavailable(
            "KEY_STORE_UNAVAILABLE", "API keys cannot be managed at the moment.", retry_after_s=1
        ) from error

"""Questions to the ledger: who may see what, page by page."""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date
from decimal import Decimal
from uuid import UUID

from infermesh_analytics.domain.paging import PageTokens
from infermesh_analytics.domain.query import (
    Dimension,
    EventFilter,
    EventPosition,
    Key,
    UsageGroup,
    UsagePosition,
    dimensions,
    page_size,
    visible_tenant,
)
from infermesh_analytics.ports import LedgerReader
from infermesh_common.errors import NotFound
from infermesh_common.identity.model import Identity


@dataclass(frozen=True, slots=True)
class PageAsked:
    """Which page a caller wants.

    Attributes:
        size: 0 for the default.
        token: empty for the first page.
    """

    size: int
    token: str


@dataclass(frozen=True, slots=True)
class UsagePage:
    """One page of groups.

    Attributes:
        group_by: dimensions of the groups' keys, in their order.
        next_token: empty on the last page.
    """

    group_by: Sequence[Dimension]
    groups: Sequence[UsageGroup]
    next_token: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """One page of serialised events; `next_token` is empty on the last one."""

    payloads: Sequence[bytes]
    next_token: str


class LedgerQueries:
    """Answers questions within what the caller may see.

    Args:
        reader: the ledger.
        tokens: page tokens.
    """

    def __init__(self, reader: LedgerReader, tokens: PageTokens) -> None:
        self._reader = reader
        self._tokens = tokens

    async def usage(
        self, caller: Identity, group_by: Sequence[Dimension], where: EventFilter, page: PageAsked
    ) -> UsagePage:
        """Spend, saving, tokens and hits by group, largest baseline first.

        Raises:
            InvalidArgument: group_by, page size or page token.
            PermissionDenied: another tenant's.
        """
        ordered = dimensions(group_by)
        scope = replace(where, tenant=visible_tenant(caller, where.tenant))
        size = page_size(page.size)
        query = _canonical("usage", [d.value for d in ordered], scope)
        after = None
        if page.token:
            baseline, *keys = self._tokens.read(query, page.token)
            after = UsagePosition(Decimal(baseline), _keys(ordered, keys))
        groups = await self._reader.usage(ordered, scope, after, size + 1)
        token = ""
        if len(groups) > size:
            edge = groups[size - 1].position
            token = self._tokens.issue(query, [str(edge.baseline), *map(str, edge.keys)])
        return UsagePage(ordered, groups[:size], token)

    async def event(self, caller: Identity, event_id: UUID) -> bytes:
        """One serialised event.

        Raises:
            NotFound: there is none of that id, or it is another tenant's.
        """
        payload = await self._reader.event(event_id, visible_tenant(caller, None))
        if payload is None:
            raise NotFound("EVENT_NOT_FOUND", "There is no event of that id.")
        return payload

    async def events(self, caller: Identity, where: EventFilter, page: PageAsked) -> EventPage:
        """Serialised events, newest first; errors as `usage`."""
        scope = replace(where, tenant=visible_tenant(caller, where.tenant))
        size = page_size(page.size)
        query = _canonical("events", [], scope)
        after = None
        if page.token:
            moment, event_id = self._tokens.read(query, page.token)
            after = EventPosition(int(moment), event_id)
        found = await self._reader.events(scope, after, size + 1)
        token = ""
        if len(found) > size:
            edge = found[size - 1][0]
            token = self._tokens.issue(query, [str(edge.request_time_us), edge.event_id])
        return EventPage([payload for _, payload in found[:size]], token)


def _canonical(kind: str, group_by: Sequence[str], where: EventFilter) -> str:
    """Text of what decides which rows come and in which order; the page size does not."""
    return json.dumps([kind, list(group_by), list(astuple(where))])


def _keys(group_by: Sequence[Dimension], texts: Sequence[str]) -> tuple[Key, ...]:
    return tuple(
        date.fromisoformat(text) if dimension is Dimension.DAY else text
        for dimension, text in zip(group_by, texts, strict=True)
    )

"""`infermesh.analytics.v1.LedgerService`."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import grpc

from infermesh.analytics.v1 import events_pb2, ledger_pb2, ledger_pb2_grpc
from infermesh.common.v1 import page_pb2
from infermesh_analytics.adapters.inbound.events import parse_event_id, time_us
from infermesh_analytics.application.queries import LedgerQueries, PageAsked
from infermesh_analytics.domain.query import Dimension, EventFilter, UsageGroup
from infermesh_common.context import current
from infermesh_common.errors import InvalidArgument
from infermesh_common.usage import money_to_proto, usage_to_proto

_DIMENSIONS = {
    ledger_pb2.DIMENSION_TENANT: Dimension.TENANT,
    ledger_pb2.DIMENSION_MODEL: Dimension.MODEL,
    ledger_pb2.DIMENSION_TAG: Dimension.TAG,
    ledger_pb2.DIMENSION_DAY: Dimension.DAY,
}


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """Protobuf to domain and back.

    Args:
        queries: what answers.
    """

    def __init__(self, queries: LedgerQueries) -> None:
        self._queries = queries

    async def QueryUsage(
        self,
        request: ledger_pb2.QueryUsageRequest,
        context: grpc.aio.ServicerContext[
            ledger_pb2.QueryUsageRequest, ledger_pb2.QueryUsageResponse
        ],
    ) -> ledger_pb2.QueryUsageResponse:
        """Sums by group."""
        call = current()
        page = await self._queries.usage(
            call.caller(),
            [_dimension(number) for number in request.group_by],
            _filter(request.filter),
            _page(request.page),
        )
        call.log_fields["count"] = len(page.groups)
        return ledger_pb2.QueryUsageResponse(
            rows=[_row(page.group_by, group) for group in page.groups],
            page=page_pb2.PageResponse(next_page_token=page.next_token),
        )

    async def GetEvent(
        self,
        request: ledger_pb2.GetEventRequest,
        context: grpc.aio.ServicerContext[ledger_pb2.GetEventRequest, ledger_pb2.GetEventResponse],
    ) -> ledger_pb2.GetEventResponse:
        """One event."""
        try:
            event_id = parse_event_id(request.event_id)
        except ValueError as error:
            raise InvalidArgument(
                "INVALID_EVENT_ID", "event_id must be a UUID.", field="event_id"
            ) from error
        payload = await self._queries.event(current().caller(), event_id)
        return ledger_pb2.GetEventResponse(event=events_pb2.UsageEvent.FromString(payload))

    async def ListEvents(
        self,
        request: ledger_pb2.ListEventsRequest,
        context: grpc.aio.ServicerContext[
            ledger_pb2.ListEventsRequest, ledger_pb2.ListEventsResponse
        ],
    ) -> ledger_pb2.ListEventsResponse:
        """Events, newest first."""
        call = current()
        page = await self._queries.events(
            call.caller(), _filter(request.filter), _page(request.page)
        )
        call.log_fields["count"] = len(page.payloads)
        return ledger_pb2.ListEventsResponse(
            events=[events_pb2.UsageEvent.FromString(payload) for payload in page.payloads],
            page=page_pb2.PageResponse(next_page_token=page.next_token),
        )


def _dimension(number: int) -> Dimension:
    for known, dimension in _DIMENSIONS.items():
        if known == number:
            return dimension
    raise InvalidArgument(
        "UNKNOWN_DIMENSION", "group_by names an unknown dimension.", field="group_by"
    )


def _page(request: page_pb2.PageRequest) -> PageAsked:
    return PageAsked(request.page_size, request.page_token)


def _filter(message: ledger_pb2.UsageFilter) -> EventFilter:
    where = EventFilter(
        tenant=message.tenant or None, model=message.model or None, tag=message.tag or None
    )
    start = time_us(message.start_time) if message.HasField("start_time") else None
    end = time_us(message.end_time) if message.HasField("end_time") else None
    return replace(where, start_us=start, end_us=end)


def _row(group_by: Sequence[Dimension], group: UsageGroup) -> ledger_pb2.UsageRow:
    return ledger_pb2.UsageRow(
        requests=group.requests,
        cache_hits=group.cache_hits,
        hit_rate=group.hit_rate,
        failures=group.failures,
        cost=money_to_proto(_sum(group, group.cost)),
        baseline_cost=money_to_proto(_sum(group, group.baseline_cost)),
        saved=money_to_proto(_sum(group, group.saved)),
        unpriced_requests=group.unpriced,
        usage=usage_to_proto(group.usage),
        **{dimension.value: str(key) for dimension, key in zip(group_by, group.keys, strict=True)},
    )


def _sum(group: UsageGroup, amount: Decimal | None) -> Decimal | None:
    """Nothing happened: exactly 0. Something happened and no amount is known: unknown."""
    return Decimal(0) if amount is None and not group.events else amount

"""Usage, keys, tenants, models, cache, health; every test with both clients."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import pytest
from google.protobuf import timestamp_pb2
from google.protobuf.message import Message as ProtobufMessage

from infermesh import (
    AsyncClient,
    AsyncPager,
    CacheStats,
    Client,
    Outcome,
    Pager,
    RegisteredModel,
    Role,
    Tenant,
    UsageFilter,
)
from infermesh.analytics.v1 import events_pb2, ledger_pb2
from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import money_pb2, page_pb2
from infermesh.governance.v1 import keys_pb2, tenants_pb2
from infermesh.router.v1 import operations_pb2
from infermesh.testing import ScriptedMesh

T = TypeVar("T")
AnyClient = Client | AsyncClient


async def now(value: T | Awaitable[T]) -> T:
    """The result of a call, of whichever client."""
    return await value if isinstance(value, Awaitable) else value


async def listed(pager: Pager[T] | AsyncPager[T]) -> list[T]:
    """All of a list, of whichever client."""
    if isinstance(pager, Pager):
        return list(pager)
    return [item async for item in pager]


async def test_usage_is_grouped_filtered_and_exact(
    mesh: ScriptedMesh, client: AnyClient, dollars: Callable[[str], money_pb2.Money]
) -> None:
    row = ledger_pb2.UsageRow(
        model="small",
        day="2026-01-02",
        requests=3,
        cache_hits=1,
        hit_rate=1 / 3,
        cost=dollars("0.1"),
        baseline_cost=dollars("0.3"),
        saved=dollars("0.2"),
        unpriced_requests=1,
    )
    mesh.script("QueryUsage", ledger_pb2.QueryUsageResponse(rows=[row]))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    chosen = UsageFilter(tenant="demo", model="small", tag="x", start_time=start)
    [read] = await listed(client.usage(["model", "day"], chosen))
    assert (read.model, read.day, read.requests, read.unpriced_requests) == (
        "small",
        "2026-01-02",
        3,
        1,
    )
    assert (read.cost, read.baseline_cost, read.saved) == tuple(map(Decimal, ("0.1", "0.3", "0.2")))
    request = mesh.received("QueryUsage")[0].request
    assert request == ledger_pb2.QueryUsageRequest(
        group_by=[ledger_pb2.DIMENSION_MODEL, ledger_pb2.DIMENSION_DAY],
        filter=ledger_pb2.UsageFilter(
            tenant="demo",
            model="small",
            tag="x",
            start_time=timestamp_pb2.Timestamp(seconds=int(start.timestamp())),
        ),
        page=page_pb2.PageRequest(),
    )


async def test_an_event_is_the_whole_story(
    mesh: ScriptedMesh, client: AnyClient, event: events_pb2.UsageEvent
) -> None:
    mesh.script("GetEvent", ledger_pb2.GetEventResponse(event=event))
    read = await now(client.event("d-1"))
    assert read.request_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (read.duration_ms, read.first_byte_ms) == (31.6, 9.4)
    assert (read.outcome, read.tags) == (Outcome.SUCCEEDED, ("team=search", "x"))
    assert (read.tenant, read.key_id, read.request_id) == ("demo", "k1", "r-1")
    assert read.decision.saved == Decimal("0.0009875")
    assert mesh.received("GetEvent")[0].request == ledger_pb2.GetEventRequest(event_id="d-1")


async def test_lists_go_on_to_their_last_page(mesh: ScriptedMesh, client: AnyClient) -> None:
    def page(request: ProtobufMessage) -> ProtobufMessage:
        assert isinstance(request, ledger_pb2.ListEventsRequest)
        number = int(request.page.page_token or 0)
        events = [events_pb2.UsageEvent(event_id=f"e{number}{n}") for n in "ab"]
        following = str(number + 1) if number < 2 else ""
        return ledger_pb2.ListEventsResponse(
            events=events, page=page_pb2.PageResponse(next_page_token=following)
        )

    mesh.script("ListEvents", page)
    found = await listed(client.events(page_size=2))
    assert [event.event_id for event in found] == ["e0a", "e0b", "e1a", "e1b", "e2a", "e2b"]
    sent = [call.request for call in mesh.received("ListEvents")]
    assert [request.page.page_size for request in sent if hasattr(request, "page")] == [2, 2, 2]


async def test_keys_are_issued_listed_and_revoked(mesh: ScriptedMesh, client: AnyClient) -> None:
    made = timestamp_pb2.Timestamp(seconds=1_767_323_045)
    key = keys_pb2.Key(
        key_id="k1", tenant="demo", role=keys_pb2.ROLE_ADMIN, create_time=made, team="ml"
    )
    mesh.script("CreateKey", keys_pb2.CreateKeyResponse(key=key, secret="im_k1_s"))
    mesh.script("ListKeys", keys_pb2.ListKeysResponse(keys=[key]))
    expiry = datetime(2027, 1, 1, tzinfo=UTC)
    issued = await now(
        client.create_key(
            tenant="demo", role="admin", description="ci", expire_time=expiry, team="ml"
        )
    )
    assert (issued.secret, issued.key.role) == ("im_k1_s", Role.ADMIN)
    [listed_key] = await listed(client.list_keys(tenant="demo"))
    assert listed_key == issued.key
    assert (listed_key.expire_time, listed_key.revoke_time) == (None, None)
    revoked = keys_pb2.RevokeKeyResponse(key=key)
    revoked.key.revoke_time.CopyFrom(made)
    mesh.script("RevokeKey", revoked)
    assert (await now(client.revoke_key("k1"))).revoke_time == issued.key.create_time
    create = mesh.received("CreateKey")[0].request
    assert isinstance(create, keys_pb2.CreateKeyRequest)
    assert (create.tenant, create.role, create.description) == ("demo", 2, "ci")
    assert create.team == issued.key.team == "ml"
    assert create.expire_time.ToDatetime(tzinfo=UTC) == expiry


async def test_tenants_are_listed(mesh: ScriptedMesh, client: AnyClient) -> None:
    tenant = tenants_pb2.Tenant(name="demo", display_name="Demo", suspended=True)
    mesh.script("ListTenants", tenants_pb2.ListTenantsResponse(tenants=[tenant]))
    assert await listed(client.tenants()) == [Tenant("demo", "Demo", True)]


async def test_models_say_what_is_not_stated(mesh: ScriptedMesh, client: AnyClient) -> None:
    models = [
        operations_pb2.RegisteredModel(
            name="small",
            provider="acme",
            aliases=["s"],
            capabilities=["tools"],
            context_tokens=8192,
            quality={"general": 0.7, "code": 0.5},
            latency_ms=300,
            priced=True,
        ),
        operations_pb2.RegisteredModel(name="odd"),
    ]
    mesh.script("ListRegisteredModels", operations_pb2.ListRegisteredModelsResponse(models=models))
    small, odd = await listed(client.models())
    assert small == RegisteredModel(
        "small", "acme", ("s",), ("tools",), 8192, {"code": 0.5, "general": 0.7}, 300, True
    )
    assert (odd.latency_ms, odd.priced) == (None, False)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_cache_entries_are_counted_or_removed(
    mesh: ScriptedMesh, client: AnyClient, dry_run: bool
) -> None:
    mesh.script("Invalidate", cache_pb2.InvalidateResponse(count=3))
    mesh.script("GetStats", cache_pb2.GetStatsResponse(entries=1, stored_bytes=2, limit_bytes=3))
    assert await now(client.invalidate_cache(tag="x", dry_run=dry_run)) == 3
    sent = mesh.received("Invalidate")[0].request
    assert sent == cache_pb2.InvalidateRequest(tag="x", dry_run=dry_run)
    assert await now(client.cache_stats()) == CacheStats(1, 2, 3, 0)


async def test_health_names_the_dependencies(mesh: ScriptedMesh, client: AnyClient) -> None:
    mesh.script(
        "GetHealth",
        operations_pb2.GetHealthResponse(
            status="DEGRADED",
            dependencies={"redis": "NOT_SERVING", "cache": "SERVING"},
            configuration_revision="r7",
            version="0.1.0",
        ),
    )
    health = await now(client.health(timeout_s=3))
    assert (health.status, health.version) == ("DEGRADED", "0.1.0")
    assert list(health.dependencies.items()) == [("cache", "SERVING"), ("redis", "NOT_SERVING")]
    assert mesh.received("GetHealth")[0].remaining_s < 4

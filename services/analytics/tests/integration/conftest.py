"""The running service and a way to fill it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infermesh.analytics.v1 import events_pb2
from infermesh_analytics.testing import (
    Fill,
    LedgerDatabase,
    RunningLedger,
    ledger_settings,
    publish,
    run_ledger,
)
from infermesh_common.testing.identity import FakeGovernance
from infermesh_common.testing.servers import RedisServer, eventually


@pytest.fixture
async def ledger(
    database: LedgerDatabase, redis_server: RedisServer, governance: FakeGovernance, tmp_path: Path
) -> AsyncIterator[RunningLedger]:
    """The service; `fill` of the test gives it events."""
    settings = ledger_settings(tmp_path, database, redis_server)
    async with run_ledger(settings, governance.directory) as running:
        await eventually(database.is_prepared)
        yield running


@pytest.fixture
def fill(database: LedgerDatabase, redis_server: RedisServer) -> Fill:
    """Publishes events and waits until the ledger has them."""

    async def put(*events: events_pb2.UsageEvent) -> None:
        expected = database.count_events() + len(events)
        publish(redis_server, *events)
        await eventually(lambda: database.count_events() == expected)

    return put

"""The queue before the vector store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from infermesh_cache.application.vector_writes import VectorWrites
from infermesh_cache.semantic_ports import Floats, Near, Removal
from infermesh_cache.vector_ports import Page, Removed, Stamped
from infermesh_common.errors import InvalidArgument, Unavailable
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import eventually

if TYPE_CHECKING:
    from conftest import Maker

Ids = Callable[..., list[str]]


@dataclass
class Log:
    """A store that writes down what it is told, or fails."""

    error: Exception | None = None
    attempts: int = 0
    written: list[str] = field(default_factory=list)
    removed: list[tuple[str, Removed]] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def put(self, items: list[tuple[str, Stamped]]) -> None:
        await self._pass()
        self.written += [item.record.entry_id for _, item in items]

    async def remove(self, tenant: str, removed: Removed) -> None:
        await self._pass()
        self.removed.append((tenant, removed))

    async def _pass(self) -> None:
        self.attempts += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error

    async def open(self) -> str:
        return "one"

    async def nearest(
        self, tenant: str, context: str, scopes: object, vector: Floats, limit: int, now_us: int
    ) -> list[tuple[Near, int]]:
        return []

    async def page(self, tenant: str, from_us: int, until_us: int) -> Page:
        return Page([], [], from_us, until_us)

    async def get(self, tenant: str, entry_id: str) -> None:
        return None

    async def count(self, tenant: str, removal: Removal, now_us: int) -> int:
        return 0

    async def purge(self, tenant: str, now_us: int) -> None:
        return None

    async def close(self) -> None:
        return None


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def writes(log: Log, metrics: Metrics) -> VectorWrites:
    return VectorWrites(log, metrics, most=5, batch=3, interval_ms=1, longest_pause_ms=20)


def item(make: "Maker", number: int, stamp_us: int = 1, **values: str) -> Stamped:
    return Stamped(make.record(number, **values), stamp_us)


async def test_a_full_queue_drops_the_oldest_and_counts_it(
    log: Log, writes: VectorWrites, make: "Maker", ids: Ids, metrics: Metrics
) -> None:
    for number in range(8):
        writes.put("acme", item(make, number))
    assert metrics.sample("infermesh_vector_queue") == 5
    await writes.flush()
    assert log.written == ids(3, 4, 5, 6, 7)
    assert metrics.sample("infermesh_vector_writes_total", {"result": "dropped"}) == 3
    assert metrics.sample("infermesh_vector_writes_total", {"result": "written"}) == 5
    assert metrics.sample("infermesh_vector_queue") == 0


async def test_of_one_record_the_last_write_counts(
    log: Log, writes: VectorWrites, make: "Maker", ids: Ids
) -> None:
    for stamp_us in range(10):
        writes.put("acme", item(make, 1, stamp_us))
    await writes.flush()
    assert log.written == ids(1)


async def test_writes_go_on_after_an_outage(
    log: Log, writes: VectorWrites, make: "Maker", ids: Ids
) -> None:
    log.error = Unavailable("MILVUS_UNAVAILABLE", "away")
    running = asyncio.create_task(writes.run())
    for number in range(5):
        writes.put("acme", item(make, number))
    writes.remove("acme", Removed(Removal(tag="gone"), 1))
    await eventually(lambda: log.attempts > 3)
    assert len(writes) == 6 and not log.written
    log.error = None
    await eventually(lambda: len(writes) == 0)
    assert log.written == ids(*range(5))
    assert log.removed == [("acme", Removed(Removal(tag="gone"), 1))]
    running.cancel()


async def test_a_removal_takes_what_waits_and_nothing_written_later(
    log: Log, writes: VectorWrites, make: "Maker", ids: Ids
) -> None:
    writes.put("acme", item(make, 1, 1, model="large"))
    writes.put("acme", item(make, 2, 1))
    writes.put("globex", item(make, 3, 1, model="large"))
    writes.remove("acme", Removed(Removal(model="large"), 5))
    writes.put("acme", item(make, 4, 6, model="large"))
    writes.forget("acme", Removed(Removal(model="large"), 5))
    await writes.flush()
    assert sorted(log.written) == sorted(ids(2, 3, 4))


async def test_removals_are_never_lost_but_may_take_more(log: Log, writes: VectorWrites) -> None:
    for number in range(1500):
        writes.remove("acme", Removed(Removal(entry_id=f"{number:x}"), number))
    writes.remove("globex", Removed(Removal(tag="t"), 3))
    await writes.flush()
    everything = [removed for tenant, removed in log.removed if removed.removal.everything]
    assert [removed.stamp_us for removed in everything] == [1000]
    named = {removed.removal.entry_id for _, removed in log.removed}
    assert {f"{number:x}" for number in range(1001, 1500)} <= named
    assert ("globex", Removed(Removal(tag="t"), 3)) in log.removed


async def test_what_the_store_refuses_holds_up_nothing(
    log: Log, writes: VectorWrites, make: "Maker", metrics: Metrics
) -> None:
    log.error = InvalidArgument("INVALID_TENANT", "no")
    writes.put("acme", item(make, 1))
    await writes.flush()
    assert len(writes) == 0
    assert metrics.sample("infermesh_vector_writes_total", {"result": "dropped"}) == 1


async def test_a_record_written_anew_during_its_write_is_written_again(
    log: Log, writes: VectorWrites, make: "Maker", ids: Ids
) -> None:
    log.gate = asyncio.Event()
    writes.put("acme", item(make, 1, 1))
    flushing = asyncio.create_task(writes.flush())
    await eventually(lambda: log.attempts == 1)
    writes.put("acme", item(make, 1, 2))
    log.gate.set()
    await flushing
    assert log.written == ids(1, 1)


async def test_the_end_waits_a_moment_and_no_longer(
    log: Log, writes: VectorWrites, make: "Maker", ids: Ids
) -> None:
    writes.put("acme", item(make, 1))
    await writes.close()
    assert log.written == ids(1)
    log.error = Unavailable("MILVUS_UNAVAILABLE", "away")
    writes.put("acme", item(make, 2))
    await writes.close()
    assert len(writes) == 1

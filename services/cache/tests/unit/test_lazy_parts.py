"""The heavy parts are built when they are needed, once, and ended with the process."""

from __future__ import annotations

import asyncio

import pytest

from infermesh_cache.application.lazy_parts import LazyParts, Parts
from infermesh_cache.testing import FakeParts
from infermesh_common.background import BackgroundTasks
from infermesh_common.errors import Unavailable
from infermesh_common.testing.servers import eventually


async def test_they_are_built_once_and_closed() -> None:
    fake, ran, closed = FakeParts(), asyncio.Event(), asyncio.Event()

    async def run() -> None:
        ran.set()
        await asyncio.Event().wait()

    async def close() -> None:
        closed.set()

    async def build() -> Parts:
        made = await fake()
        return Parts(made.reader, made.engine, made.vectors, run=run, close=close)

    parts = LazyParts(build, BackgroundTasks(), retry_ms=1)
    assert parts.built is None and fake.built == 0
    assert parts.get() is None
    first, second = await asyncio.gather(parts.wait(), parts.wait())
    assert first is second is parts.get() is parts.built
    assert fake.built == 1 and parts.fault is None
    await ran.wait()
    await parts.close()
    assert closed.is_set()


async def test_nothing_is_closed_that_was_not_built() -> None:
    await LazyParts(FakeParts(), BackgroundTasks(), retry_ms=1).close()


async def test_after_a_failure_they_are_left_alone_for_a_while() -> None:
    fake, now_s = FakeParts(), 100.0
    fake.fault = Unavailable("EMBEDDING_MODEL_MISSING", "no such file")
    parts = LazyParts(fake, BackgroundTasks(), retry_ms=5000, monotonic=lambda: now_s)
    with pytest.raises(Unavailable, match="no such file"):
        await parts.wait()
    assert parts.fault is fake.fault
    fake.fault = None
    with pytest.raises(Unavailable):
        await parts.wait()
    assert fake.built == 1
    now_s += 6
    assert await parts.wait() is parts.built


async def test_what_runs_behind_them_may_end_in_a_defect() -> None:
    fake = FakeParts()

    async def run() -> None:
        raise RuntimeError("a defect")

    async def build() -> Parts:
        made = await fake()
        return Parts(made.reader, made.engine, made.vectors, run=run)

    parts = LazyParts(build, BackgroundTasks(), retry_ms=1)
    await parts.wait()
    await eventually(lambda: parts.built is not None)
    await parts.close()

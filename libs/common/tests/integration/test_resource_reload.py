"""Resources follow their directory, in every way in which files are put there."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from infermesh_common.resources.resource_set import ResourceSet
from infermesh_common.resources.store import ResourceStore
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.resources import Document, resource
from infermesh_common.testing.servers import eventually

BASE = [resource("RoutePolicy", "default"), resource("CachePolicy", "default")]


def dump(*tenants: str) -> str:
    documents: list[Document] = [*BASE, *(resource("Tenant", name) for name in tenants)]
    return yaml.safe_dump_all(documents)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one tenant, `first`."""
    resources = tmp_path / "resources"
    resources.mkdir()
    (resources / "all.yaml").write_text(dump("first"))
    return resources


@asynccontextmanager
async def watched(folder: Path, metrics: Metrics) -> AsyncIterator[ResourceStore]:
    store = ResourceStore(folder, metrics)
    store.load()
    task = asyncio.create_task(store.watch())
    try:
        yield store
        assert not task.done(), "the watch has ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def has(store: ResourceStore, *tenants: str) -> None:
    await eventually(
        lambda: sorted(store.current.tenants) == sorted(tenants), what=f"tenants {tenants}"
    )


async def test_a_file_that_is_written_added_renamed_or_deleted_counts_at_once(
    folder: Path, metrics: Metrics
) -> None:
    async with watched(folder, metrics) as store:
        await has(store, "first")
        (folder / "all.yaml").write_text(dump("first", "second"))
        await has(store, "first", "second")
        (folder / "more.yaml").write_text(yaml.safe_dump(resource("Tenant", "third")))
        await has(store, "first", "second", "third")
        (folder / "more.yaml").rename(folder / "more.off")
        await has(store, "first", "second")
        (folder / "more.off").rename(folder / "more.yml")
        await has(store, "first", "second", "third")
        (folder / "all.yaml").unlink()
        await has(store)
        (folder / "all.yaml").write_text(dump("fourth"))
        await has(store, "third", "fourth")


async def test_a_file_that_is_replaced_by_an_atomic_rename_counts_at_once(
    folder: Path, metrics: Metrics
) -> None:
    async with watched(folder, metrics) as store:
        for name in ("second", "third", "fourth"):
            fresh = folder / ".all.yaml.tmp"
            fresh.write_text(dump(name))
            fresh.replace(folder / "all.yaml")
            await has(store, name)


def publish(folder: Path, version: int, *tenants: str) -> None:
    """Writes a version as the kubelet does: a new directory, and a link to it swapped in."""
    data = folder / f"..2026_01_01_00_00_{version:02}.1"
    data.mkdir()
    (data / "all.yaml").write_text(dump(*tenants))
    link = folder / "..data_tmp"
    link.symlink_to(data.name)
    os.replace(link, folder / "..data")
    if not (folder / "all.yaml").is_symlink():
        (folder / "all.yaml").symlink_to("..data/all.yaml")
    for old in folder.glob("..2026*"):
        if old != data:
            shutil.rmtree(old)


async def test_a_mounted_config_map_that_is_swapped_counts_at_once(
    tmp_path: Path, metrics: Metrics
) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    publish(folder, 0, "first")
    async with watched(folder, metrics) as store:
        await has(store, "first")
        for version, name in enumerate(("second", "third", "fourth"), start=1):
            publish(folder, version, name)
            await has(store, name)


async def test_what_changes_between_the_load_and_the_watch_is_not_missed(
    folder: Path, metrics: Metrics
) -> None:
    store = ResourceStore(folder, metrics)
    store.load()
    (folder / "all.yaml").write_text(dump("second"))
    task = asyncio.create_task(store.watch())
    try:
        await has(store, "second")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_broken_file_keeps_what_it_held_until_it_is_mended(
    folder: Path, metrics: Metrics
) -> None:
    async with watched(folder, metrics) as store:
        (folder / "all.yaml").write_text("kind: [")
        await eventually(lambda: metrics.sample("infermesh_resources_invalid") == 1)
        assert list(store.current.tenants) == ["first"]
        (folder / "all.yaml").write_text(dump("second"))
        await has(store, "second")
        assert metrics.sample("infermesh_resources_invalid") == 0


async def test_a_directory_that_goes_away_and_comes_back_is_followed_again(
    folder: Path, metrics: Metrics
) -> None:
    async with watched(folder, metrics) as store:
        folder.rename(folder.with_name("away"))
        failures = "infermesh_resource_reload_failures_total"
        await eventually(lambda: metrics.sample(failures) >= 1)
        assert list(store.current.tenants) == ["first"], "what was in force stays"
        folder.mkdir()
        (folder / "all.yaml").write_text(dump("second"))
        await has(store, "second")
        (folder / "all.yaml").write_text(dump("third"))
        await has(store, "third")


async def test_a_directory_that_is_swapped_for_another_is_followed(
    folder: Path, metrics: Metrics
) -> None:
    async with watched(folder, metrics) as store:
        await has(store, "first")
        for name in ("second", "third"):
            fresh = folder.with_name(f"with-{name}")
            fresh.mkdir()
            (fresh / "all.yaml").write_text(dump(name))
            folder.rename(folder.with_name(f"before-{name}"))
            fresh.rename(folder)
            await has(store, name)


async def test_a_listener_that_fails_does_not_end_the_watch(folder: Path, metrics: Metrics) -> None:
    def refuses_second(current: ResourceSet) -> None:
        if "second" in current.tenants:
            raise ValueError

    async with watched(folder, metrics) as store:
        store.subscribe(refuses_second)
        (folder / "all.yaml").write_text(dump("second"))
        await has(store, "second")
        await eventually(lambda: metrics.sample("infermesh_resource_reload_failures_total") == 1)
        (folder / "all.yaml").write_text(dump("third"))
        await has(store, "third")


async def test_cancelling_the_watch_ends_it(folder: Path, metrics: Metrics) -> None:
    before = asyncio.all_tasks()
    async with watched(folder, metrics) as store:
        (folder / "all.yaml").write_text(dump("second"))
        await has(store, "second")
    assert asyncio.all_tasks() <= before

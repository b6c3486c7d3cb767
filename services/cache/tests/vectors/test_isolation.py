"""No lookup sees a record of another tenant, context or scope."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex
from infermesh_cache.application.vector_database import TieredVectorDatabase
from infermesh_cache.semantic_ports import Removal

if TYPE_CHECKING:
    from conftest import Clock, Maker

LOOKUPS = 100_000
TENANTS = ("acme", "globex", "acme2", "nobody")
CONTEXTS = ("c0", "c1", "c2")
SCOPES = ("tenant", "team:a", "team:b", "user:ann", "user:bob")


@pytest.mark.timeout(300)
async def test_no_lookup_of_a_hundred_thousand_crosses_a_tenant_a_context_or_a_scope(
    new_hot: Callable[..., HotIndex],
    new_database: Callable[..., TieredVectorDatabase],
    make: "Maker",
    clock: "Clock",
) -> None:
    seed = int(np.random.default_rng().integers(2**31))
    print("seed", seed)
    random = np.random.default_rng(seed)
    # Low, so that lookups go through graphs as well as through exact search.
    database = new_database(new_hot(exact_below=24, quota=600))
    # Few directions: what another tenant stores is as near as one's own.
    directions = make.units(40)
    owner: dict[str, tuple[str, str, str]] = {}
    expiry: dict[str, int] = {}
    for number in range(2000):
        tenant = TENANTS[random.integers(3)]
        context, scope = CONTEXTS[random.integers(3)], SCOPES[random.integers(5)]
        expires_us = clock.now_us + int(random.integers(1, 1000))
        record = make.record(
            f"{tenant} {number}",
            directions[random.integers(40)],
            context=context,
            scope=scope,
            expire_us=expires_us,
            tags=(f"t{number % 50}",),
        )
        owner[record.entry_id], expiry[record.entry_id] = (tenant, context, scope), expires_us
        await database.add(tenant, record)
    served, batch = 0, 1000
    for done in range(0, LOOKUPS, batch):
        clock.now_us += 2
        if done % 10_000 == 0:
            tag = f"t{int(random.integers(50))}"
            await database.remove(TENANTS[random.integers(3)], Removal(tag=tag))
        asked = []
        for _ in range(batch):
            scopes = tuple(random.choice(SCOPES, size=random.integers(0, 3), replace=False))
            asked.append((TENANTS[random.integers(4)], CONTEXTS[random.integers(3)], scopes))
        vectors = directions[random.integers(40, size=batch)]
        answers = await asyncio.gather(
            *(database.nearest(*where, vector, 1) for where, vector in zip(asked, vectors))
        )
        for (tenant, context, scopes), near in zip(asked, answers):
            for item in near:
                name = item.record.entry_id
                assert owner[name][:2] == (tenant, context), seed
                assert owner[name][2] in scopes, seed
                assert expiry[name] > clock.now_us, seed
            served += len(near)
    assert served > LOOKUPS / 5, "the test looked at something"

"""Tier 2 with its real reader, embedding and index: odd requests, and who may be served by whom."""

from __future__ import annotations

import base64
import hashlib
import itertools
import random

import grpc
import orjson
import pytest

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh_common.identity.model import Role
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.servers import RedisServer, eventually

pytestmark = pytest.mark.timeout(300)
DEADLINE_S = 60.0
SEMANTIC = {"enabled": True, "delta": 0.05}
# How fast this machine is today is not what this is about.
PATIENT = {
    "semantic": {
        "lookup_timeout_ms": 10_000,
        "share_interval_ms": 50,
        "load_retry_ms": 1,
        "embedding": {"batch": {"timeout_ms": 10_000}},
    },
    "vectors": {"pace": {"timeout_ms": 10_000}},
}
ODD = {
    "one byte": "?",
    "empty": "",
    "blank": " \n\t ",
    "a megabyte": "who wrote it and when " * 48_000,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈 ❓",
    "right to left": "من كتب مسرحية هاملت؟ \u202eמי כתב\u202c",
    "code": "def f(x):\n    return {k: v for k, v in x.items() if v != '\\0'}\n" * 20,
    "base64": base64.b64encode(bytes(range(256)) * 40).decode(),
    "controls": "a\u0000b\u0007c\u200d\ufeff",
    "combining": "e" + "\u0301" * 3000,
    "quotes": '" or tenant != "" -- \\',
}


class Asker:
    """Asks as a router does, with one key."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self.stub = cache_pb2_grpc.CacheServiceStub(channel)
        self.metadata = bearer(key)

    def query(self, text: str, system: str = "") -> cache_pb2.SemanticQuery:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        return cache_pb2.SemanticQuery(
            protocol="openai.chat", models=["small"], body=orjson.dumps({"messages": messages})
        )

    async def lookup(self, text: str, system: str = "") -> cache_pb2.LookupResponse:
        request = cache_pb2.LookupRequest(fingerprint=self.fingerprint(text, system))
        request.semantic.CopyFrom(self.query(text, system))
        return await self.stub.Lookup(request, metadata=self.metadata, timeout=DEADLINE_S)

    async def teach(self, text: str, answer: str, system: str = "") -> str:
        """Asks and has a model answer; the reason that the tier gave, and the entry stored."""
        found = await self.lookup(text, system)
        message = {"role": "assistant", "content": answer}
        body = orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
        request = cache_pb2.StoreRequest(
            fingerprint=self.fingerprint(text, system),
            entry=cache_pb2.Entry(body=body, model="small"),
            semantic_token=found.semantic_token,
        )
        request.ttl.seconds = 3600
        stored = await self.stub.Store(request, metadata=self.metadata, timeout=DEADLINE_S)
        assert stored.stored, stored
        return found.semantic.reason

    async def near(self, text: str, system: str = "") -> list[str]:
        """Entries that are candidates for a question."""
        request = cache_pb2.ExplainLookupRequest(query=self.query(text, system))
        told = await self.stub.ExplainLookup(request, metadata=self.metadata, timeout=DEADLINE_S)
        return [candidate.fingerprint for candidate in told.candidates]

    def fingerprint(self, text: str, system: str) -> bytes:
        owner = "".join(value for _, value in self.metadata)
        return hashlib.sha256(f"{owner}|{system}|{text}".encode()).digest()


async def loaded(asker: Asker) -> None:
    async def is_loaded() -> bool:
        return (await asker.lookup("are you there")).semantic.reason != "LOADING"

    await eventually(is_loaded, within_s=120, what="the tier is loaded")


async def test_odd_requests_are_answered_and_harm_nothing(
    mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.parts = None
    mesh.declare("acme", semantic=SEMANTIC)
    replica = await mesh.start(redis_server, **PATIENT)
    asker = Asker(replica.channel, governance.issue("acme", Role.MEMBER))
    await loaded(asker)
    reasons = {name: await asker.teach(text, name) for name, text in ODD.items()}
    # What asks nothing is not compared; everything else is a question like any other.
    allowed = {"NOTHING_NEAR", "YOUNG", "NOT_COMPARABLE"}
    assert set(reasons.values()) <= allowed, reasons
    assert reasons["empty"] == reasons["blank"] == "NOT_COMPARABLE"
    assert await asker.teach("Who wrote Hamlet?", "Shakespeare") in allowed

    async def is_found() -> bool:
        found = await asker.near("Who was it that wrote Hamlet?")
        return asker.fingerprint("Who wrote Hamlet?", "").hex() in found

    await eventually(is_found, within_s=60)


async def test_candidates_are_of_the_same_tenant_scope_and_context_alone(
    mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.parts = None
    mesh.declare("acme", semantic={**SEMANTIC, "scope": "key"})
    mesh.declare("globex", semantic={**SEMANTIC, "scope": "tenant"})
    replica = await mesh.start(redis_server, **PATIENT)
    askers = {
        (tenant, number): Asker(replica.channel, governance.issue(tenant, Role.MEMBER))
        for tenant in ("acme", "globex")
        for number in range(2)
    }
    for asker in askers.values():
        await loaded(asker)
    questions = ("How do I reset my password?", "I forgot my password", "Where is my parcel?")
    systems = ("Be brief.", "Be long.")
    mine: dict[tuple[str, int, str], set[str]] = {}
    for (place, asker), system in itertools.product(askers.items(), systems):
        for text in questions:
            await asker.teach(text, "An answer.", system)
            mine.setdefault((*place, system), set()).add(asker.fingerprint(text, system).hex())

    async def all_found() -> bool:
        return all(
            [
                len(await asker.near(questions[0], system)) >= len(questions)
                for asker, system in itertools.product(askers.values(), systems)
            ]
        )

    await eventually(all_found, within_s=60)
    chance = random.Random(5)
    for _ in range(1000):
        (tenant, number), system = chance.choice(list(askers)), chance.choice(systems)
        words = chance.choice(questions).split()
        chance.shuffle(words)
        found = set(await askers[tenant, number].near(" ".join(words), system))
        permitted = set(mine[tenant, number, system])
        if tenant == "globex":
            permitted |= mine[tenant, 1 - number, system]
        assert found and found <= permitted

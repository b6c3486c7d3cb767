"""Tier 2 over gRPC on a real Redis: learns from answers of models, then serves within its bound."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import orjson
import pytest

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh.common.v1 import semantic_pb2
from infermesh_common.errors import Unavailable
from infermesh_common.identity.model import Role
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.servers import RedisServer, eventually

if TYPE_CHECKING:
    from services.cache.tests.conftest import Mesh

TOPICS = (
    "capital France Paris city seat",
    "author Hamlet play drama written",
    "boiling point water temperature celsius",
    "largest planet solar system size",
    "speed light vacuum physics constant",
    "refund order money return parcel",
    "password reset account login forgotten",
    "opening hours shop weekend sunday",
)
SERVED = semantic_pb2.SEMANTIC_VERDICT_SERVED
DEADLINE_S = 60.0


def body_of(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    return orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})


class Asker:
    """Asks as a router does: looks up, has a model answer what is not there, stores."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self.channel = channel
        self.stub = cache_pb2_grpc.CacheServiceStub(channel)
        self.metadata = metadata
        self.calls = 0
        self.worded = False
        self.random = random.Random(7)

    def question(self, topic: int) -> str:
        words = TOPICS[topic].split()
        self.random.shuffle(words)
        return " ".join(words[:4]) + f" {self.random.choice(('please', 'now', 'tell', 'me'))}"

    async def lookup(
        self, text: str, *, system: str = "", task: str = "", decision_id: str = ""
    ) -> cache_pb2.LookupResponse:
        request = cache_pb2.LookupRequest(fingerprint=self.fingerprint(text), single_flight=True)
        request.semantic.CopyFrom(self.query(text, system, task))
        request.semantic.decision_id = decision_id
        return await self.stub.Lookup(request, metadata=self.metadata, timeout=DEADLINE_S)

    def query(self, text: str, system: str = "", task: str = "") -> cache_pb2.SemanticQuery:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        return cache_pb2.SemanticQuery(
            protocol="openai.chat",
            models=["small"],
            body=orjson.dumps({"messages": messages}),
            task=task,
        )

    def fingerprint(self, text: str) -> bytes:
        return hashlib.sha256(text.encode()).digest()

    async def answer(
        self, text: str, found: cache_pb2.LookupResponse, answer: str, *, tag: str = "t"
    ) -> None:
        self.calls += 1
        request = cache_pb2.StoreRequest(
            fingerprint=self.fingerprint(text),
            lease_token=found.lease.token,
            entry=cache_pb2.Entry(body=body_of(answer), model="small", tags=[tag]),
            semantic_token=found.semantic_token,
        )
        request.ttl.seconds = 3600
        stored = await self.stub.Store(request, metadata=self.metadata, timeout=DEADLINE_S)
        assert stored.stored, stored

    async def ask(self, topic: int, *, decision_id: str = "") -> cache_pb2.LookupResponse:
        # Of its own each time: no exact hits.
        text = f"{self.question(topic)} {self.random.getrandbits(64):x}"
        found = await self.lookup(text, decision_id=decision_id)
        if not found.HasField("hit"):
            words = f" in words of its own: {self.random.getrandbits(64):x}" if self.worded else ""
            await self.answer(text, found, f"Answer {topic}{words}.")
        return found

    async def explain(self, text: str, *, task: str = "") -> cache_pb2.ExplainLookupResponse:
        request = cache_pb2.ExplainLookupRequest(query=self.query(text, task=task))
        return await self.stub.ExplainLookup(request, metadata=self.metadata, timeout=DEADLINE_S)

    async def feedback(
        self, decision_id: str, verdict: "cache_pb2.FeedbackVerdict.ValueType"
    ) -> bool:
        request = cache_pb2.SendFeedbackRequest(decision_id=decision_id, verdict=verdict)
        response = await self.stub.SendFeedback(request, metadata=self.metadata, timeout=DEADLINE_S)
        return response.retired


SEMANTIC = {"enabled": True, "delta": 0.05, "auditRate": 0.05}


async def taught(
    mesh: Mesh,
    redis: RedisServer,
    governance: FakeGovernance,
    *,
    worded: bool = False,
    **semantic: object,
) -> Asker:
    """Somebody whose questions the tier has learnt from until it served some."""
    mesh.declare("acme", semantic={**SEMANTIC, **semantic})
    asker = Asker((await mesh.start(redis)).channel, bearer(governance.issue("acme", Role.ADMIN)))
    asker.worded = worded
    await loaded(asker)
    served = 0
    for _ in range(1500):
        found = await asker.ask(asker.random.randrange(len(TOPICS)))
        served += found.semantic.verdict == SERVED
        if served >= 20:
            return asker
    raise AssertionError(f"nothing was served: {found.semantic}")


async def loaded(asker: Asker) -> None:
    async def is_loaded() -> bool:
        return (await asker.lookup("are you there")).semantic.reason != "LOADING"

    await eventually(is_loaded, what="the tier is loaded")


async def hit(asker: Asker, decision_id: str = "") -> tuple[int, cache_pb2.LookupResponse]:
    """Asks until an answer is served; the topic and the answer."""
    for _ in range(300):
        topic = asker.random.randrange(len(TOPICS))
        found = await asker.ask(topic, decision_id=decision_id)
        if found.semantic.verdict == SERVED:
            return topic, found
    raise AssertionError(f"no hit: {found.semantic}")


async def test_a_question_of_the_same_meaning_is_served_once_the_evidence_is_there(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    asker = await taught(mesh, redis_server, governance)
    topic, found = await hit(asker)
    assert found.hit.body == body_of(f"Answer {topic}.")
    match = found.semantic
    assert match.reason == "WITHIN_BOUND" and match.probability > 0.9
    assert 0 < match.error_bound <= match.delta == 0.05 and match.confidence == 0.95
    assert match.similarity > 0.5 and len(bytes.fromhex(match.entry)) == 32
    assert not found.semantic_token and found.WhichOneof("outcome") == "hit"


class TopicJudge:
    """Finds the same what is about one topic, however it is worded."""

    async def same(self, question: str, left: str, right: str) -> bool:
        return left.split()[1] == right.split()[1]


async def test_answers_of_other_words_are_compared_by_a_model_where_the_policy_says_so(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.parts.judge = TopicJudge()
    asker = await taught(
        mesh, redis_server, governance, worded=True, comparison="judge", overlooked=0.1
    )
    topic, found = await hit(asker)
    text = orjson.loads(found.hit.body)["choices"][0]["message"]["content"]
    assert text.startswith(f"Answer {topic} ")


class AbsentJudge:
    """Cannot be reached."""

    async def same(self, question: str, left: str, right: str) -> bool:
        raise Unavailable("JUDGE_UNAVAILABLE", "The judge cannot be reached.")


async def test_an_answer_that_cannot_be_compared_may_be_proposed_all_the_same(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.parts.judge = AbsentJudge()
    mesh.declare("acme", semantic={**SEMANTIC, "comparison": "judge", "overlooked": 0.1})
    replica = await mesh.start(redis_server)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))
    await loaded(asker)
    for number, text in enumerate(("the very question", "the very question now")):
        found = await asker.lookup(text)
        assert found.semantic.reason == ("YOUNG" if number else "NOTHING_NEAR")
        await asker.answer(text, found, f"Answer {number}.")
        await eventually(lambda stored=number: len(mesh.parts.vectors.records) > stored)
    labels = {"tenant": "acme", "result": "not_learnt"}
    assert await replica.metric("infermesh_semantic_outcomes_total", **labels) == 1


async def test_without_its_judge_a_policy_learns_nothing_and_says_so(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.declare("acme", semantic={**SEMANTIC, "comparison": "judge", "overlooked": 0.1})
    replica = await mesh.start(redis_server)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))
    await loaded(asker)
    assert (await asker.ask(1)).WhichOneof("outcome") == "lease"

    async def is_counted() -> bool:
        labels = {"tenant": "acme", "result": "not_learnt"}
        return await replica.metric("infermesh_semantic_outcomes_total", **labels) > 0

    await eventually(is_counted, what="the lesson is counted as not learnt")


async def test_a_young_tier_serves_nothing(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.declare("acme", semantic=SEMANTIC)
    replica = await mesh.start(redis_server)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))
    await loaded(asker)
    reasons = {(await asker.ask(topic % 4)).semantic.reason for topic in range(40)}
    assert reasons == {"NOTHING_NEAR", "YOUNG"}
    assert asker.calls == 40


async def test_without_a_policy_nothing_is_loaded_and_nothing_is_said(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    replica = await mesh.start(redis_server)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))
    found = await asker.lookup("anything")
    assert not found.HasField("semantic") and found.WhichOneof("outcome") == "lease"
    await asker.answer("anything", found, "Yes.")
    assert (await asker.lookup("anything")).HasField("hit")
    assert mesh.parts.built == 0


async def test_an_exact_entry_comes_first(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.declare("acme", semantic=SEMANTIC)
    replica = await mesh.start(redis_server)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))
    await loaded(asker)
    found = await asker.lookup("is it exact")
    await asker.answer("is it exact", found, "Yes.")
    embedded = mesh.parts.engine.embedded
    again = await asker.lookup("is it exact")
    assert again.hit.body == body_of("Yes.") and not again.HasField("semantic")
    assert mesh.parts.engine.embedded == embedded


async def test_what_was_learnt_survives_a_restart(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    asker = await taught(mesh, redis_server, governance)
    before = await asker.explain("capital France Paris city now")
    replica = await mesh.start(redis_server)
    other = Asker(replica.channel, asker.metadata)

    async def told() -> bool:
        found = await other.explain("capital France Paris city now")
        return found.evidence.served >= before.evidence.served

    await eventually(told, what="the other replica knows the evidence")
    after = await other.explain("capital France Paris city now")
    assert after.evidence.requests >= before.evidence.requests
    assert after.match.reason != "YOUNG" and after.match.HasField("probability")
    other.random.seed(99)
    assert (await hit(other))[1].semantic.verdict == SERVED


async def test_explaining_counts_nothing_and_says_why(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    asker = await taught(mesh, redis_server, governance)
    told = [await asker.explain("capital France Paris city please") for _ in range(3)]
    assert len({one.evidence.requests for one in told}) == 1
    one, *_ = told
    assert one.match.reason in ("WITHIN_BOUND", "TOO_LIKELY_WRONG", "BOUND_AT_RISK")
    assert (one.match.verdict == SERVED) == (one.match.reason == "WITHIN_BOUND")
    assert "sure to be right" in one.explanation and one.evidence.served >= 20
    assert one.features["similarity"] == pytest.approx(one.match.similarity)
    assert one.candidates and one.candidates[0].similarity >= one.candidates[-1].similarity
    assert one.text == "capital France Paris city please" and one.space == "words@0"
    far = await asker.explain("zebra xylophone quokka")
    assert far.match.verdict != SERVED and far.match.reason == "TOO_LIKELY_WRONG"
    needed = re.search(r"pays for ([0-9.]+)% and surer", far.explanation)
    assert needed is not None and max(50, 100 * far.match.probability) <= float(needed[1])


async def test_a_category_is_young_for_a_shorter_time_beside_one_that_is_not(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.declare("globex", semantic=SEMANTIC)
    asker = await taught(mesh, redis_server, governance, categories={"faq": {}})
    stranger = Asker(asker.channel, bearer(governance.issue("globex", Role.ADMIN)))
    for who, task in ((asker, "faq"), (stranger, "")):
        found = await who.lookup("a question", task=task)
        await who.answer("a question", found, "Yes.")

    async def told(who: Asker, task: str, needed: int) -> bool:
        said = await who.explain("a question too", task=task)
        return said.match.reason == "YOUNG" and f"before {needed} proposals" in said.explanation

    await eventually(lambda: told(asker, "faq", 50), what="it starts from what the other knows")
    await eventually(lambda: told(stranger, "", 150), what="another tenant does not")


async def test_feedback_counts_an_error_and_retires_the_entry_once(
    mesh: Mesh,
    redis_server: RedisServer,
    governance: FakeGovernance,
    reason_of: Callable[[grpc.aio.AioRpcError], str],
) -> None:
    asker = await taught(mesh, redis_server, governance)
    _, found = await hit(asker, decision_id="a-decision")
    before = (await asker.explain("refund")).evidence.known_wrong
    # Each lookup of `hit` has this id; the last served one is the one that is remembered.
    assert await asker.feedback("a-decision", cache_pb2.FEEDBACK_VERDICT_WRONG)
    assert (await asker.explain("refund")).evidence.known_wrong == before + 1
    assert ("acme", found.semantic.entry) not in mesh.parts.vectors.records
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await asker.feedback("a-decision", cache_pb2.FEEDBACK_VERDICT_WRONG)
    assert reason_of(error.value) == "DECISION_UNKNOWN"


async def test_feedback_from_one_key_is_limited(
    mesh: Mesh,
    redis_server: RedisServer,
    governance: FakeGovernance,
    reason_of: Callable[[grpc.aio.AioRpcError], str],
) -> None:
    mesh.declare("acme", semantic=SEMANTIC)
    settings = {"lookup_timeout_ms": 10_000, "feedback_per_hour": 3}
    replica = await mesh.start(redis_server, semantic=settings)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))
    reasons = []
    for number in range(5):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asker.feedback(str(number), cache_pb2.FEEDBACK_VERDICT_WRONG)
        reasons.append(reason_of(error.value))
    assert reasons == ["DECISION_UNKNOWN"] * 3 + ["FEEDBACK_LIMIT"] * 2


async def test_an_index_that_fails_costs_a_hit_and_no_answer(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.declare("acme", semantic=SEMANTIC)
    replica = await mesh.start(redis_server)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))
    await loaded(asker)
    mesh.parts.vectors.fault = Unavailable("INDEX_GONE", "The index is gone.")
    found = await asker.lookup("does it answer")
    assert found.WhichOneof("outcome") == "lease" and found.semantic.reason == "UNAVAILABLE"
    await asker.answer("does it answer", found, "Yes.")
    mesh.parts.vectors.fault = None
    assert (await asker.lookup("does it answer")).HasField("hit")


async def test_a_model_that_cannot_be_loaded_is_tried_again(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.declare("acme", semantic=SEMANTIC)
    mesh.parts.fault = Unavailable("EMBEDDING_MODEL_MISSING", "no such file")
    replica = await mesh.start(redis_server)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))

    async def reason() -> str:
        return (await asker.lookup("anything")).semantic.reason

    async def failed() -> bool:
        return await reason() == "UNAVAILABLE"

    async def works() -> bool:
        return await reason() == "NOTHING_NEAR"

    await eventually(failed, what="the failure is said")
    mesh.parts.fault = None
    await eventually(works, what="the next attempt succeeds")


async def test_an_answer_that_was_invalidated_is_not_served_to_other_questions(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    asker = await taught(mesh, redis_server, governance)
    request = cache_pb2.InvalidateRequest(tag="t")
    response = await asker.stub.Invalidate(request, metadata=asker.metadata, timeout=DEADLINE_S)
    assert response.count > 0
    assert not mesh.parts.vectors.records
    assert (await asker.ask(0)).semantic.reason == "NOTHING_NEAR"


@pytest.mark.parametrize(
    ("scope", "served"),
    [("key", set()), ("team", {"mate"}), ("tenant", {"mate", "other", "alone"})],
)
async def test_an_answer_serves_whom_the_policy_says(
    mesh: Mesh,
    redis_server: RedisServer,
    governance: FakeGovernance,
    scope: str,
    served: set[str],
) -> None:
    mesh.declare("acme", semantic={**SEMANTIC, "scope": scope})
    mesh.declare("globex", semantic={**SEMANTIC, "scope": scope})
    replica = await mesh.start(redis_server)
    teams = {
        "first": ("acme", "search"),
        "mate": ("acme", "search"),
        "other": ("acme", "sales"),
        "alone": ("acme", ""),
        "stranger": ("globex", "search"),
    }
    askers = {
        name: Asker(replica.channel, bearer(governance.issue(tenant, Role.MEMBER, team=team)))
        for name, (tenant, team) in teams.items()
    }
    first = askers.pop("first")
    await loaded(first)
    found = await first.lookup("whose answer is it")
    await first.answer("whose answer is it", found, "Mine.")
    await eventually(lambda: bool(mesh.parts.vectors.records))
    reasons = {
        name: (await asker.lookup("whose answer is it now")).semantic.reason
        for name, asker in askers.items()
    }
    assert {name for name, reason in reasons.items() if reason == "YOUNG"} == served
    assert set(reasons.values()) <= {"YOUNG", "NOTHING_NEAR"}


async def test_keys_without_a_team_share_with_nobody_where_teams_are_kept_apart(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.declare("acme", semantic={**SEMANTIC, "scope": "team"})
    replica = await mesh.start(redis_server)
    one, other = (Asker(replica.channel, bearer(governance.issue("acme"))) for _ in range(2))
    await loaded(one)
    found = await one.lookup("whose answer is it")
    await one.answer("whose answer is it", found, "Mine.")
    await eventually(lambda: bool(mesh.parts.vectors.records))
    assert (await other.lookup("whose answer is it now")).semantic.reason == "NOTHING_NEAR"
    assert (await one.lookup("whose answer is it then")).semantic.reason == "YOUNG"


async def test_another_system_prompt_is_another_context(
    mesh: Mesh, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    mesh.declare("acme", semantic=SEMANTIC)
    replica = await mesh.start(redis_server)
    asker = Asker(replica.channel, bearer(governance.issue("acme", Role.MEMBER)))
    await loaded(asker)
    found = await asker.lookup("one question", system="Be brief.")
    await asker.answer("one question", found, "Yes.")
    await eventually(lambda: bool(mesh.parts.vectors.records))
    assert (await asker.lookup("the question", system="Be long.")).semantic.reason == "NOTHING_NEAR"
    assert (await asker.lookup("the question", system="Be brief.")).semantic.reason == "YOUNG"

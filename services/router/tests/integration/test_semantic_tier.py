"""What clients, ledger and metrics see of the semantic tier; the tier itself is scripted."""

import asyncio
import urllib.request

import orjson
import pytest

from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import decision_pb2, semantic_pb2
from infermesh.router.v1 import inference_pb2
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import completion

SEMANTIC = resource("CachePolicy", "default", semantic={"enabled": True})


def entry(text: str) -> cache_pb2.Entry:
    body = orjson.dumps(completion(text))
    found = cache_pb2.Entry(body=body, model="cheap", provider="main")
    found.usage.input_tokens, found.usage.output_tokens = 1000, 1000
    found.create_time.GetCurrentTime()
    found.ttl.seconds = 3600
    return found


def match(verdict: int, reason: str) -> semantic_pb2.SemanticMatch:
    return semantic_pb2.SemanticMatch(
        verdict=verdict,
        reason=reason,
        similarity=0.93,
        probability=0.998,
        error_bound=0.004,
        confidence=0.95,
        delta=0.01,
        entry="ab" * 32,
        category="general",
    )


@pytest.fixture
async def semantic(mesh):
    """A mesh whose policy has the tier on."""
    mesh.cache.match = match(semantic_pb2.SEMANTIC_VERDICT_REFUSED, "YOUNG")
    mesh.declare(SEMANTIC)

    async def in_force():
        before = len(mesh.cache.asked)
        await mesh.chat(f"Is it in force? {before}")
        return mesh.cache.asked[-1].HasField("semantic")

    await eventually(in_force)
    return mesh


async def test_an_answer_by_meaning_is_served_like_any_other_and_says_how_sure_it_is(semantic):
    calls = len(semantic.upstream.requests)
    semantic.cache.match = match(semantic_pb2.SEMANTIC_VERDICT_SERVED, "WITHIN_BOUND")
    semantic.cache.meant = entry("Paris.")
    reply = await semantic.chat("Which city is the capital of France?")
    assert reply.body["choices"][0]["message"]["content"] == "Paris."
    assert reply.headers["x-infermesh-tier"] == "semantic"
    assert reply.headers["x-infermesh-cache"] == "hit"
    assert reply.headers["x-infermesh-similarity"] == "0.9300"
    assert reply.headers["x-infermesh-probability"] == "0.9980"
    assert reply.headers["x-infermesh-error-bound"] == "0.0040"
    assert reply.headers["x-infermesh-cost-usd"] == "0"
    assert float(reply.headers["x-infermesh-saved-usd"]) > 0
    streamed = await semantic.chat("Which city is the capital of France?", stream=True)
    assert streamed.text == "Paris." and streamed.headers["x-infermesh-tier"] == "semantic"
    assert len(semantic.upstream.requests) == calls

    events = semantic.events
    await eventually(
        lambda: any(e.decision.tier == decision_pb2.CACHE_TIER_SEMANTIC for e in events())
    )
    event = semantic.events()[-1]
    assert event.decision.semantic.entry == "ab" * 32
    assert (
        "same meaning" in event.decision.reason and "1.00% are permitted" in event.decision.reason
    )


async def test_the_typed_surface_tells_the_match(semantic):
    semantic.cache.match = match(semantic_pb2.SEMANTIC_VERDICT_SERVED, "WITHIN_BOUND")
    semantic.cache.meant = entry("Paris.")
    request = inference_pb2.InferRequest(model="cheap", prompt="The capital of France?")
    response = await semantic.inference.Infer(request, metadata=semantic.metadata(), timeout=30)
    assert response.decision.tier == decision_pb2.CACHE_TIER_SEMANTIC
    assert response.decision.semantic.similarity == 0.93


async def test_an_answer_by_meaning_is_decided_about_each_time(semantic):
    semantic.cache.match = match(semantic_pb2.SEMANTIC_VERDICT_SERVED, "WITHIN_BOUND")
    semantic.cache.meant = entry("Paris.")
    before = semantic.cache.lookups
    for _ in range(3):
        await semantic.chat("Which city is the capital of France?")
    assert semantic.cache.lookups == before + 3


async def test_what_was_not_served_is_learnt_from(semantic):
    reply = await semantic.chat("Who wrote Hamlet?")
    assert reply.headers["x-infermesh-tier"] == "none"
    assert reply.headers["x-infermesh-semantic"] == "refused; young"
    await eventually(lambda: semantic.cache.learnt[-1:] == ["lesson"])


async def test_a_request_that_waits_for_an_identical_one_is_asked_about_once(semantic):
    release = asyncio.Event()

    async def wait(request, body):
        await release.wait()
        return await semantic.upstream.answer(request, body)

    semantic.upstream.handler = wait
    before = len(semantic.cache.asked)
    first = asyncio.create_task(semantic.chat("Slow?"))
    await eventually(lambda: len(semantic.cache.asked) > before)
    second = asyncio.create_task(semantic.chat("Slow?"))
    # It looks again and again.
    await eventually(lambda: len(semantic.cache.asked) >= before + 4)
    release.set()
    await asyncio.gather(first, second)
    asked = [request.HasField("semantic") for request in semantic.cache.asked[before:]]
    assert sum(asked) == 2


async def test_the_request_goes_to_the_tier_without_what_is_only_delivery(semantic):
    await semantic.chat(
        "Who wrote Faust?", user="u-1", stream=True, headers={"x-infermesh-task": "quiz"}
    )
    query = semantic.cache.asked[-1].semantic
    body = orjson.loads(query.body)
    assert body == {"messages": [{"role": "user", "content": "Who wrote Faust?"}]}
    assert list(query.models) == ["cheap"] and query.protocol == "openai.chat"
    assert query.task == "quiz" and len(query.key_id) == 16 and len(query.decision_id) == 36
    assert query.team == "search"
    assert float(query.call_cost.amount) > 0 and query.call_cost.currency_code == "USD"


async def test_a_policy_without_the_tier_sends_no_query(mesh):
    await mesh.chat()
    assert not mesh.cache.asked[-1].HasField("semantic")


async def test_exploration_is_counted_as_what_it_costs(semantic):
    semantic.cache.match = match(semantic_pb2.SEMANTIC_VERDICT_EXPLORED, "CHOSEN_BY_CHANCE")
    reply = await semantic.chat("Who wrote Emma?")
    assert reply.headers["x-infermesh-semantic"] == "explored; chosen_by_chance"
    url = f"http://127.0.0.1:{semantic.metrics_port}/metrics"

    async def counted():
        def scrape():
            with urllib.request.urlopen(url, timeout=20) as response:
                return response.read().decode()

        text = await asyncio.to_thread(scrape)
        name = 'infermesh_semantic_exploration_usd_total{tenant="acme"}'
        return any(
            line.startswith(name) and float(line.split()[-1]) > 0 for line in text.splitlines()
        )

    await eventually(counted)

"""Which model is asked after which failure, what that is told of, and what is left behind."""

import asyncio
import time
from contextlib import aclosing

import pytest

from infermesh_common import context as request_context
from infermesh_common.context import RequestContext
from infermesh_common.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.servers import eventually
from infermesh_router.application.attempts import ModelCall
from infermesh_router.application.model_stage import ModelStage, RetryRules
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.decision import Decision
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import InferenceRequest, Surface
from infermesh_router.domain.routing import Route

UNKNOWN = "what it billed is not known"
PLENTY = RetryRules(share=1.0, per_second=100)
NONE = RetryRules(share=0.0, per_second=0)
MAY_BE_REPLACED = [
    Unavailable("DOWN", "x"),
    DeadlineExceeded("PROVIDER_TIMEOUT", "x"),
    ResourceExhausted("PROVIDER_RATE_LIMITED", "x"),
]
IS_THE_REQUESTS_OWN = [
    InvalidArgument("PROVIDER_REJECTED_REQUEST", "x"),
    NotFound("PROVIDER_NOT_FOUND", "x"),
    FailedPrecondition("X", "x"),
]


class Fails:
    """Fails before anything came."""

    def __init__(self, error, *, called=True, repeatable=False):
        self.error, self.called, self.repeatable = error, called, repeatable


class Hangs:
    """Never begins."""


class Waits:
    """Begins when it is told to, and then does what `then` says."""

    def __init__(self, then=None):
        self.go = asyncio.Event()
        self.then = then


class BreaksOff:
    """Begins and fails."""


class FakeProvider:
    """Implements `ModelProvider` by script: what to do at each call of a model, the last one
    again and again; answers with the model's name where there is none."""

    def __init__(self):
        self.script = {}
        self.asked = []
        self.open = 0

    async def _next(self, model, attempt):
        steps = self.script.get(model.name, [None])
        step = steps[0] if len(steps) == 1 else steps.pop(0)
        self.asked.append(model.name)
        attempt.called = getattr(step, "called", True)
        if isinstance(step, Waits):
            await step.go.wait()
            step = step.then
        if isinstance(step, Hangs):
            await asyncio.Event().wait()
        if isinstance(step, Fails):
            attempt.repeatable = step.repeatable
            raise step.error
        return step

    async def complete(self, provider, model, surface, body, attempt):
        self.open += 1
        try:
            await self._next(model, attempt)
            return Answer(value={"by": model.name})
        finally:
            self.open -= 1

    async def stream(self, provider, model, surface, body, attempt):
        self.open += 1
        try:
            step = await self._next(model, attempt)
            yield [Chunk(value={"by": model.name})]
            if isinstance(step, BreaksOff):
                raise Unavailable("PROVIDER_STREAM_BROKEN", "x")
            yield [Chunk(value={"by": model.name, "end": True})]
        finally:
            self.open -= 1


class Harness:
    """The stage with three models, a and b of one provider and c of another."""

    def __init__(self, retries=PLENTY):
        documents = [
            resource("Provider", "one", baseUrl="http://localhost:1/v1"),
            resource("Provider", "two", baseUrl="http://localhost:1/v1"),
            model("a", provider="one"),
            model("b", provider="one"),
            model("c", provider="two"),
        ]
        built = build([("test", document) for document in documents], ResourceSet())
        assert not built.faults
        self.registry = ModelRegistry(built)
        self.provider = FakeProvider()
        self.metrics = Metrics()
        self.stage = ModelStage(self.provider, self.metrics, retries)
        self.decision = Decision("r")

    def call(self, chain, attempts=3, hedge_ms=None):
        models = tuple(self.registry.models[name] for name in chain)
        request = InferenceRequest(Surface.CHAT, {}, "auto")
        return ModelCall(request, Route(models, (), "first"), attempts, hedge_ms)

    async def ask(self, *chain, stream=False, attempts=3, hedge_ms=None):
        """Who answered; every chunk is of the same model."""
        self.decision = Decision("r")
        call = self.call(chain, attempts, hedge_ms)
        if not stream:
            answer = await self.stage.complete(call, self.registry, self.decision)
            return answer.value["by"]
        chunks = []
        async with aclosing(self.stage.stream(call, self.registry, self.decision)) as pieces:
            async for piece in pieces:
                chunks += [chunk.value for chunk in piece]
        assert chunks[-1].get("end")
        (by,) = {chunk["by"] for chunk in chunks}
        return by

    async def failure(self, *chain, **how):
        with pytest.raises(Exception) as caught:
            await self.ask(*chain, **how)
        return caught.value

    def retries(self, kind, result="made", provider="one"):
        labels = {"provider": provider, "kind": kind, "result": result}
        return self.metrics.sample("infermesh_provider_retries_total", labels)

    def hedges(self, provider, result):
        labels = {"provider": provider, "result": result}
        return self.metrics.sample("infermesh_provider_hedges_total", labels)


@pytest.fixture
async def harness():
    made = Harness()
    yield made
    assert made.provider.open == 0, "a call was left open"
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"


both = pytest.mark.parametrize("stream", [False, True])


@both
@pytest.mark.parametrize("error", MAY_BE_REPLACED, ids=lambda e: e.reason)
async def test_what_another_may_do_better_is_asked_of_the_next_model(harness, stream, error):
    harness.provider.script["a"] = [Fails(error)]
    assert await harness.ask("a", "c", stream=stream) == "c"
    assert harness.provider.asked == ["a", "c"]
    assert (harness.decision.model, harness.decision.provider) == ("c", "two")
    assert harness.decision.fallbacks == [f"a: {error.reason}, {UNKNOWN}"]
    assert "a: " in harness.decision.reason and harness.retries("fallback") == 1


@both
@pytest.mark.parametrize("error", IS_THE_REQUESTS_OWN, ids=lambda e: e.reason)
async def test_what_the_request_itself_caused_is_never_tried_elsewhere(harness, stream, error):
    harness.provider.script["a"] = [Fails(error)]
    assert await harness.failure("a", "c", stream=stream) is error
    assert harness.provider.asked == ["a"]
    assert harness.decision.model == "a"


async def test_nobody_else_is_asked_after_the_first_content(harness):
    harness.provider.script["a"] = [BreaksOff()]
    error = await harness.failure("a", "c", stream=True)
    assert error.reason == "PROVIDER_STREAM_BROKEN"
    assert harness.provider.asked == ["a"]


@both
async def test_no_more_calls_than_the_policy_allows(harness, stream):
    for name in "abc":
        harness.provider.script[name] = [Fails(Unavailable(name, "x"), repeatable=True)]
    assert (await harness.failure("a", "b", "c", stream=stream, attempts=2)).reason == "a"
    assert harness.provider.asked == ["a", "a"]
    harness.provider.asked.clear()
    assert (await harness.failure("a", "b", "c", stream=stream, attempts=1)).reason == "a"
    assert harness.provider.asked == ["a"]


async def test_the_same_model_is_asked_again_once_and_only_where_that_may_help(harness):
    cut = Fails(Unavailable("CUT", "x"), repeatable=True)
    harness.provider.script["a"] = [cut, None]
    assert await harness.ask("a", "c") == "a"
    assert harness.decision.fallbacks == [f"a: CUT, {UNKNOWN}"] and harness.retries("repeat") == 1
    harness.provider.script["a"] = [cut]
    assert await harness.ask("a", "c") == "c"
    assert harness.provider.asked == ["a", "a", "a", "a", "c"]


async def test_a_model_passed_over_without_a_call_costs_neither_attempts_nor_budget():
    harness = Harness(NONE)
    for name in "ab":
        harness.provider.script[name] = [Fails(Unavailable("CIRCUIT_OPEN", "x"), called=False)]
    assert await harness.ask("a", "b", "c", attempts=1) == "c"
    assert harness.decision.fallbacks == ["a: CIRCUIT_OPEN", "b: CIRCUIT_OPEN"]
    assert harness.retries("fallback") == harness.retries("fallback", "refused") == 0


async def test_a_request_for_which_nobody_was_called_is_known_to_cost_nothing(harness):
    harness.provider.script["a"] = [Fails(Unavailable("CIRCUIT_OPEN", "x"), called=False)]
    await harness.failure("a")
    harness.decision.settle_failure()
    assert harness.decision.cost == 0


@both
@pytest.mark.parametrize("hedge_ms", [None, 60_000])
async def test_what_a_called_provider_billed_for_a_failure_is_never_claimed_to_be_zero(
    harness, stream, hedge_ms
):
    harness.provider.script["a"] = [Fails(Unavailable("DOWN", "x"))]
    harness.provider.script["c"] = [Fails(Unavailable("CIRCUIT_OPEN", "x"), called=False)]
    error = await harness.failure("a", "c", stream=stream, hedge_ms=hedge_ms)
    assert error.reason == "DOWN", "the failure of a call says more than one of none"
    harness.decision.settle_failure()
    assert harness.decision.cost is None and harness.decision.usage is None


async def test_a_cancelled_call_is_never_claimed_to_have_cost_nothing(harness):
    harness.provider.script["a"] = [Hangs()]
    for hedge_ms in (None, 60_000, 1):
        harness.provider.script["c"] = [Hangs()]
        task = asyncio.create_task(harness.ask("a", "c", hedge_ms=hedge_ms))
        asked = 2 if hedge_ms == 1 else 1
        await eventually(lambda: harness.provider.open == asked)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert harness.decision.provider_called
        assert harness.provider.open == 0


async def test_further_attempts_are_made_within_the_budget_and_then_refused_at_once():
    harness = Harness(RetryRules(share=0.2, per_second=0))
    harness.provider.script["a"] = [Fails(Unavailable("DOWN", "x"))]
    answered = 0
    for _ in range(50):
        try:
            answered += await harness.ask("a", "c") == "c"
        except Unavailable as error:
            assert error.reason == "DOWN" and error.retry_after_s and error.retry_after_s >= 1
            assert harness.decision.fallbacks[-1].startswith("no further attempt")
            error.retry_after_s = None
    assert answered == harness.provider.asked.count("c") == harness.retries("fallback") == 10
    assert harness.retries("fallback", "refused") == 40
    assert harness.provider.asked.count("a") == 50


async def test_budgets_of_providers_are_apart():
    harness = Harness(RetryRules(share=0.0, per_second=0.1))
    harness.provider.script["a"] = [Fails(Unavailable("DOWN", "x"))]
    assert await harness.ask("a", "b") == "b"
    assert (await harness.failure("a", "b")).reason == "DOWN"
    harness.provider.script["c"] = [Fails(Unavailable("DOWN", "x"))]
    assert await harness.ask("c", "b") == "b"


async def test_nobody_is_asked_once_the_deadline_of_the_request_has_passed(harness):
    harness.provider.script["a"] = [Fails(DeadlineExceeded("PROVIDER_TIMEOUT", "x"))]

    async def late():
        request_context.bind(RequestContext("/a/B", "id", {}, time.monotonic() - 1, 0))
        return await harness.failure("a", "c")

    assert (await asyncio.create_task(late())).reason == "PROVIDER_TIMEOUT"
    assert harness.provider.asked == ["a"]


@both
async def test_without_a_hedge_a_slow_model_is_waited_for(harness, stream):
    harness.provider.script["a"] = [slow := Waits()]
    task = asyncio.create_task(harness.ask("a", "c", stream=stream))
    await eventually(lambda: harness.provider.open == 1)
    slow.go.set()
    assert await task == "a" and harness.provider.asked == ["a"]


@both
async def test_a_hedge_is_not_made_for_a_model_that_begins_in_time(harness, stream):
    assert await harness.ask("a", "c", stream=stream, hedge_ms=60_000) == "a"
    assert harness.provider.asked == ["a"] and harness.decision.fallbacks == []


@both
async def test_a_hedge_answers_for_a_model_that_does_not_begin_and_the_loser_is_ended(
    harness, stream
):
    harness.provider.script["a"] = [Hangs()]
    assert await harness.ask("a", "c", stream=stream, hedge_ms=1) == "c"
    assert harness.provider.asked == ["a", "c"]
    assert harness.decision.fallbacks == [f"a: cancelled, another model was faster, {UNKNOWN}"]
    assert harness.hedges("two", "won") == harness.retries("hedge") == 1


@both
async def test_the_first_model_may_still_win_against_its_hedge(harness, stream):
    harness.provider.script["a"] = [slow := Waits()]
    harness.provider.script["b"] = [Hangs()]
    task = asyncio.create_task(harness.ask("a", "b", "c", stream=stream, hedge_ms=1))
    await eventually(lambda: harness.provider.open == 2)
    slow.go.set()
    assert await task == "a"
    assert harness.provider.asked == ["a", "b"], "one hedge a request"
    assert harness.decision.fallbacks == [f"b: cancelled, another model was faster, {UNKNOWN}"]
    assert harness.hedges("one", "lost") == 1


@both
async def test_two_that_begin_at_once_leave_only_the_one_asked_first(harness, stream):
    harness.provider.script["a"] = [one := Waits()]
    harness.provider.script["c"] = [other := Waits()]
    task = asyncio.create_task(harness.ask("a", "c", stream=stream, hedge_ms=1))
    await eventually(lambda: harness.provider.open == 2)
    one.go.set()
    other.go.set()
    assert await task == "a"


@both
async def test_a_hedge_that_fails_does_not_fail_the_request(harness, stream):
    for error in (*MAY_BE_REPLACED, *IS_THE_REQUESTS_OWN):
        harness.provider.asked.clear()
        harness.provider.script["a"] = [slow := Waits()]
        harness.provider.script["c"] = [Fails(error)]
        task = asyncio.create_task(harness.ask("a", "c", "b", stream=stream, hedge_ms=1))
        await eventually(lambda: len(harness.provider.asked) == 2)
        await eventually(lambda: harness.provider.open == 1)
        slow.go.set()
        assert await task == "a"
        assert harness.decision.model == "a" and harness.provider.asked == ["a", "c"]


@both
async def test_a_hedge_goes_on_when_the_first_model_fails(harness, stream):
    harness.provider.script["a"] = [first := Waits(Fails(Unavailable("DOWN", "x")))]
    harness.provider.script["c"] = [second := Waits()]
    task = asyncio.create_task(harness.ask("a", "c", stream=stream, hedge_ms=1))
    await eventually(lambda: harness.provider.open == 2)
    first.go.set()
    await eventually(lambda: harness.provider.open == 1)
    second.go.set()
    assert await task == "c"
    assert harness.decision.fallbacks == [f"a: DOWN, {UNKNOWN}"]


async def test_when_both_fail_the_rest_of_the_chain_is_asked(harness):
    harness.provider.script["a"] = [first := Waits(Fails(Unavailable("DOWN", "x")))]
    harness.provider.script["c"] = [Fails(Unavailable("DOWN", "x"))]
    task = asyncio.create_task(harness.ask("a", "c", "b", hedge_ms=1))
    await eventually(lambda: "c" in harness.provider.asked)
    first.go.set()
    assert await task == "b"
    assert harness.provider.asked == ["a", "c", "b"]


async def test_a_hedge_draws_on_the_budget_and_is_left_out_without_one():
    harness = Harness(NONE)
    harness.provider.script["a"] = [slow := Waits()]
    task = asyncio.create_task(harness.ask("a", "c", hedge_ms=1))
    await eventually(lambda: harness.retries("hedge", "refused") == 1)
    slow.go.set()
    assert await task == "a" and harness.provider.asked == ["a"]


async def test_a_client_that_leaves_mid_stream_ends_the_only_call_that_is_left(harness):
    harness.provider.script["a"] = [Hangs()]
    call = harness.call(["a", "c"], hedge_ms=1)
    async with aclosing(harness.stage.stream(call, harness.registry, harness.decision)) as pieces:
        await anext(pieces)
        assert harness.provider.open == 1

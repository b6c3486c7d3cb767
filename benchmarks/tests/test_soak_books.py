"""A soak's books find what is lost, doubled, or at a wrong price."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from benchmarks.soak.books import Books, Verdict, compare
from benchmarks.soak.stand import worth
from infermesh import CacheStatus, Decision, Outcome, Tier, TokenUsage, UsageEvent
from tools.simulator.counts import CountsReport, Tokens

TOKENS: Tokens = {
    "input": 14,
    "cached_input": 110,
    "cache_write_input": 30,
    "output": 7,
    "reasoning": 5,
}
USAGE = TokenUsage(
    input_tokens=14,
    cached_input_tokens=110,
    cache_write_input_tokens=30,
    output_tokens=7,
    reasoning_tokens=5,
)
COST = worth(
    {"input": 14, "cached_input": 110, "cache_write_input": 30, "output": 7, "reasoning": 5}
)


def event(
    request_id: str,
    *,
    outcome: Outcome = Outcome.SUCCEEDED,
    cache: CacheStatus = CacheStatus.MISS,
    cost: Decimal | None = COST,
    usage: TokenUsage | None = USAGE,
) -> UsageEvent:
    decision = Decision(
        decision_id=f"of-{request_id}",
        tier=Tier.NONE,
        cache_status=cache,
        model="m",
        provider="p",
        reason="",
        candidates=(),
        price_version="",
        currency="USD",
        cost=cost,
        baseline_cost=COST,
        saved=None,
        baseline_model="m",
        usage=usage,
        baseline_usage=USAGE,
        stages=(),
        configuration_revision="",
        entry_age_s=None,
        fingerprint="",
        store_outcome="",
        fallbacks=(),
    )
    return UsageEvent(
        event_id=f"of-{request_id}",
        request_id=request_id,
        request_time=datetime.now(UTC),
        tenant="plain",
        key_id="k",
        requested_model="m",
        protocol="openai.chat",
        task="general",
        tags=("soak",),
        streamed=False,
        outcome=outcome,
        error_reason="",
        duration_ms=1,
        first_byte_ms=1,
        decision=decision,
    )


def counts(answered: int) -> CountsReport:
    tokens: Tokens = {
        "input": TOKENS["input"] * answered,
        "cached_input": TOKENS["cached_input"] * answered,
        "cache_write_input": TOKENS["cache_write_input"] * answered,
        "output": TOKENS["output"] * answered,
        "reasoning": TOKENS["reasoning"] * answered,
    }
    return {
        "requests": answered,
        "answered": answered,
        "abandoned": 0,
        "unknown": 0,
        "tokens": tokens,
        "models": {"m": {"requests": answered, "answered": answered, "tokens": tokens}},
        "faults": {},
        "connections": {"accepted": 1, "open": 0},
    }


HIT = event("hit", cache=CacheStatus.HIT, cost=Decimal(0), usage=TokenUsage())
FAILED = event("failed", outcome=Outcome.FAILED, cost=None, usage=None)
SOUND = [event("a"), event("b"), HIT, FAILED]
GOOD = {"a": True, "b": True, "hit": True, "failed": False}


def broken(events: list[UsageEvent], good: dict[str, bool], answered: int) -> set[str]:
    books = Books()
    for one in events:
        books.add(one)
    return {verdict.what for verdict in verdicts(books, good, answered) if not verdict.held}


def verdicts(books: Books, good: dict[str, bool], answered: int) -> list[Verdict]:
    return compare(books, good, [counts(answered)])


SPEND = "spend by model is what the providers counted"
ANSWERS = "answers of models are those that the providers gave"
TOKENS_EQUAL = "tokens by bucket are what the providers counted"
AGREE = "clients and ledger agree on every outcome"


def test_sound_books_hold() -> None:
    assert broken(SOUND, GOOD, 2) == set()


@pytest.mark.parametrize(
    ("events", "good", "answered", "expected"),
    [
        (SOUND[1:], GOOD, 1, {"no event is lost", AGREE}),
        ([*SOUND, HIT], GOOD, 2, {"no event is doubled"}),
        ([*SOUND, replace(HIT, request_id="x")], GOOD, 2, {"no event is of nobody's request"}),
        (SOUND, {**GOOD, "failed": True}, 2, {AGREE}),
        (SOUND, GOOD, 3, {SPEND, ANSWERS, TOKENS_EQUAL}),
        ([*SOUND[1:], event("a", cost=COST + Decimal("1e-12"))], GOOD, 2, {SPEND}),
        (
            [*SOUND[:3], event("failed", outcome=Outcome.FAILED, cost=COST)],
            GOOD,
            2,
            {"no failure has a price"},
        ),
        (
            [*SOUND[1:], event("a", usage=replace(USAGE, output_tokens=8))],
            GOOD,
            2,
            {TOKENS_EQUAL},
        ),
    ],
    ids=["lost", "doubled", "strange", "outcome", "count", "price", "failure", "tokens"],
)
def test_what_is_wrong_is_found(
    events: list[UsageEvent], good: dict[str, bool], answered: int, expected: set[str]
) -> None:
    assert broken(events, good, answered) == expected

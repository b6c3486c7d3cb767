"""Catalog prices are those of the genai-prices data set, to the last digit."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.prices import PriceBook
from infermesh_common.resources.types import Model
from infermesh_common.testing.resources import resource
from infermesh_common.usage import Usage

WELL_KNOWN = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4.1"),
    ("openai", "o3-mini"),
    ("openai", "text-embedding-3-small"),
    ("anthropic", "claude-3-5-haiku-latest"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-1"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("mistral", "mistral-large-latest"),
    ("deepseek", "deepseek-chat"),
    ("groq", "llama-3.3-70b-versatile"),
    ("x-ai", "grok-3"),
    ("perplexity", "sonar-pro"),
    ("perplexity", "sonar-deep-research"),
]
COUNT = st.integers(0, 600_000)
USAGES = st.builds(
    Usage,
    input_tokens=COUNT,
    cached_input_tokens=COUNT,
    cache_write_input_tokens=COUNT,
    output_tokens=COUNT,
    reasoning_tokens=COUNT,
)
OFF_PEAK = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)
PEAK = datetime(2026, 10, 1, 2, 0, tzinfo=UTC)
USAGE = Usage(input_tokens=1000, cached_input_tokens=200, output_tokens=300, reasoning_tokens=70)


def book(provider: str, model: str, now: datetime = OFF_PEAK) -> PriceBook:
    document = resource(
        "Model",
        "m",
        provider="p",
        upstreamModel="u",
        contextTokens=4096,
        pricing={"catalog": {"provider": provider, "model": model}},
    )
    return PriceBook({"m": Model.model_validate(document)}, now=lambda: now)


def counted(usage: Usage) -> genai_prices.Usage:
    return genai_prices.Usage(
        input_tokens=usage.all_input_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_input_tokens,
        output_tokens=usage.all_output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )


def theirs(provider: str, model: str, usage: Usage, now: datetime = OFF_PEAK) -> Decimal:
    return genai_prices.calc_price(
        counted(usage), model, provider_id=provider, genai_request_timestamp=now
    ).total_price


@pytest.mark.parametrize(("provider", "model"), WELL_KNOWN)
@given(usage=USAGES)
def test_a_cost_equals_that_of_the_catalog(provider: str, model: str, usage: Usage) -> None:
    cost = book(provider, model).cost("m", usage)
    if cost is None:
        # Only where the catalog takes output for free because it does not price it.
        assert usage.all_output_tokens and "embedding" in model
    else:
        assert Fraction(cost) == Fraction(theirs(provider, model, usage))


def test_every_model_of_the_catalog_costs_what_the_catalog_says() -> None:
    compared = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            cost = book(provider.id, model.id).cost("m", USAGE)
            if cost is not None:
                assert cost == theirs(provider.id, model.id, USAGE), f"{provider.id} {model.id}"
                compared += 1
    assert compared > 1000


@given(beyond=st.integers(-1000, 1000))
def test_a_tiered_model_goes_by_the_size_of_the_request(beyond: int) -> None:
    """Above 200,000 tokens of input every token of a request costs more, not only those above."""
    prices = book("anthropic", "claude-sonnet-4-5")
    usage = Usage(input_tokens=150_000, cached_input_tokens=50_000 + beyond, output_tokens=1000)
    small = Usage(input_tokens=1000, cached_input_tokens=50_000 + beyond, output_tokens=1000)
    cost, cost_of_small = prices.cost("m", usage), prices.cost("m", small)
    assert cost is not None and cost_of_small is not None
    assert cost == theirs("anthropic", "claude-sonnet-4-5", usage)
    at_the_base_rate = cost_of_small + 149_000 * Decimal("0.000003")
    assert (cost == at_the_base_rate) == (beyond <= 0)


def test_a_price_that_depends_on_the_hour_is_that_of_the_call_not_of_the_start() -> None:
    clock = [OFF_PEAK]
    document = resource(
        "Model",
        "m",
        provider="p",
        upstreamModel="u",
        contextTokens=4096,
        pricing={"catalog": {"provider": "deepseek", "model": "deepseek-v4-pro"}},
    )
    prices = PriceBook({"m": Model.model_validate(document)}, now=lambda: clock[0])
    price = prices.price("m")
    assert price is not None
    costs = []
    for clock[0] in (OFF_PEAK, PEAK, OFF_PEAK):
        costs.append(price.cost(USAGE))
        assert costs[-1] == theirs("deepseek", "deepseek-v4-pro", USAGE, clock[0])
    assert costs[0] == costs[2] != costs[1]


def test_a_price_per_request_is_part_of_the_cost() -> None:
    cost = book("perplexity", "sonar-pro").cost("m", Usage(input_tokens=1))
    assert cost == theirs("perplexity", "sonar-pro", Usage(input_tokens=1)) > Decimal("0.01")


def test_embeddings_cost_their_input_and_an_output_they_never_have_is_unknown() -> None:
    prices = book("openai", "text-embedding-3-small")
    assert prices.cost("m", Usage(input_tokens=1_000_000)) == Decimal("0.02")
    assert prices.cost("m", Usage(input_tokens=1, output_tokens=1)) is None


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1"])
@pytest.mark.parametrize("bucket", ["batch_input_tokens", "batch_output_tokens"])
def test_batch_tokens_are_not_in_the_catalog(model: str, bucket: str) -> None:
    assert book("openai", model).cost("m", Usage(**{bucket: 1})) is None


@pytest.mark.parametrize("bucket", ["batch_input_tokens", "batch_output_tokens", "output_tokens"])
def test_a_side_that_a_changing_catalog_model_does_not_price_is_unknown(bucket: str) -> None:
    prices = book("google", "gemini-embedding-001")
    if bucket == "output_tokens":
        assert prices.cost("m", Usage(input_tokens=10, **{bucket: 1})) is None
    else:
        assert book("anthropic", "claude-sonnet-4-5").cost("m", Usage(**{bucket: 1})) is None


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model-at-all"), ("nobody", "gpt-4o")]
)
def test_what_the_catalog_does_not_list_is_unknown(provider: str, model: str) -> None:
    assert book(provider, model).price("m") is None
    assert book(provider, model).cost("m", USAGE) is None


def test_the_version_names_the_release_of_the_catalog() -> None:
    price = book("openai", "gpt-4o").price("m")
    assert price is not None and price.version == f"genai-prices-{genai_prices.__version__}"

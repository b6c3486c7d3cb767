"""Money is exact, and what has no known price is unknown, never free."""

from dataclasses import fields
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.prices import PriceBook, Rates
from infermesh_common.resources.types import Model
from infermesh_common.testing.resources import resource
from infermesh_common.usage import Usage

BUCKETS = [field.name for field in fields(Usage)]
# Names in a resource of the prices of those buckets.
OVERLAY = {
    "input_tokens": "input",
    "cached_input_tokens": "cachedInput",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
    "batch_input_tokens": "batchInput",
    "batch_output_tokens": "batchOutput",
    "cache_write_input_tokens": "cacheWriteInput",
}
COUNT = st.integers(0, 2**63 - 1)
USAGES = st.builds(Usage, **dict.fromkeys(BUCKETS, COUNT))
# Everything that a resource may state: 28 digits, 18 of them after the point.
RATE = st.integers(0, 10**28 - 1).flatmap(
    lambda digits: st.integers(0, 18).map(lambda places: Decimal(digits).scaleb(-places))
)
RATES = st.builds(Rates, **dict.fromkeys(BUCKETS, RATE))


def book(**pricing: object) -> PriceBook:
    document = resource(
        "Model",
        "m",
        provider="p",
        upstreamModel="u",
        contextTokens=4096,
        pricing=pricing,
    )
    return PriceBook({"m": Model.model_validate(document)})


def overlay(**prices: object) -> PriceBook:
    return book(overlay={"source": "contract", **prices})


@given(rates=RATES, usage=USAGES)
def test_costs_are_exact(rates: Rates, usage: Usage) -> None:
    exact = sum(
        (Fraction(getattr(rates, name)) * getattr(usage, name) for name in BUCKETS), Fraction(0)
    )
    cost = rates.cost(usage)
    assert cost is not None and Fraction(cost) == exact / 1_000_000


@given(rates=RATES, one=USAGES, other=USAGES)
def test_the_cost_of_a_sum_is_the_sum_of_the_costs(rates: Rates, one: Usage, other: Usage) -> None:
    together, first, second = rates.cost(one + other), rates.cost(one), rates.cost(other)
    assert together is not None and first is not None and second is not None
    assert Fraction(together) == Fraction(first) + Fraction(second)


@given(usage=USAGES, missing=st.sampled_from(BUCKETS))
def test_tokens_without_a_price_make_the_cost_unknown(usage: Usage, missing: str) -> None:
    prices = {price: "1" for bucket, price in OVERLAY.items() if bucket != missing}
    cost = overlay(**prices).cost("m", usage)
    assert (cost is None) == (getattr(usage, missing) > 0)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_each_price_of_an_overlay_is_that_of_its_bucket(bucket: str) -> None:
    usage = Usage(**{bucket: 2_000_000})
    assert overlay(**{OVERLAY[bucket]: "0.15"}).cost("m", usage) == Decimal("0.3")


def test_a_price_of_zero_is_known() -> None:
    assert overlay(input="0").cost("m", Usage(input_tokens=7)) == 0
    assert overlay(input=0).cost("m", Usage(input_tokens=7)) == 0


def test_a_figure_of_yaml_means_the_digits_that_were_written() -> None:
    assert overlay(input=0.1).cost("m", Usage(input_tokens=3_000_000)) == Decimal("0.3")
    assert overlay(input=1e-7).cost("m", Usage(input_tokens=10**6)) == Decimal("0.0000001")


def test_without_pricing_the_cost_is_unknown_even_of_nothing() -> None:
    prices = book()
    assert prices.price("m") is None
    assert prices.cost("m", Usage()) is None
    assert prices.cost("m", Usage(input_tokens=1)) is None
    assert overlay().cost("m", Usage(input_tokens=1)) is None


def test_a_model_nobody_knows_has_no_price() -> None:
    assert overlay(input="1").price("other") is None
    assert overlay(input="1").cost("other", Usage(input_tokens=1)) is None


def test_the_version_of_a_price_changes_with_the_price_only() -> None:
    def version(prices: PriceBook) -> str:
        price = prices.price("m")
        assert price is not None
        return price.version

    first = version(overlay(input="1", output="2"))
    assert first.startswith("overlay-")
    assert version(overlay(output="2", input="1")) == first
    assert version(overlay(input="1", output="2.01")) != first
    assert version(overlay(input="1")) != first


@pytest.mark.parametrize(
    "price", ["-1", "NaN", "Infinity", "x", "1e-19", "1" * 29, True, [1], float("nan")]
)
def test_a_price_that_is_none_is_refused(price: object) -> None:
    with pytest.raises(ValueError):
        overlay(input=price)

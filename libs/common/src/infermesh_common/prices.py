"""What tokens cost: the genai-prices data set, plus what operators state.

Exact decimals, versioned; an unknown price is unknown, never 0.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from importlib.metadata import version

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice as CatalogModelPrice, Provider, TieredPrices
from genai_prices.types import Usage as CatalogUsage

from infermesh_common.resources.types import CatalogPrice, Model, PriceOverlay
from infermesh_common.usage import BUCKETS, Usage

# Prices have at most 28 digits and counts 19: no sum of products is ever rounded.
_EXACT = Context(prec=100)
_CATALOG_VERSION = f"genai-prices-{version('genai-prices')}"


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per million tokens of each bucket of `Usage`; None is unknown."""

    input_tokens: Decimal | None
    cached_input_tokens: Decimal | None
    output_tokens: Decimal | None
    reasoning_tokens: Decimal | None
    batch_input_tokens: Decimal | None
    batch_output_tokens: Decimal | None
    cache_write_input_tokens: Decimal | None

    def cost(self, usage: Usage) -> Decimal | None:
        """US dollars for `usage`; None when it has tokens in a bucket of unknown price."""
        total = Decimal(0)
        for name, tokens in zip(BUCKETS, usage.counts(), strict=True):
            if not tokens:
                continue
            rate: Decimal | None = getattr(self, name)
            if rate is None:
                return None
            total = _EXACT.fma(rate, tokens, total)
        return total.scaleb(-6, _EXACT)  # per million


@dataclass(frozen=True, slots=True)
class _CatalogModel:
    """A catalog model whose rates depend on the size of the request, on the day, on the hour, or
    are per request."""

    provider: Provider
    model: ModelInfo
    now: Callable[[], datetime]

    def cost(self, usage: Usage) -> Decimal | None:
        """US dollars for `usage` as one request made now; None for batch tokens and for a side
        that the catalog does not price. The catalog itself takes both for free."""
        now = self.now()
        prices = self.model.get_prices(now)
        if usage.batch_input_tokens or usage.batch_output_tokens:
            return None
        if usage.all_input_tokens and prices.input_mtok is None:
            return None
        if usage.all_output_tokens and prices.output_mtok is None:
            return None
        counted = CatalogUsage(
            input_tokens=usage.all_input_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_input_tokens,
            output_tokens=usage.all_output_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
        )
        return self.model.calc_price(
            counted, self.provider, genai_request_timestamp=now
        ).total_price


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """The price of one model.

    Attributes:
        version: names the data it comes from, for the audit.
    """

    version: str
    _rates: Rates | _CatalogModel

    def cost(self, usage: Usage) -> Decimal | None:
        """US dollars for `usage`, exact; None when any part of it has no known price."""
        return self._rates.cost(usage)


class PriceBook:
    """Prices of every Model resource; build a new one when resources change.

    Args:
        models: Model resources by name.
        now: clock of prices that depend on the time, with its time zone.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._prices = {name: _price_of(model, now) for name, model in models.items()}

    def price(self, model: str) -> ModelPrice | None:
        """The price of the Model resource of that name; None when unknown."""
        return self._prices.get(model)

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """US dollars for `usage` on `model`; None when unknown."""
        price = self._prices.get(model)
        return None if price is None else price.cost(usage)


def _price_of(model: Model, now: Callable[[], datetime]) -> ModelPrice | None:
    pricing = model.spec.pricing
    if pricing.overlay is not None:
        return _from_overlay(pricing.overlay)
    if pricing.catalog is not None:
        return _from_catalog(pricing.catalog, now)
    return None


def _from_overlay(overlay: PriceOverlay) -> ModelPrice:
    digest = hashlib.sha256(overlay.model_dump_json().encode()).hexdigest()[:8]
    rates = Rates(
        input_tokens=overlay.input,
        cached_input_tokens=overlay.cached_input,
        output_tokens=overlay.output,
        reasoning_tokens=overlay.reasoning,
        batch_input_tokens=overlay.batch_input,
        batch_output_tokens=overlay.batch_output,
        cache_write_input_tokens=overlay.cache_write_input,
    )
    return ModelPrice(f"overlay-{digest}", rates)


def _from_catalog(reference: CatalogPrice, now: Callable[[], datetime]) -> ModelPrice | None:
    try:
        provider, model = get_snapshot().find_provider_model(
            reference.model, None, reference.provider, None
        )
    except LookupError:
        return None
    rates = _constant_rates(model)
    return ModelPrice(_CATALOG_VERSION, rates or _CatalogModel(provider, model, now))


def _constant_rates(model: ModelInfo) -> Rates | None:
    """The rates of a model that always has the same; they are faster than the catalog."""
    prices = model.prices
    if not isinstance(prices, CatalogModelPrice) or prices.requests_kcount is not None:
        return None
    base, output = prices.input_mtok, prices.output_mtok
    # The catalog leaves these out where they cost as much as any other token of their side.
    cached = base if prices.cache_read_mtok is None else prices.cache_read_mtok
    written = base if prices.cache_write_mtok is None else prices.cache_write_mtok
    reasoning = output if prices.output_reasoning_mtok is None else prices.output_reasoning_mtok
    if (
        isinstance(base, TieredPrices)
        or isinstance(output, TieredPrices)
        or isinstance(cached, TieredPrices)
        or isinstance(written, TieredPrices)
        or isinstance(reasoning, TieredPrices)
    ):
        return None
    return Rates(
        input_tokens=base,
        cached_input_tokens=cached,
        cache_write_input_tokens=written,
        output_tokens=output,
        reasoning_tokens=reasoning,
        batch_input_tokens=None,
        batch_output_tokens=None,
    )

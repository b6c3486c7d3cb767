"""What was spent, by the mesh's ledger and by the provider's own count."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import infermesh
from benchmarks.savings.dataset import Dataset
from benchmarks.savings.resources import resource_name
from infermesh import UsageRow


@dataclass(frozen=True, slots=True)
class Counted:
    """What a provider counted for one model."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger holds of some tenants.

    Attributes:
        requests: answered.
        cache_hits: of them, without a model.
        unpriced: of them, whose cost is not known.
        cost: US dollars.
        baseline: US dollars that the ledger estimates for no mesh: the tokens of the answers given,
            at the prices of the policy's baseline model.
        tokens: billed, by recorded name of the model.
    """

    requests: int
    cache_hits: int
    unpriced: int
    cost: Decimal
    baseline: Decimal
    tokens: Mapping[str, Counted]


def read_ledger(client: infermesh.Client) -> list[UsageRow]:
    """Usage by tenant and model, as the ledger has it now."""
    return list(client.usage(["tenant", "model"]))


def account(rows: Iterable[UsageRow], dataset: Dataset, tenants: Iterable[str]) -> Account:
    """The rows of `tenants` together."""
    of = set(tenants)
    mine = [row for row in rows if row.tenant in of]
    names = {resource_name(model): model for model in dataset.models}
    tokens: dict[str, Counted] = {}
    for row in mine:
        model = names.get(row.model, row.model)
        before = tokens.get(model, Counted(0, 0))
        tokens[model] = Counted(
            before.input_tokens + row.usage.input_tokens,
            before.output_tokens + row.usage.output_tokens,
        )
    return Account(
        requests=sum(row.requests for row in mine),
        cache_hits=sum(row.cache_hits for row in mine),
        unpriced=sum(row.unpriced_requests for row in mine),
        cost=sum((row.cost or Decimal(0) for row in mine), Decimal(0)),
        baseline=sum((row.baseline_cost or Decimal(0) for row in mine), Decimal(0)),
        tokens=tokens,
    )


def worth(dataset: Dataset, counted: Mapping[str, Counted]) -> Decimal:
    """US dollars of tokens that a provider counted, exact."""
    return sum(
        (
            dataset.prices[model].cost(count.input_tokens, count.output_tokens)
            for model, count in counted.items()
        ),
        Decimal(0),
    )

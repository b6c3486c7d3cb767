"""Whether the ledger, the clients and the providers tell the same story, to the last digit."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import cast

import infermesh
from benchmarks.soak.stand import worth
from infermesh import Outcome, TokenUsage, UsageEvent, UsageFilter
from tools.simulator.counts import CountsReport

_BUCKETS = ("input", "cached_input", "cache_write_input", "output", "reasoning")
_PAGE = 500


@dataclass(slots=True)
class Books:
    """The ledger, added up.

    Attributes:
        events: how many, by request id.
        succeeded: request ids of answers.
        spent: US dollars by model.
        called: answers of a provider by model.
        tokens: billed, by bucket.
        unpriced: answers of unknown cost.
        failed_at_a_price: request ids of failures that have a cost above 0.
    """

    events: Counter[str] = field(default_factory=Counter)
    succeeded: set[str] = field(default_factory=set)
    spent: dict[str, Decimal] = field(default_factory=dict)
    called: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    unpriced: int = 0
    failed_at_a_price: list[str] = field(default_factory=list)

    @property
    def total(self) -> Decimal:
        """US dollars."""
        return sum(self.spent.values(), Decimal(0))

    def add(self, event: UsageEvent) -> None:
        """Takes an event in."""
        self.events[event.request_id] += 1
        decision = event.decision
        if event.outcome is not Outcome.SUCCEEDED:
            if decision.cost:
                self.failed_at_a_price.append(event.request_id)
            return
        self.succeeded.add(event.request_id)
        model = decision.model
        if decision.cost is None:
            self.unpriced += 1
        else:
            self.spent[model] = self.spent.get(model, Decimal(0)) + decision.cost
        if decision.cache_status.value not in ("hit", "shared") and decision.usage is not None:
            self.called[model] += 1
            _add(self.tokens, decision.usage)


def _add(tokens: Counter[str], usage: TokenUsage) -> None:
    for bucket in _BUCKETS:
        tokens[bucket] += int(getattr(usage, f"{bucket}_tokens"))


def read_books(operator: infermesh.Client, tag: str) -> Books:
    """Adds up what the ledger has of a tag."""
    books = Books()
    for event in operator.events(UsageFilter(tag=tag), page_size=_PAGE):
        books.add(event)
    return books


def written(operator: infermesh.Client, tag: str) -> int:
    """Events of a tag that the ledger has."""
    rows = list(operator.usage(filter=UsageFilter(tag=tag)))
    return sum(row.requests + row.failures for row in rows)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One invariant.

    Attributes:
        what: it says.
        held: whether it did.
        found: what was seen.
    """

    what: str
    held: bool
    found: str


def compare(
    books: Books, good: Mapping[str, bool], counts: Iterable[CountsReport]
) -> list[Verdict]:
    """The ledger against what clients saw and what providers counted.

    Args:
        books: of the ledger.
        good: whether it was answered, by request id.
        counts: of every provider.
    """
    counted: dict[str, Decimal] = {}
    answered: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for report in counts:
        for model, tally in report["models"].items():
            used = cast(Mapping[str, int], tally["tokens"])
            counted[model] = counted.get(model, Decimal(0)) + worth(used)
            answered[model] += tally["answered"]
            tokens.update(used)
    lost = good.keys() - books.events.keys()
    strange = books.events.keys() - good.keys()
    doubled = [name for name, count in books.events.items() if count > 1]
    differs = {name for name, was_good in good.items() if was_good != (name in books.succeeded)}
    total = sum(counted.values(), Decimal(0))
    spent = {model: cost for model, cost in books.spent.items() if cost}
    return [
        Verdict("no event is lost", not lost, _some(lost)),
        Verdict("no event is doubled", not doubled, _some(doubled)),
        Verdict("no event is of nobody's request", not strange, _some(strange)),
        Verdict("clients and ledger agree on every outcome", not differs, _some(differs)),
        Verdict(
            "no failure has a price", not books.failed_at_a_price, _some(books.failed_at_a_price)
        ),
        Verdict(
            "spend by model is what the providers counted",
            spent == {model: cost for model, cost in counted.items() if cost},
            f"ledger {books.total}, providers {total} US dollars",
        ),
        Verdict(
            "answers of models are those that the providers gave",
            +books.called == +answered,
            f"ledger {books.called.total()}, providers {answered.total()}",
        ),
        Verdict(
            "tokens by bucket are what the providers counted",
            +books.tokens == +tokens,
            f"ledger {dict(books.tokens)}, providers {dict(tokens)}",
        ),
    ]


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return f"{len(found)}: {', '.join(found[:5])}" if found else "none"

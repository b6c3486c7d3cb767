"""MismatchCostCalculator: what serving an answer is worth, and what a wrong one costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class MismatchCostCalculator:
    """Costs of a wrong answer by category.

    Attributes:
        penalty_usd: of a wrong answer, unless its category has another.
        by_category: penalties in dollars of categories and tasks.
    """

    penalty_usd: Decimal
    by_category: Mapping[str, Decimal] = field(default_factory=dict)

    def penalty(self, category: str) -> Decimal:
        """Dollars that a wrong answer of that category costs."""
        return self.by_category.get(category, self.penalty_usd)

    def worth_serving(self, probability_wrong: float, saved_usd: Decimal, category: str) -> bool:
        """Whether p(correct) x saved > p(wrong) x penalty.

        Args:
            probability_wrong: of the answer proposed.
            saved_usd: what the call that is not made would have cost.
            category: of the request.
        """
        wrong = Decimal(repr(probability_wrong))
        return (1 - wrong) * saved_usd > wrong * self.penalty(category)

"""ErrorPrice: up to which probability of being wrong an answer is served.

The bound gives `delta` errors a request; what earlier requests did not use is in the bank. Serving
the answers that are least likely wrong first, up to a price, gets the most hits for the errors
spent (the price is the multiplier of the budget in the knapsack relaxation). The price is set so
that spending, over the forecasts seen lately, is what comes in plus a part of the bank: a horizon
that grows with time, since how long a tenant stays is not known. Below a reserve the price falls,
so that answers that are almost surely right can be served at all times.
"""

from collections import deque
from collections.abc import Mapping

import numpy as np

from infermesh_cache.domain.semantic.certificate import LAST, ErrorCertificate
from infermesh_cache.domain.semantic.evidence import BIN_WIDTH, BINS, CENTRES
from infermesh_cache.domain.semantic.packing import BadState

WINDOW = 1000
"""Forecasts from which the demand is estimated."""
HORIZON = 0.5
"""The bank is spent over so many times as many requests as have been."""
RESERVE = 2.0
"""Errors that are kept in the bank: more than one more error found takes away."""
_SHORTEST_ERRORS = 3.0
_REFILL_ERRORS = 1.5
_EVERY = 20
_MARGIN_EVERY = 100
_STRETCH = 1.05
_FEWEST_EXPECTED = 0.5
_FIRST_MARGIN = 1.3


class ErrorPrice:
    """The price.

    Args:
        recent: bins of the latest forecasts, oldest first.
        odds: the price now, as log-odds of a forecast; by default nothing is served.
        margin: by how much the bound grows with each error expected.
        seen: forecasts since the beginning.
    """

    def __init__(
        self,
        recent: tuple[int, ...] = (),
        odds: float = -np.inf,
        margin: float = _FIRST_MARGIN,
        seen: int = 0,
    ) -> None:
        self._recent: deque[int] = deque(recent, maxlen=WINDOW)
        self._odds = odds
        self._margin = margin
        self._seen = seen

    def affords(self, forecast: float) -> bool:
        """Whether a forecast is within the price."""
        return float(np.log(forecast / (1 - forecast))) <= self._odds

    @property
    def forecast(self) -> float:
        """The price, as a forecast."""
        return float(1 / (1 + np.exp(-self._odds)))

    def observe(self, position: int, certificate: ErrorCertificate) -> None:
        """Takes the bin of a forecast, served or not, and sets the price anew from time to time."""
        self._recent.append(position)
        if self._seen % _MARGIN_EVERY == 0:
            self._margin = _marginal_cost(certificate)
        if self._seen % _EVERY == 0:
            self._odds = self._set(certificate)
        self._seen += 1

    def _set(self, certificate: ErrorCertificate) -> float:
        delta, requests = certificate.delta, certificate.evidence.requests
        spare = delta * requests - certificate.upper_errors() - RESERVE
        over = max(_SHORTEST_ERRORS / delta, HORIZON * requests)
        rate = delta + spare / (over if spare > 0 else _REFILL_ERRORS / delta)
        if rate <= 0:
            return -np.inf
        counts = np.bincount(np.array(self._recent), minlength=BINS)
        spending = counts * certificate.recalibrated() * self._margin / len(self._recent)
        total = np.cumsum(spending[: LAST + 1])
        position = int(np.searchsorted(total, rate, side="right"))
        if position == len(total):
            return float(CENTRES[LAST] + 0.5 * BIN_WIDTH)
        before = total[position] - spending[position]
        part = (rate - before) / spending[position]
        return float(CENTRES[position] + (part - 0.5) * BIN_WIDTH)

    def state(self) -> dict[str, object]:
        """What `restore` takes; of JSON's types."""
        return {
            "recent": list(self._recent),
            "odds": self._odds if np.isfinite(self._odds) else None,
            "margin": self._margin,
            "seen": self._seen,
        }

    @classmethod
    def restore(cls, state: Mapping[str, object]) -> "ErrorPrice":
        """The price whose `state` that is.

        Raises:
            BadState: it is of another form.
        """
        recent, odds = state.get("recent"), state.get("odds")
        margin, seen = state.get("margin"), state.get("seen")
        if not (
            isinstance(recent, list)
            and isinstance(odds, float | int | None)
            and isinstance(margin, float | int)
            and isinstance(seen, int)
        ):
            raise BadState("a price of another form")
        bins = tuple(int(position) for position in recent)
        if any(not 0 <= position < BINS for position in bins):
            raise BadState("a price of other bins")
        return cls(bins, -np.inf if odds is None else float(odds), float(margin), seen)


def _marginal_cost(certificate: ErrorCertificate) -> float:
    """By how much the bound grows with each error expected."""
    expected = certificate.expected_errors()
    if expected < _FEWEST_EXPECTED:
        return _FIRST_MARGIN
    grown = certificate.upper_errors(_STRETCH) - certificate.upper_errors()
    return float(np.clip(grown / ((_STRETCH - 1) * expected), 1.05, 4.0))

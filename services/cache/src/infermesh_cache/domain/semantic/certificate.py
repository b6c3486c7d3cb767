"""ErrorCertificate: how many of the answers served can have been wrong, at every time at once.

Let E be the number of wrong answers served. A served proposal with forecast q is wrong with
probability g(q), where logit g(q) = pivot + a + b (logit q - pivot): the forecasts may be off by a
shift a and a slope b of their log-odds (Platt 1999), both unknown. For the true (a, b) and any rate
l > 0 this is a non-negative supermartingale of mean at most 1:

    M = mixture(labels) / likelihood(labels; a, b)  *  exp(l E - sum over served of log(1 + g (e^l -
    1)))

Its first factor is the ratio of a mixture over (a, b) to the truth on the proposals whose outcome
became known; the second is the exponential supermartingale of the outcomes that did not. By Ville's
inequality M, averaged over a few rates l, ever reaches 1 / alpha with probability at most alpha.
Since (a, b) is not known, the bound takes the worst of all: E cannot have reached k, unless an
event of probability alpha happened, when for every (a, b) that many errors would carry M past 1 /
alpha. A shift and a slope describe forecasts near those served; what is almost surely wrong is off
in another way and would bend them, so forecasts beyond a limit are neither served nor learnt from.
See docs/semantic-cache.md for the assumptions.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from infermesh_cache.domain.semantic.evidence import CENTRES, Evidence, bin_of
from infermesh_cache.domain.semantic.packing import BadState, pack, unpack

Doubles = npt.NDArray[np.float64]

PIVOT = float(np.log(0.05 / 0.95))
"""A shift is told from a slope at the probability around which one decides."""
NEAR = 2 / 3
"""Forecasts up to this say something of those that are served."""
LAST = bin_of(NEAR)
"""Bin of the largest forecasts that may be served and whose outcomes are learnt from."""
RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Each is the sharpest for about (3 / rate) ** 2 errors: from a handful to a thousand."""
PRIOR_SCALES = ((0.5, 0.2), (0.2, 0.08), (0.08, 0.03))
"""Standard deviations of shift and slope about 0 and 1 in the mixture. They decide how tight the
bound is, not whether it holds."""
_SHIFTS = np.unique(np.round(np.r_[np.linspace(-2, 2, 17), np.linspace(-0.45, 0.45, 13)], 4))
_SLOPES = np.unique(np.round(np.r_[np.linspace(0.4, 1.6, 9), np.linspace(0.8, 1.2, 9)], 4))


class _Family:
    """The calibrations that are possible, tabulated by bin.

    Attributes:
        log_prior: of each calibration in the mixture, shape (calibrations,).
        error: g of each bin, shape (BINS, calibrations).
        log_wrong: its logarithm, 0 in bins beyond `LAST`; log_right: that of its complement,
            likewise.
        growth: log(1 + g (e^l - 1)), shape (BINS, calibrations, rates).
    """

    def __init__(self, overlooked: float) -> None:
        shift, slope = (part.ravel() for part in np.meshgrid(_SHIFTS, _SLOPES))
        area = np.outer(np.gradient(_SLOPES), np.gradient(_SHIFTS)).ravel()
        prior = np.zeros(len(shift))
        for shift_scale, slope_scale in PRIOR_SCALES:
            part = area * np.exp(
                -0.5 * (shift / shift_scale) ** 2 - 0.5 * ((slope - 1) / slope_scale) ** 2
            )
            prior += part / part.sum() / len(PRIOR_SCALES)
        self.log_prior: Doubles = np.log(prior + 1e-300)
        odds = PIVOT + shift + slope * (CENTRES[:, None] - PIVOT)
        self.error: Doubles = 1 / (1 + np.exp(-odds))
        self.log_wrong: Doubles = -np.logaddexp(0, -odds)
        self.log_right: Doubles = -np.logaddexp(0, odds)
        self.log_wrong[LAST + 1 :] = self.log_right[LAST + 1 :] = 0
        true_error = np.minimum(1.0, self.error / (1 - overlooked))
        self.growth: Doubles = np.log1p(true_error[:, :, None] * np.expm1(np.array(RATES)))


@lru_cache(maxsize=8)
def _family(overlooked: float) -> _Family:
    return _Family(overlooked)


class ErrorCertificate:
    """The bound that evidence supports.

    Args:
        evidence: of the present regime.
        delta: share of all requests whose answer may be wrong.
        confidence: probability with which the bound holds at every time.
        overlooked: upper limit of the share of wrong answers that the comparison of answers takes
            for right; 0 for an exact comparison.
        closed: what earlier regimes left, of `close_regime`; shape (rates,).
    """

    def __init__(
        self,
        evidence: Evidence,
        *,
        delta: float,
        confidence: float,
        overlooked: float = 0.0,
        closed: Doubles | None = None,
    ) -> None:
        if not (0 < delta < 1 and 0 < confidence < 1 and 0 <= overlooked < 1):
            raise ValueError("delta, confidence and overlooked are shares")
        self.delta = delta
        self.confidence = confidence
        self._threshold = float(np.log(1 / (1 - confidence)))
        self._family = _family(round(overlooked, 4))
        self._rates = np.array(RATES)
        self._closed = np.zeros(len(RATES)) if closed is None else closed
        self.evidence = evidence.copy()
        self._tally()

    def _tally(self) -> None:
        """Computes from the counts what is afterwards kept up to date step by step."""
        family, evidence = self._family, self.evidence
        self._served: Doubles = np.tensordot(evidence.served.astype(np.float64), family.growth, 1)
        self._likelihood: Doubles = (
            evidence.right @ family.log_right + evidence.wrong @ family.log_wrong
        )
        self._learnt()

    def _learnt(self) -> None:
        joint = self._likelihood + self._family.log_prior
        top = float(joint.max())
        posterior = np.exp(joint - top)
        self._mixture = top + float(np.log(posterior.sum()))
        self._recalibrated: Doubles = self._family.error @ (posterior / posterior.sum())

    def recalibrated(self) -> Doubles:
        """Probability of being wrong by bin of the forecast, as the labels suggest; shape
        (BINS,)."""
        return self._recalibrated

    def request(self) -> None:
        """Counts a request, of whatever outcome."""
        self._count(requests=1)

    def serve(self, position: int) -> None:
        """Counts an answer served with a forecast of that bin."""
        self._count(served=position)
        self._served += self._family.growth[position]

    def label(self, position: int, wrong: bool) -> None:
        """Counts a proposal that was not served and whose outcome has become known."""
        if wrong:
            self._count(wrong=position)
            self._likelihood += self._family.log_wrong[position]
        else:
            self._count(right=position)
            self._likelihood += self._family.log_right[position]
        self._learnt()

    def report(self, errors: int = 1) -> None:
        """Counts served answers that are known to have been wrong."""
        self._count(known_wrong=errors)

    def may_serve(self, position: int) -> bool:
        """Whether the bound would still hold after serving a forecast of that bin."""
        if position > LAST:
            return False
        growth = self._worst(self._served + self._family.growth[position])
        return self._reaches(growth, np.floor(self.delta * self.evidence.requests) + 1)

    def upper_errors(self, scale: float = 1.0) -> float:
        """The number of wrong answers served that is not passed, at the stated confidence.

        Args:
            scale: computes it as if so many times as much had been served.
        """
        evidence = self.evidence
        if not evidence.served.any() and not self._closed.any():
            return float(evidence.known_wrong)
        growth = self._worst(self._served * scale)
        low, high = 0.0, 1.0
        while not self._reaches(growth, high):
            low, high = high, 2 * high
        while high - low > 0.01:
            middle = (low + high) / 2
            low, high = (low, middle) if self._reaches(growth, middle) else (middle, high)
        return high

    def expected_errors(self) -> float:
        """Wrong answers served in this regime, as the labels suggest."""
        return float(self.evidence.served @ self._recalibrated) + self.evidence.known_wrong

    def close_regime(self, charged: int) -> "ErrorCertificate":
        """A certificate that starts to learn anew; what has been served stays accounted for.

        Args:
            charged: wrong answers to count beyond what the forecasts said.
        """
        past = self.evidence
        evidence = Evidence.none(past.regime + 1, past.requests, past.known_wrong + charged)
        overall = self._closed + self._regime_growth(self._served)
        return self._with(evidence, overall)

    def joined(self, evidence: Evidence) -> "ErrorCertificate":
        """The same with evidence of other replicas added."""
        return self._with(self.evidence + evidence, self._closed)

    def _with(self, evidence: Evidence, closed: Doubles) -> "ErrorCertificate":
        made = ErrorCertificate.__new__(ErrorCertificate)
        made.delta, made.confidence = self.delta, self.confidence
        made._threshold, made._family, made._rates = self._threshold, self._family, self._rates
        made._closed, made.evidence = closed, evidence
        made._tally()
        return made

    def _count(
        self,
        *,
        requests: int = 0,
        known_wrong: int = 0,
        served: int | None = None,
        right: int | None = None,
        wrong: int | None = None,
    ) -> None:
        past = self.evidence
        for counts, position in ((past.served, served), (past.right, right), (past.wrong, wrong)):
            if position is not None:
                counts[position] += 1
        if requests or known_wrong:
            self.evidence = Evidence(
                past.regime,
                past.requests + requests,
                past.known_wrong + known_wrong,
                past.served,
                past.right,
                past.wrong,
            )

    def _regime_growth(self, served: Doubles) -> Doubles:
        worst: Doubles = (served + self._likelihood[:, None]).max(axis=0) - self._mixture
        return worst

    def _worst(self, served: Doubles) -> Doubles:
        """Logarithm of what has to be made up for before M grows, for the worst calibration."""
        return self._closed + self._regime_growth(served)

    def _reaches(self, growth: Doubles, errors: float) -> bool:
        """Whether that many errors would carry M to 1 / alpha whatever the calibration."""
        exponents = self._rates * (errors - self.evidence.known_wrong) - growth
        top = float(exponents.max())
        return top + float(np.log(np.exp(exponents - top).mean())) >= self._threshold

    def state(self) -> dict[str, object]:
        """What `restore` takes besides the settings; of JSON's types."""
        return {"evidence": self.evidence.state(), "closed": pack(self._closed)}

    @classmethod
    def restore(
        cls,
        state: Mapping[str, object],
        *,
        delta: float,
        confidence: float,
        overlooked: float = 0.0,
    ) -> "ErrorCertificate":
        """The certificate whose `state` that is.

        Raises:
            BadState: it is of another form.
        """
        evidence = state.get("evidence")
        if not isinstance(evidence, Mapping):
            raise BadState("a certificate without evidence")
        closed = unpack(state["closed"], np.float64)
        if closed.shape != (len(RATES),):
            raise BadState("a certificate of other rates")
        return cls(
            Evidence.restore(evidence),
            delta=delta,
            confidence=confidence,
            overlooked=overlooked,
            closed=closed,
        )

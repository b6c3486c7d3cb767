"""AdaptiveThresholdTuner: learns from outcomes when to serve, and keeps the bound."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from infermesh_cache.domain.semantic.certificate import LAST, ErrorCertificate
from infermesh_cache.domain.semantic.decision import Decision, Reason, Verdict
from infermesh_cache.domain.semantic.drift import DriftAlarm
from infermesh_cache.domain.semantic.error_model import ErrorModel
from infermesh_cache.domain.semantic.evidence import Evidence, bin_of
from infermesh_cache.domain.semantic.examples import Examples
from infermesh_cache.domain.semantic.packing import BadState
from infermesh_cache.domain.semantic.pacing import ErrorPrice
from infermesh_cache.domain.semantic.similarity import Proposal

FEWEST_EXAMPLES = 150
"""Outcomes before the first model: five for each feature."""
FEWEST_POOLED_EXAMPLES = 50
"""The same where another category of the tenant has a model, from which this one starts."""
GROWTH = 1.1
"""The model is fitted anew when there are so many times as many outcomes."""
YOUNG_AUDIT_RATE = 0.05
SUSPICIOUS_AUDIT_RATE = 0.5
LIKELIEST_WRONG = 0.5
"""What is likelier wrong than right is not served, however many errors are permitted."""
_SHARPEST = 1e-4


class Worth(Protocol):
    """Whether an answer with a probability of being wrong is worth serving."""

    def __call__(self, probability_wrong: float, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class TunerSettings:
    """What a tenant asks for.

    Attributes:
        delta: share of all requests whose answer may be wrong because of the cache.
        confidence: with which that holds at every time.
        audit_rate: share of what would be served that is looked into instead.
        young_audit_rate: the same until `1 / delta` of what would be served has been looked into:
            among so many one error is permitted.
        overlooked: upper limit of the share of wrong answers that the comparison of answers takes
            for right.
    """

    delta: float
    confidence: float = 0.95
    audit_rate: float = 0.02
    young_audit_rate: float = YOUNG_AUDIT_RATE
    overlooked: float = 0.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an outcome taught.

    Attributes:
        retire: the nearest entry of the proposal should not propose its answer any more: it was
            trusted and wrong.
        drift: the forecasts no longer held; learning has begun anew.
    """

    retire: bool
    drift: bool


@dataclass(slots=True)
class _Episode:
    """What happened since the last audit that gave no reason for suspicion."""

    served: int = 0
    audits: int = 0
    wrong: int = 0
    outcomes: int = 0

    def audit(self, wrong: bool, suspicious: bool) -> None:
        self.audits += 1
        self.wrong += wrong
        if not wrong and not suspicious:
            self.served = self.audits = self.wrong = self.outcomes = 0

    def charge(self) -> int:
        """Wrong answers among those served meanwhile, by the share found (rule of succession)."""
        return math.ceil(self.served * (self.wrong + 1) / (self.audits + 2))


class AdaptiveThresholdTuner:
    """Decides for one tenant and category.

    Not safe for use by several threads at once; `fit` may be run elsewhere on a copy of the
    examples.

    Args:
        settings: what the tenant asks for.

    Attributes:
        settings: as given.
        certificate: of the errors.
        examples: outcomes.
        model: None while there are too few of them.
        pooled: model of another category of the tenant, from which this one's starts; None: there
            is none. Never of another tenant.
    """

    def __init__(self, settings: TunerSettings) -> None:
        self.settings = settings
        self.certificate = ErrorCertificate(
            Evidence.none(),
            delta=settings.delta,
            confidence=settings.confidence,
            overlooked=settings.overlooked,
        )
        self.examples = Examples()
        self.model: ErrorModel | None = None
        self.pooled: ErrorModel | None = None
        self._price = ErrorPrice()
        self._alarm = DriftAlarm()
        self._audits = 0
        self._fitted_at = 0
        self._episode = _Episode()

    def pass_by(self) -> None:
        """Counts a request that had no proposal: nothing near, answered exactly, or bypassed."""
        self.certificate.request()

    def decide(self, proposal: Proposal, chance: float, worth: Worth | None = None) -> Decision:
        """Whether to serve a proposal; counts the request.

        Args:
            proposal: of the `SimilarityCalculator`.
            chance: uniform in [0, 1), drawn for this request alone.
            worth: rule of the `MismatchCostCalculator`, if there is one.
        """
        self.certificate.request()
        regime = self.certificate.evidence.regime
        if self.model is None:
            return Decision(proposal, Verdict.CALL, Reason.YOUNG, None, None, 0.0, 1.0, regime)
        forecast = float(
            np.clip(self.model.probability(proposal.features), _SHARPEST, 1 - _SHARPEST)
        )
        position = bin_of(forecast)
        self._price.observe(position, self.certificate)
        probability = float(self.certificate.recalibrated()[position])
        audit_rate = self._audit_rate()
        refusal = self._refusal(forecast, position, probability, worth)
        if refusal is not None:
            verdict, reason, audit_rate = Verdict.CALL, refusal, 1.0
        elif chance < audit_rate:
            verdict, reason = Verdict.EXPLORE, Reason.CHOSEN_BY_CHANCE
        else:
            verdict, reason = Verdict.SERVE, Reason.WITHIN_BOUND
            self.certificate.serve(position)
            self._episode.served += 1
        return Decision(
            proposal,
            verdict,
            reason,
            forecast,
            probability,
            self._price.forecast,
            audit_rate,
            regime,
        )

    def _refusal(
        self, forecast: float, position: int, probability: float, worth: Worth | None
    ) -> Reason | None:
        if not self._price.affords(forecast) or probability > LIKELIEST_WRONG:
            return Reason.TOO_LIKELY_WRONG
        if worth is not None and not worth(probability):
            return Reason.NOT_WORTH_IT
        if not self.certificate.may_serve(position):
            return Reason.BOUND_AT_RISK
        return None

    def _audit_rate(self) -> float:
        if self._alarm.suspects:
            return SUSPICIOUS_AUDIT_RATE
        if self._audits < 1 / self.settings.delta:
            return self.settings.young_audit_rate
        return self.settings.audit_rate

    def learn(self, decision: Decision, wrong: bool) -> Lesson:
        """Takes the outcome of a proposal that was not served.

        Args:
            decision: as made.
            wrong: whether the proposed answer differs from the model's.
        """
        if decision.verdict is Verdict.SERVE:
            raise ValueError("the outcome of what was served is not known: use report_wrong")
        self.examples.add(decision.proposal.features, wrong)
        if decision.forecast is None or decision.probability_wrong is None:
            return Lesson(retire=False, drift=False)
        position = bin_of(decision.forecast)
        if decision.regime == self.certificate.evidence.regime:
            self.certificate.label(position, wrong)
        audited = decision.forecast <= decision.price and (
            decision.probability_wrong <= LIKELIEST_WRONG
        )
        if position <= LAST:
            self._alarm.observe(decision.probability_wrong, wrong)
        self._episode.outcomes += 1
        if audited:
            self._audits += 1
            self._episode.audit(wrong, self._alarm.suspects)
        if self._alarm.rings:
            self._begin_anew()
            return Lesson(retire=wrong, drift=True)
        return Lesson(retire=wrong and audited, drift=False)

    def report_wrong(self, decision: Decision) -> Lesson:
        """Takes a report that an answer served was wrong; it is counted on top of what the bound
        holds possible anyway."""
        if decision.verdict is not Verdict.SERVE:
            raise ValueError("nothing was served")
        self.certificate.report()
        return Lesson(retire=True, drift=False)

    def _begin_anew(self) -> None:
        """Forgets what the forecasts rested on; what was served since the first suspicion is
        charged at the share of errors found meanwhile."""
        self.certificate = self.certificate.close_regime(self._episode.charge())
        self.examples = self.examples.latest(self._episode.outcomes)
        self.model = None
        self._price, self._alarm, self._episode = ErrorPrice(), DriftAlarm(), _Episode()
        self._audits = self._fitted_at = 0

    @property
    def fewest_examples(self) -> int:
        """Outcomes before the first model."""
        return FEWEST_EXAMPLES if self.pooled is None else FEWEST_POOLED_EXAMPLES

    def fit_due(self) -> bool:
        """Whether there are enough new outcomes for another model."""
        return self.examples.seen >= max(self.fewest_examples, GROWTH * self._fitted_at)

    def fit(self) -> None:
        """Fits the model to the outcomes known; takes some tens of milliseconds."""
        features, wrong = self.examples.arrays()
        self.take_model(ErrorModel.fit(features, wrong, self.pooled), self.examples.seen)

    def take_model(self, model: ErrorModel, outcomes: int) -> None:
        """Decides by a model fitted elsewhere to the outcomes up to the one of that number."""
        self.model, self._fitted_at = model, outcomes

    def state(self) -> dict[str, object]:
        """What `restore` takes besides the settings; of JSON's types."""
        return {
            "certificate": self.certificate.state(),
            "examples": self.examples.state(),
            "model": None if self.model is None else self.model.state(),
            "price": self._price.state(),
            "alarm": self._alarm.state(),
            "episode": asdict(self._episode),
            "audits": self._audits,
            "fitted_at": self._fitted_at,
        }

    @classmethod
    def restore(
        cls, state: Mapping[str, object], settings: TunerSettings
    ) -> "AdaptiveThresholdTuner":
        """The tuner whose `state` that is.

        Raises:
            BadState: it is of another form.
        """
        tuner = cls(settings)
        tuner.certificate = ErrorCertificate.restore(
            _part(state, "certificate"),
            delta=settings.delta,
            confidence=settings.confidence,
            overlooked=settings.overlooked,
        )
        tuner.examples = Examples.restore(_part(state, "examples"))
        if state.get("model") is not None:
            tuner.model = ErrorModel.restore(_part(state, "model"))
        tuner._price = ErrorPrice.restore(_part(state, "price"))
        tuner._alarm = DriftAlarm.restore(_part(state, "alarm"))
        tuner._episode = _Episode(**{k: int(str(v)) for k, v in _part(state, "episode").items()})
        tuner._audits, tuner._fitted_at = int(str(state["audits"])), int(str(state["fitted_at"]))
        return tuner


def _part(state: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = state.get(name)
    if not isinstance(part, Mapping):
        raise BadState(f"a tuner's state without its {name}")
    return part

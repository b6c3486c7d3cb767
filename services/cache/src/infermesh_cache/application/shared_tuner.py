"""One tuner of this process, in step with those of the other replicas.

What the replicas share is evidence, which adds: each counts what it saw itself since it last told
the others, and takes over what they told. The document in the store is swapped by its version, so
that nothing that was told is lost. Between two tellings a replica may serve a bounded number of
answers only; that bounds by how much all of them together can pass the bound.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import structlog

from infermesh_cache.domain.semantic.decision import Decision
from infermesh_cache.domain.semantic.error_model import ErrorModel
from infermesh_cache.domain.semantic.evidence import Evidence
from infermesh_cache.domain.semantic.examples import Examples
from infermesh_cache.domain.semantic.metric import AnswerMetric
from infermesh_cache.domain.semantic.packing import BadState
from infermesh_cache.domain.semantic.tuner import (
    AdaptiveThresholdTuner,
    Lesson,
    TunerSettings,
)
from infermesh_cache.learning_ports import Example, SharedState, TunerStates
from infermesh_cache.semantic_ports import Floats

Doubles = npt.NDArray[np.float64]
_log = structlog.get_logger(__name__)
_FORM = 1
"""Of the document; raised when an older replica could not read it."""
_ATTEMPTS = 5
_MOST_SEEN = 4096
"""Entries from which the metric is learnt, the newest."""
_FIRST_METRIC = 64
_METRIC_GROWTH = 1.2
"""The metric is learnt anew when there are so many times as many entries."""


class SharedTuner:
    """A tuner and what keeps it in step. Not safe for several threads: lives on the event loop.

    Args:
        states: where the replicas meet.
        tenant: whose tuner it is.
        category: of the requests.
        settings: what the tenant asks for.
        origin: name of this replica, which no process had before.
    """

    def __init__(
        self,
        states: TunerStates,
        tenant: str,
        category: str,
        settings: TunerSettings,
        *,
        origin: str,
    ) -> None:
        self._states = states
        self.tenant = tenant
        self.category = category
        self.tuner = AdaptiveThresholdTuner(settings)
        self.metric: AnswerMetric | None = None
        self._origin = origin
        self._version = 0
        self._told = Evidence.none()
        self._cursor = ""
        self._untold: list[Example] = []
        self._seen: OrderedDict[str, tuple[Floats, str]] = OrderedDict()
        self._metric_at = _FIRST_METRIC
        self._bound: tuple[int, int, float] | None = None

    @property
    def settings(self) -> TunerSettings:
        """What the tenant asks for."""
        return self.tuner.settings

    def change(self, settings: TunerSettings) -> None:
        """Takes other settings over; what was learnt stays."""
        if settings != self.tuner.settings:
            pooled = self.tuner.pooled
            self.tuner = AdaptiveThresholdTuner.restore(self.tuner.state(), settings)
            self.tuner.pooled, self._bound = pooled, None

    def learn_from(self, others: Iterable["SharedTuner"]) -> None:
        """Takes for a start the model of whoever has seen most, if that is more than this one.

        Args:
            others: tuners of the same tenant.
        """
        models = [other.tuner.model for other in others if other.tenant == self.tenant]
        known = [model for model in models if model is not None]
        best = max(known, key=lambda model: model.examples, default=None)
        seen = len(self.tuner.examples)
        self.tuner.pooled = best if best is not None and best.examples > seen else None

    @property
    def unshared(self) -> int:
        """Answers served that the others have not been told of."""
        evidence = self.tuner.certificate.evidence
        if evidence.regime != self._told.regime:
            return int(evidence.served.sum())
        return int(evidence.served.sum() - self._told.served.sum())

    @property
    def changed(self) -> bool:
        """Whether there is anything to tell."""
        evidence = self.tuner.certificate.evidence
        return bool(self._untold) or (
            (evidence.regime, evidence.requests, evidence.known_wrong)
            != (self._told.regime, self._told.requests, self._told.known_wrong)
        )

    def metric_for(self, dimension: int) -> AnswerMetric:
        """The metric learnt, or the plain one."""
        if self.metric is None or len(self.metric.centre) != dimension:
            return AnswerMetric.plain(dimension)
        return self.metric

    def error_bound(self) -> float:
        """Upper limit of the share of all requests answered wrongly; of a moment ago, for it takes
        a millisecond to compute."""
        evidence = self.tuner.certificate.evidence
        served = int(evidence.served.sum()) + 1000 * evidence.known_wrong
        known = self._bound
        if known is None or known[0] != served or evidence.requests > 1.02 * known[1] + 10:
            requests = evidence.requests
            share = min(1.0, self._upper_errors() / requests) if requests else 0.0
            known = self._bound = (served, evidence.requests, share)
        return known[2]

    def _upper_errors(self) -> float:
        """Errors come in whole numbers: fewer than 2.4 are at most 2, within 2.1 permitted."""
        upper = self.tuner.certificate.upper_errors()
        permitted = math.floor(self.settings.delta * self.tuner.certificate.evidence.requests)
        return min(upper, permitted) if math.ceil(upper) - 1 <= permitted < upper else upper

    def learn(self, decision: Decision, wrong: bool) -> Lesson:
        """Takes the outcome of a proposal that was not served; see the tuner."""
        regime = self.tuner.certificate.evidence.regime
        lesson = self.tuner.learn(decision, wrong)
        features = tuple(decision.proposal.features.tolist())
        self._untold.append(Example(regime + lesson.drift, features, wrong, self._origin))
        if lesson.drift:
            _log.warning("semantic_drift", tenant=self.tenant, category=self.category)
        return lesson

    def saw(self, entry_id: str, vector: Floats, answer: str) -> None:
        """Takes an entry in, for the metric."""
        self._seen[entry_id] = (vector, answer)
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)

    def forget(self, entry_id: str) -> None:
        """An entry was retired."""
        self._seen.pop(entry_id, None)

    def fit_due(self) -> bool:
        """Whether there are enough new outcomes for another model."""
        return self.tuner.fit_due()

    def metric_due(self) -> bool:
        """Whether there are enough new entries for another metric."""
        return len(self._seen) >= self._metric_at

    def material(self) -> "FitMaterial":
        """What a fit of what is due works on, safe for another thread."""
        outcomes, entries = None, None
        if self.fit_due():
            outcomes = (*self.tuner.examples.arrays(), self.tuner.examples.seen)
        if self.metric_due():
            entries = tuple(self._seen.values())
        return FitMaterial(outcomes, self.tuner.pooled, entries)

    async def take_fit(self, fitted: "Fitted") -> None:
        """Puts what was fitted into force, and keeps the metric for the next start."""
        if fitted.model is not None:
            self.tuner.take_model(fitted.model, fitted.outcomes)
        if fitted.entries:
            most = min(int(fitted.entries * _METRIC_GROWTH) + 1, _MOST_SEEN)
            self._metric_at = most if fitted.entries < _MOST_SEEN else _MOST_SEEN + 1
        if fitted.metric is not None:
            self.metric = fitted.metric
            state = {"metric": fitted.metric.state(), "next": self._metric_at}
            document = orjson.dumps({"form": _FORM, **state})
            await self._states.save_metric(self.tenant, self.category, document)

    async def sync(self) -> None:
        """Tells the others and hears from them.

        Raises:
            Unavailable: the store cannot be reached; nothing is lost, the next call tells it all.
            DeadlineExceeded: likewise.
        """
        await self._sync_examples()
        for _ in range(_ATTEMPTS):
            shared = await self._states.load(self.tenant, self.category)
            if shared is not None and shared.version != self._version:
                self._take_over(shared)
            if not self.changed:
                return
            now = self.tuner.certificate.evidence.copy()
            version = shared.version if shared is not None else 0
            if await self._states.swap(self.tenant, self.category, version, self._document()):
                self._version, self._told = version + 1, now
                return

    async def restore(self) -> None:
        """Begins where the replicas are; errors as of `sync`."""
        await self.sync()
        document = await self._states.load_metric(self.tenant, self.category)
        if document is None:
            return
        try:
            kept = orjson.loads(document)
            self.metric, self._metric_at = AnswerMetric.restore(kept["metric"]), int(kept["next"])
        except (BadState, KeyError, TypeError, ValueError) as error:
            _log.error("semantic_metric_unreadable", tenant=self.tenant, error=str(error))

    async def _sync_examples(self) -> None:
        if self._untold:
            telling, self._untold = self._untold, []
            try:
                await self._states.add_examples(self.tenant, self.category, telling)
            except BaseException:
                self._untold = telling + self._untold
                raise
        self._cursor, heard = await self._states.examples_after(
            self.tenant, self.category, self._cursor
        )
        # What it told itself it knows; a process that starts has another name than before.
        self._heard([example for example in heard if example.origin != self._origin])

    def _heard(self, examples: Sequence[Example]) -> None:
        for example in examples:
            self.tuner.examples.add(np.array(example.features), example.wrong)

    def _document(self) -> bytes:
        state = self.tuner.state()
        # They have a list of their own.
        state["examples"] = Examples().state()
        return orjson.dumps({"form": _FORM, "tuner": state, "seen": self.tuner.examples.seen})

    def _take_over(self, shared: SharedState) -> None:
        try:
            document = orjson.loads(shared.document)
            if document["form"] != _FORM:
                raise BadState("of another form")
            other = AdaptiveThresholdTuner.restore(document["tuner"], self.settings)
        except (BadState, KeyError, TypeError, ValueError) as error:
            # Learning begins anew: conservative, and better than not starting.
            _log.error(
                "semantic_state_unreadable",
                tenant=self.tenant,
                category=self.category,
                error=str(error),
            )
            self._version, self._told = shared.version, Evidence.none()
            return
        theirs = other.certificate
        told = theirs.evidence.copy()
        if self._version == 0:
            self._adopt(other, int(document["seen"]))
        elif theirs.evidence.regime == self.tuner.certificate.evidence.regime:
            own = self.tuner.certificate.evidence - self._told
            self.tuner.certificate = theirs.joined(own)
        elif theirs.evidence.regime > self.tuner.certificate.evidence.regime:
            unshared = self.unshared
            requests = self.tuner.certificate.evidence.requests - self._told.requests
            self._adopt(other, self.tuner.examples.seen)
            self._charge(requests, unshared)
        else:
            # This replica saw the drift first: what others served meanwhile is charged in full.
            served = int(theirs.evidence.served.sum() - self._told.served.sum())
            self._charge(theirs.evidence.requests - self._told.requests, served)
            told = Evidence.none(theirs.evidence.regime)
        self._version, self._told, self._bound = shared.version, told, None

    def _adopt(self, other: AdaptiveThresholdTuner, seen: int) -> None:
        """Begins where another replica, or this one before a restart, has come to."""
        own, examples = self.tuner.certificate.evidence, self.tuner.examples
        other.examples, other.pooled = examples, self.tuner.pooled
        examples.seen = max(examples.seen, seen)
        first = self._version == 0 and own.regime == other.certificate.evidence.regime
        self.tuner = other
        if first and own.requests:
            self.tuner.certificate = other.certificate.joined(own)

    def _charge(self, requests: int, errors: int) -> None:
        regime = self.tuner.certificate.evidence.regime
        extra = Evidence.none(regime, max(0, requests), max(0, errors))
        self.tuner.certificate = self.tuner.certificate.joined(extra)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What came of a fit.

    Attributes:
        model: of errors; None when it was not due.
        outcomes: up to it.
        metric: None when it was not due, or too few entries share an answer.
        entries: that it was learnt from; 0 when it was not due.
    """

    model: ErrorModel | None
    outcomes: int
    metric: AnswerMetric | None
    entries: int


@dataclass(frozen=True, slots=True, eq=False)
class FitMaterial:
    """Copies of what a model and a metric are fitted to.

    Attributes:
        outcomes: features of proposals, 1 where they were wrong, and how many outcomes there were
            up to now; None: the model is not due.
        prior: model that the new one starts from; None: from nothing.
        entries: vectors, and answers; None: the metric is not due.
    """

    outcomes: tuple[Doubles, Doubles, int] | None
    prior: ErrorModel | None
    entries: Sequence[tuple[Floats, str]] | None

    def fit(self) -> Fitted:
        """Model and metric; takes some tens of milliseconds."""
        model, metric, count = None, None, 0
        if self.outcomes is not None:
            features, wrong, count = self.outcomes
            model = ErrorModel.fit(features, wrong, self.prior)
        if self.entries is not None:
            vectors = np.stack([vector for vector, _ in self.entries])
            metric = AnswerMetric.fit(vectors, [answer for _, answer in self.entries])
        return Fitted(model, count, metric, len(self.entries or ()))

"""The tuners of all tenants that this process has met."""

import asyncio
from collections import defaultdict
from concurrent.futures import Executor

import structlog

from infermesh_cache.application.shared_tuner import SharedTuner
from infermesh_cache.domain.semantic.tuner import YOUNG_AUDIT_RATE, TunerSettings
from infermesh_cache.domain.semantic_policy import CategoryRules, SemanticRules
from infermesh_cache.learning_ports import TunerStates
from infermesh_common.background import BackgroundTasks
from infermesh_common.errors import InfermeshError
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)


class TunerBook:
    """Opens tuners, keeps them in step with other replicas, and fits their models elsewhere.

    Args:
        states: where the replicas meet.
        executor: where models are fitted.
        background: runs fits.
        metrics: where the bound is shown.
        origin: name of this replica.
        interval_ms: how often the replicas tell each other, in milliseconds.
    """

    def __init__(
        self,
        states: TunerStates,
        executor: Executor,
        background: BackgroundTasks,
        metrics: Metrics,
        *,
        origin: str,
        interval_ms: int,
    ) -> None:
        self._states = states
        self._executor = executor
        self._background = background
        self._origin = origin
        self._interval_s = interval_ms / 1000
        self._tuners: defaultdict[str, dict[str, SharedTuner]] = defaultdict(dict)
        self._opening: dict[tuple[str, str], asyncio.Lock] = {}
        self._syncing: dict[tuple[str, str], asyncio.Lock] = {}
        self._fitting: set[tuple[str, str]] = set()
        self._bound = metrics.gauge("infermesh_semantic_error_bound")
        self._estimate = metrics.gauge("infermesh_semantic_error_estimate")
        self._permitted = metrics.gauge("infermesh_semantic_error_permitted")

    async def open(self, tenant: str, category: CategoryRules, rules: SemanticRules) -> SharedTuner:
        """The tuner of a tenant and category.

        Raises:
            Unavailable: what it has learnt cannot be read now; likewise DeadlineExceeded.
        """
        key = (tenant, category.name)
        settings = TunerSettings(
            delta=category.delta,
            confidence=rules.confidence,
            audit_rate=rules.audit_rate,
            young_audit_rate=max(rules.audit_rate, YOUNG_AUDIT_RATE),
            overlooked=rules.overlooked,
        )
        tuners = self._tuners[tenant]
        known = tuners.get(category.name)
        if known is None:
            async with self._opening.setdefault(key, asyncio.Lock()):
                known = tuners.get(category.name)
                if known is None:
                    known = SharedTuner(
                        self._states, tenant, category.name, settings, origin=self._origin
                    )
                    await known.restore()
                    tuners[category.name] = known
        known.change(settings)
        return known

    async def share(self, tuner: SharedTuner) -> None:
        """Puts a tuner in step with the other replicas; errors as of `SharedTuner.sync`."""
        key = (tuner.tenant, tuner.category)
        async with self._syncing.setdefault(key, asyncio.Lock()):
            await tuner.sync()

    def fit_if_due(self, tuner: SharedTuner) -> None:
        """Begins a fit of model or metric when there is enough that is new."""
        key = (tuner.tenant, tuner.category)
        # Of its tenant alone, which has few categories; processes may have thousands of tenants.
        others = self._tuners[tuner.tenant].values()
        tuner.learn_from(other for other in others if other is not tuner)
        if (tuner.fit_due() or tuner.metric_due()) and key not in self._fitting:
            self._fitting.add(key)
            self._background.start(self._fit(key, tuner), "semantic-fit")

    async def _fit(self, key: tuple[str, str], tuner: SharedTuner) -> None:
        try:
            loop = asyncio.get_running_loop()
            regime = tuner.tuner.certificate.evidence.regime
            fitted = await loop.run_in_executor(self._executor, tuner.material().fit)
            if regime == tuner.tuner.certificate.evidence.regime:
                await tuner.take_fit(fitted)
        except InfermeshError as error:
            _log.info("semantic_metric_not_kept", reason=error.reason)
        finally:
            self._fitting.discard(key)

    async def run(self) -> None:
        """Tells and hears until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.share_all()

    async def share_all(self) -> None:
        """One round. What fails is left for the next one."""
        for tuner in [tuner for tuners in self._tuners.values() for tuner in tuners.values()]:
            try:
                await self.share(tuner)
            except InfermeshError as error:
                _log.info("semantic_state_not_shared", tenant=tuner.tenant, reason=error.reason)
            self._show(tuner)
            self.fit_if_due(tuner)

    def _show(self, tuner: SharedTuner) -> None:
        labels = (tuner.tenant, tuner.category)
        certificate = tuner.tuner.certificate
        requests = certificate.evidence.requests
        estimate = certificate.expected_errors() / requests if requests else 0.0
        self._bound.labels(*labels).set(tuner.error_bound())
        self._estimate.labels(*labels).set(estimate)
        self._permitted.labels(*labels).set(tuner.settings.delta)

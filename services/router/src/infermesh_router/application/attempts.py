"""Which model is asked next for one request, and what the decision says of those before."""

from dataclasses import dataclass, field

from infermesh_common.context import current_or_none
from infermesh_common.errors import (
    DeadlineExceeded,
    InfermeshError,
    ResourceExhausted,
    Unavailable,
)
from infermesh_common.resources.types import Model, Provider
from infermesh_common.telemetry.metrics import Metrics
from infermesh_router.domain.decision import Decision
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import InferenceRequest
from infermesh_router.domain.resilience.retry_budget import RetryBudget
from infermesh_router.domain.routing import Route
from infermesh_router.ports import Attempt

_ANOTHER_MAY_DO_BETTER = (Unavailable, DeadlineExceeded, ResourceExhausted)
_COST_UNKNOWN = "what it billed is not known"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request on its way to models.

    Attributes:
        request: what to answer.
        route: models to try.
        max_attempts: calls of providers at most; a model passed over without a call is none.
        hedge_after_ms: see `RoutePolicySpec`.
    """

    request: InferenceRequest
    route: Route
    max_attempts: int
    hedge_after_ms: int | None = None


@dataclass(slots=True)
class Try:
    """One model that is asked."""

    model: Model
    provider: Provider
    attempt: Attempt = field(default_factory=Attempt)
    hedges: bool = False


class AttemptMetrics:
    """What attempts are counted by."""

    def __init__(self, metrics: Metrics) -> None:
        self.calls = metrics.counter("infermesh_provider_requests_total")
        self.retries = metrics.counter("infermesh_provider_retries_total")
        self.hedges = metrics.counter("infermesh_provider_hedges_total")


class Attempts:
    """The attempts of one request, in order.

    Args:
        call: the request.
        registry: knows who serves a model.
        decision: told of every attempt.
        budget: of the provider that is asked first; every further attempt draws on it, whoever
            makes it.
        metrics: of the process.
    """

    def __init__(
        self,
        call: ModelCall,
        registry: ModelRegistry,
        decision: Decision,
        budget: RetryBudget,
        metrics: AttemptMetrics,
    ) -> None:
        self._call = call
        self._registry = registry
        self._decision = decision
        self._budget = budget
        self._metrics = metrics
        self._left = list(reversed(call.route.chain))
        self._made: list[Try] = []
        self._failed: list[tuple[Try, InfermeshError]] = []
        self._refused: InfermeshError | None = None
        self._granted = 0
        self._budget_spent = False
        budget.count_request()

    @property
    def called(self) -> bool:
        """Whether a provider may have got the request."""
        return any(made.attempt.called for made in self._made)

    def next(self, *, hedges: bool = False) -> Try | None:
        """The model to ask now; None when there is none, or none may be asked.

        Args:
            hedges: another one is being asked already.
        """
        if self._refused is not None or self._out_of_time():
            return None
        repeats = self._repeats() and not hedges
        if not repeats and not self._left:
            return None
        if self._made and not self._may_go_on("hedge" if hedges else _kind(repeats)):
            return None
        model = self._failed[-1][0].model if repeats else self._left.pop()
        made = Try(model, self._registry.provider_of(model), hedges=hedges)
        self._made.append(made)
        return made

    def failed(self, made: Try, error: InfermeshError) -> None:
        """Takes note of how an attempt failed."""
        model = made.model
        self._metrics.calls.labels(made.provider.name, model.name, error.reason).inc()
        if made.hedges:
            self._metrics.hedges.labels(made.provider.name, "failed").inc()
        if not isinstance(error, _ANOTHER_MAY_DO_BETTER):
            self._refused = self._refused or error
            self._decision.model, self._decision.provider = model.name, made.provider.name
            return
        self._failed.append((made, error))
        self._tell(f"{model.name}: {error.reason}", made)

    def answered(self, made: Try) -> None:
        """Takes note of the attempt that has begun to answer."""
        decision, provider = self._decision, made.provider.name
        self._metrics.calls.labels(provider, made.model.name, "OK").inc()
        decision.model, decision.provider = made.model.name, provider
        if made.hedges:
            self._metrics.hedges.labels(provider, "won").inc()
        if decision.fallbacks:
            told = "; ".join(decision.fallbacks)
            decision.reason = f"Others were asked before it ({told})."

    def given_up(self, made: Try) -> None:
        """Takes note of an attempt that was cancelled because another one answered first."""
        self._metrics.calls.labels(made.provider.name, made.model.name, "CANCELLED").inc()
        if made.hedges:
            self._metrics.hedges.labels(made.provider.name, "lost").inc()
        self._tell(f"{made.model.name}: cancelled, another model was faster", made)

    def failure(self) -> InfermeshError:
        """Why the request fails: what a provider said of the request itself, or else the last
        failure of a provider that was called, or else that of the last one passed over."""
        if self._refused is not None:
            return self._refused
        assert self._failed, "a route has at least one model"
        called = [error for made, error in self._failed if made.attempt.called]
        error = called[-1] if called else self._failed[-1][1]
        if self._budget_spent and error.retry_after_s is None:
            error.retry_after_s = self._budget.retry_after_s()
        return error

    def _repeats(self) -> bool:
        """Whether the model that has failed is to be asked again, which happens once."""
        if not self._failed or not self._failed[-1][0].attempt.repeatable:
            return False
        model = self._failed[-1][0].model
        return sum(made.model is model for made in self._made) == 1

    def _may_go_on(self, kind: str) -> bool:
        """Whether there may be another call. The first one of a request always may, also after
        models that were passed over without one."""
        calls = sum(made.attempt.called for made in self._made)
        if not calls:
            return True
        if calls >= self._call.max_attempts:
            return False
        # What was granted for a model that was then passed over is still there.
        if self._granted >= calls:
            return True
        allowed = self._budget.draw()
        name = self._made[0].provider.name
        self._metrics.retries.labels(name, kind, "made" if allowed else "refused").inc()
        if allowed:
            self._granted += 1
        elif not self._budget_spent:
            self._budget_spent = True
            self._decision.fallbacks.append(f"no further attempt: too many of {name} at present")
        return allowed

    def _out_of_time(self) -> bool:
        context = current_or_none()
        return bool(self._made) and context is not None and context.remaining_s() <= 0

    def _tell(self, what: str, made: Try) -> None:
        if made.attempt.called:
            what = f"{what}, {_COST_UNKNOWN}"
        self._decision.fallbacks.append(what)


def _kind(repeats: bool) -> str:
    return "repeat" if repeats else "fallback"

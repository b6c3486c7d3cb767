"""Which model answers: the cheapest one that is good enough."""

from dataclasses import dataclass
from decimal import Decimal

from infermesh_common.errors import FailedPrecondition
from infermesh_common.resources.types import Capability, Model, RoutePolicySpec
from infermesh_common.usage import Usage
from infermesh_router.domain.registry import ModelRegistry, TenantView
from infermesh_router.domain.request import AUTO, InferenceRequest, Surface

# Assumed length of an answer when the client sets none; only ranks models by cost.
_ASSUMED_OUTPUT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class ConsideredModel:
    """A model that was weighed.

    Attributes:
        model: name of the Model resource.
        eligible: whether it met every constraint.
        reason: why, in one sentence.
        estimated_cost: US dollars for this request; None when its price is unknown.
    """

    model: str
    eligible: bool
    reason: str
    estimated_cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Route:
    """The choice.

    Attributes:
        chain: models to try, in order; at least one.
        considered: every model weighed, eligible ones first, in the order of `chain`.
        reason: why the first is first, in one sentence.
    """

    chain: tuple[Model, ...]
    considered: tuple[ConsideredModel, ...]
    reason: str

    @property
    def model_set(self) -> tuple[str, ...]:
        """Models whose answer is accepted: part of the cache identity."""
        return tuple(model.name for model in self.chain)


class Router:
    """Chooses models within one revision of the resources.

    Args:
        registry: the models.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def route(self, request: InferenceRequest, tenant: TenantView) -> Route:
        """The models to try for `request`.

        A client that names a model gets that model: the policy chooses only for "auto". Where
        the policy says so, others follow it, each of which has to meet every constraint.

        Raises:
            NotFound: MODEL_NOT_FOUND.
            FailedPrecondition: NO_ELIGIBLE_MODEL, with the reason for each model.
        """
        if request.model != AUTO:
            return self._named(request, tenant)
        policy = tenant.route_policy
        considered = [
            self._weigh(model, request, policy) for model in self._pool(request, tenant, policy)
        ]
        considered.sort(key=_rank)
        eligible = [weighed for weighed in considered if weighed.eligible]
        if not eligible:
            raise FailedPrecondition(
                "NO_ELIGIBLE_MODEL",
                "No model meets the constraints of this request: "
                + "; ".join(f"{weighed.model}: {weighed.reason}" for weighed in considered),
                field="model",
            )
        return Route(
            chain=tuple(self._registry.models[weighed.model] for weighed in eligible),
            considered=tuple(considered),
            reason=_why_first(eligible),
        )

    def _named(self, request: InferenceRequest, tenant: TenantView) -> Route:
        model = self._registry.resolve(request.model, tenant)
        if _protocol_capability(request) not in model.spec.capabilities:
            raise FailedPrecondition(
                "MODEL_LACKS_CAPABILITY",
                f"The model {model.name!r} does not do {_protocol_capability(request)}.",
                field="model",
            )
        reason = "The client named this model."
        named = ConsideredModel(model.name, True, reason, self._estimate(model, request))
        if model.name not in tenant.route_policy.fallbacks:
            return Route((model,), (named,), reason)
        others = self._fallbacks(model, request, tenant)
        eligible = [self._registry.models[weighed.model] for weighed in others if weighed.eligible]
        considered = sorted(others, key=lambda weighed: not weighed.eligible)
        return Route((model, *eligible), (named, *considered), reason)

    def _fallbacks(
        self, named: Model, request: InferenceRequest, tenant: TenantView
    ) -> list[ConsideredModel]:
        """What may answer when `named` cannot, in the order of the policy. Models of which the
        tenant or the client wants nothing to do are not told of."""
        policy = tenant.route_policy
        accepted = self._accepted(request, tenant)
        return [
            self._weigh(self._registry.models[name], request, policy)
            for name in dict.fromkeys(policy.fallbacks[named.name])
            if name != named.name
            and self._registry.allows(tenant, name)
            and (not accepted or name in accepted)
        ]

    def _pool(
        self, request: InferenceRequest, tenant: TenantView, policy: RoutePolicySpec
    ) -> list[Model]:
        accepted = self._accepted(request, tenant)
        return [
            model
            for model in self._registry.allowed(tenant)
            if (not policy.models or model.name in policy.models)
            and (not accepted or model.name in accepted)
        ]

    def _accepted(self, request: InferenceRequest, tenant: TenantView) -> set[str]:
        """The models to which the client restricts the choice; none: it does not."""
        return {self._registry.resolve(name, tenant).name for name in request.acceptable_models}

    def _weigh(
        self, model: Model, request: InferenceRequest, policy: RoutePolicySpec
    ) -> ConsideredModel:
        cost = self._estimate(model, request)
        objection = _objection(model, request, policy)
        reason = objection or "meets every constraint"
        return ConsideredModel(model.name, objection is None, reason, cost)

    def _estimate(self, model: Model, request: InferenceRequest) -> Decimal | None:
        output = 0
        if request.surface is Surface.CHAT:
            output = max(request.max_output_tokens or _ASSUMED_OUTPUT_TOKENS, 0)
        usage = Usage(input_tokens=request.estimated_input_tokens(), output_tokens=output)
        return self._registry.prices.cost(model.name, usage)


def _rank(weighed: ConsideredModel) -> tuple[bool, bool, Decimal, str]:
    """Eligible first, then known prices, then the cheapest; the name settles ties."""
    cost = weighed.estimated_cost
    return (not weighed.eligible, cost is None, cost or Decimal(0), weighed.model)


def _why_first(eligible: list[ConsideredModel]) -> str:
    if len(eligible) == 1:
        return "The only model that meets every constraint."
    if eligible[0].estimated_cost is None:
        return "No eligible model has a known price; chosen by name."
    return f"The cheapest of {len(eligible)} models that meet every constraint."


def _quality(values: dict[str, float], task: str) -> float | None:
    return values.get(task, values.get("general"))


def _protocol_capability(request: InferenceRequest) -> Capability:
    return "chat" if request.surface is Surface.CHAT else "embeddings"


def required_capabilities(request: InferenceRequest) -> set[Capability]:
    """What a model must be able to do to serve `request`."""
    body = request.body
    required: set[Capability] = {_protocol_capability(request)}
    if body.get("tools") or body.get("functions"):
        required.add("tools")
    response_format = body.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        required.add("json_schema")
    if body.get("logprobs"):
        required.add("logprobs")
    if body.get("audio"):
        required.add("audio")
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "image_url":
                required.add("vision")
    return required


def _objection(model: Model, request: InferenceRequest, policy: RoutePolicySpec) -> str | None:
    """Why `model` may not serve `request`; None when it may."""
    spec = model.spec
    if missing := required_capabilities(request).difference(spec.capabilities):
        return f"lacks {', '.join(sorted(missing))}"
    floor = _quality(policy.quality_floor, request.task)
    if floor is not None:
        quality = _quality(spec.quality, request.task)
        if quality is None:
            return f"states no quality for {request.task}, the floor is {floor:g}"
        if quality < floor:
            return f"quality {quality:g} for {request.task} is below the floor of {floor:g}"
    if policy.max_latency_ms is not None:
        if spec.latency_ms is None:
            return f"states no latency, the limit is {policy.max_latency_ms} ms"
        if spec.latency_ms > policy.max_latency_ms:
            return f"latency {spec.latency_ms} ms is above the limit of {policy.max_latency_ms} ms"
    output = request.max_output_tokens or 0
    if spec.max_output_tokens is not None and output > spec.max_output_tokens:
        return f"answers at most {spec.max_output_tokens} tokens, {output} are asked for"
    needed = request.estimated_input_tokens() + output
    if needed > spec.context_tokens:
        return f"holds {spec.context_tokens} tokens, about {needed} are needed"
    return None

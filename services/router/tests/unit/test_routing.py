"""Which model answers."""

from decimal import Decimal

import pytest

from infermesh_common.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_common.testing.resources import model, resource
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import InferenceRequest, Surface
from infermesh_router.domain.routing import Router

PROVIDER = resource("Provider", "main", baseUrl="http://localhost:1/v1")
CACHE = resource("CachePolicy", "default")


def registry(*models, policy=None, tenant=None):
    documents = [
        PROVIDER,
        CACHE,
        *models,
        resource("RoutePolicy", "default", **(policy or {})),
        resource("Tenant", "acme", **(tenant or {})),
    ]
    built = build([("test", document) for document in documents], ResourceSet())
    assert not built.faults
    return ModelRegistry(built)


def ask(name="auto", task="general", accept=(), surface=Surface.CHAT, **body):
    body = {"messages": [{"role": "user", "content": "Hello"}], **body}
    return InferenceRequest(surface, body, name, acceptable_models=accept, task=task)


def names(registry, request):
    return [m.name for m in Router(registry).route(request, registry.tenant("acme")).chain]


def reasons(registry, request):
    route = Router(registry).route(request, registry.tenant("acme"))
    return {c.model: c.reason for c in route.considered if not c.eligible}


def test_auto_orders_by_cost_and_puts_unknown_prices_last():
    models = registry(
        model("dear", price="10"),
        model("unpriced", pricing={}),
        model("cheap", price="1"),
        model("tie", price="1"),
    )
    assert names(models, ask()) == ["cheap", "tie", "dear", "unpriced"]


def test_the_quality_floor_of_the_task_counts_and_general_stands_in():
    models = registry(
        model("a", price="1", quality={"general": 0.9, "math": 0.1}),
        model("b", price="2", quality={"general": 0.7}),
        model("c", price="3"),
        policy={"qualityFloor": {"general": 0.5, "math": 0.6}},
    )
    assert names(models, ask(task="math")) == ["b"]
    assert names(models, ask(task="poetry")) == ["a", "b"]
    assert reasons(models, ask(task="math")) == {
        "a": "quality 0.1 for math is below the floor of 0.6",
        "c": "states no quality for math, the floor is 0.6",
    }


def test_latency_context_and_output_limits_are_kept():
    models = registry(
        model("slow", latencyMs=900),
        model("unknown"),
        model("small", latencyMs=1, contextTokens=20),
        model("short", latencyMs=1, maxOutputTokens=10),
        model("fits", latencyMs=100),
        policy={"maxLatencyMs": 500},
    )
    assert names(models, ask(max_tokens=50)) == ["fits"]
    assert set(reasons(models, ask(max_tokens=50))) == {"slow", "unknown", "small", "short"}


@pytest.mark.parametrize(
    ("body", "capability"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "json_schema"),
        ({"logprobs": True}, "logprobs"),
        ({"audio": {"voice": "x"}}, "audio"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "vision",
        ),
    ],
)
def test_a_model_must_be_able_to_do_what_is_asked(body, capability):
    models = registry(
        model("plain", capabilities=["chat"]),
        model("able", price="9", capabilities=["chat", capability]),
    )
    assert names(models, ask(**body)) == ["able"]
    assert reasons(models, ask(**body)) == {"plain": f"lacks {capability}"}


def test_policy_tenant_and_client_each_narrow_the_choice():
    models = registry(
        model("a"),
        model("b"),
        model("c"),
        model("d"),
        policy={"models": ["a", "b", "c"]},
        tenant={"allowedModels": ["b", "c", "d"]},
    )
    assert names(models, ask()) == ["b", "c"]
    assert names(models, ask(accept=("c", "d"))) == ["c"]
    with pytest.raises(NotFound):
        names(models, ask(accept=("a",)))


def test_a_named_model_is_the_only_one_and_aliases_work():
    models = registry(model("a", aliases=["gpt"]), model("b"))
    assert names(models, ask("gpt")) == ["a"]
    assert names(models, ask("b")) == ["b"]


def test_models_of_others_are_not_told_apart_from_unknown_ones():
    models = registry(model("a"), model("b"), tenant={"allowedModels": ["a"]})
    for name in ("b", "nonsense"):
        with pytest.raises(NotFound) as caught:
            names(models, ask(name))
        assert caught.value.reason == "MODEL_NOT_FOUND"


def test_no_eligible_model_says_why_for_each():
    models = registry(model("a", capabilities=["embeddings"]))
    with pytest.raises(FailedPrecondition) as caught:
        names(models, ask())
    assert caught.value.reason == "NO_ELIGIBLE_MODEL"
    assert "a: lacks chat" in caught.value.message
    with pytest.raises(FailedPrecondition):
        names(models, ask("a"))


def test_the_estimate_is_exact_money():
    models = registry(model("a", price="2"))
    route = Router(models).route(ask(max_tokens=100), models.tenant("acme"))
    tokens = ask().estimated_input_tokens() + 100
    assert route.considered[0].estimated_cost == Decimal(2 * tokens) / 1_000_000


def test_callers_without_a_tenant_are_refused():
    for name in ("", "nobody"):
        with pytest.raises(PermissionDenied):
            registry(model("a")).tenant(name)


def test_tags_are_bounded():
    for tags in (("",), ("x" * 101,), ("a\n",), tuple(map(str, range(21)))):
        with pytest.raises(InvalidArgument):
            InferenceRequest(Surface.CHAT, {}, "m", tags=tags)

"""Who may answer in the stead of a model that the client has named."""

import pytest

from infermesh_common.errors import NotFound
from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_common.testing.resources import model, resource
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import InferenceRequest, Surface
from infermesh_router.domain.routing import Router


def route(request, *models, fallbacks, tenant=None, policy=None):
    documents = [
        resource("Provider", "main", baseUrl="http://localhost:1/v1"),
        resource("CachePolicy", "default"),
        resource("RoutePolicy", "default", fallbacks=fallbacks, **(policy or {})),
        resource("Tenant", "acme", **(tenant or {})),
        *(models or map(model, "abcd")),
    ]
    built = build([("test", document) for document in documents], ResourceSet())
    assert not built.faults
    registry = ModelRegistry(built)
    return Router(registry).route(request, registry.tenant("acme"))


def ask(name="a", accept=(), surface=Surface.CHAT, **body):
    body = {"messages": [{"role": "user", "content": "Hello"}], **body}
    return InferenceRequest(surface, body, name, acceptable_models=accept)


def test_the_named_model_is_first_and_its_fallbacks_follow_in_order():
    found = route(ask(), fallbacks={"a": ["c", "b"], "d": ["a"]})
    assert found.model_set == ("a", "c", "b")
    assert [weighed.model for weighed in found.considered] == ["a", "c", "b"]
    assert route(ask("b"), fallbacks={"a": ["c"]}).model_set == ("b",)


def test_an_alias_has_the_fallbacks_of_its_model():
    models = [model("a", aliases=["gpt"]), model("b")]
    assert route(ask("gpt"), *models, fallbacks={"a": ["b"]}).model_set == ("a", "b")


def test_answers_that_another_model_may_give_are_not_those_of_the_model_alone():
    alone, followed = route(ask(), fallbacks={}), route(ask(), fallbacks={"a": ["b"]})
    assert alone.model_set != followed.model_set


def test_the_model_itself_and_repeats_are_left_out():
    assert route(ask(), fallbacks={"a": ["a", "b", "b"]}).model_set == ("a", "b")


def test_a_fallback_the_tenant_may_not_use_is_neither_asked_nor_told_of():
    found = route(ask(), fallbacks={"a": ["b", "c"]}, tenant={"allowedModels": ["a", "c"]})
    assert found.model_set == ("a", "c")
    assert [weighed.model for weighed in found.considered] == ["a", "c"]


def test_a_fallback_the_client_does_not_accept_is_not_asked():
    fallbacks = {"a": ["b", "c"]}
    assert route(ask(accept=("a", "c")), fallbacks=fallbacks).model_set == ("a", "c")
    assert route(ask(accept=("a",)), fallbacks=fallbacks).model_set == ("a",)
    with pytest.raises(NotFound):
        route(ask(accept=("nonsense",)), fallbacks=fallbacks)


@pytest.mark.parametrize(
    ("other", "body", "policy", "reason"),
    [
        ({"capabilities": ["chat"]}, {"tools": [{"type": "function"}]}, {}, "lacks tools"),
        ({"contextTokens": 5}, {}, {}, "holds 5 tokens, about"),
        ({"maxOutputTokens": 5}, {"max_tokens": 6}, {}, "answers at most 5 tokens"),
        ({"quality": {"general": 0.2}}, {}, {"qualityFloor": {"general": 0.5}}, "quality 0.2"),
        ({"latencyMs": 900}, {}, {"maxLatencyMs": 800}, "latency 900 ms"),
    ],
)
def test_a_fallback_meets_every_constraint_or_is_told_why_not(other, body, policy, reason):
    able = {"quality": {"general": 0.9}, "latencyMs": 1}
    models = [model("a"), model("b", **{**able, **other}), model("c", **able)]
    found = route(ask(**body), *models, fallbacks={"a": ["b", "c"]}, policy=policy)
    assert found.model_set == ("a", "c")
    told = found.considered[-1]
    assert (told.model, told.eligible) == ("b", False) and told.reason.startswith(reason)


def test_a_fallback_that_cannot_embed_is_not_asked_to():
    models = [model("a"), model("b", capabilities=["chat"]), model("c")]
    request = ask(surface=Surface.EMBEDDINGS, input="x")
    assert route(request, *models, fallbacks={"a": ["b", "c"]}).model_set == ("a", "c")

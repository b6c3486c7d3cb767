"""What an operator declares to have measured qualities decide: ordinary resources, nothing else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.savings.dataset import Dataset, has_hidden_tokens
from infermesh_common.testing.resources import Document, resource

POLICY = "measured"
CACHE = "exact-cache"
NO_CACHE = "no-cache"
REFERENCE_TENANT = "always-reference"
# The least that any model of the pool holds; prompts and answers here are far shorter.
_CONTEXT_TOKENS = 16_000

Qualities = Mapping[str, Mapping[str, float]]
"""Share of right answers by task and recorded name of the model."""


@dataclass(frozen=True, slots=True)
class Operator:
    """What the operator knows and wants.

    Attributes:
        qualities: measured on the prompts that are for fitting.
        floors: least quality by task.
        reference: recorded name of the model that everybody would call without the mesh.
        teams: how many tenants ask.
    """

    qualities: Qualities
    reference: str
    teams: int
    floors: Mapping[str, float] = field(default_factory=dict)


def resource_name(model: str) -> str:
    """Name of the Model resource of a recorded model: lower case, letters, digits, "." and "-"."""
    return re.sub(r"[^a-z0-9.-]+", "-", model.lower()).strip("-.")


def team_tenant(team: int) -> str:
    """Name of the tenant of a team."""
    return f"team-{team + 1}"


def tenants(teams: int) -> list[str]:
    """Names of all tenants."""
    return [*map(team_tenant, range(teams)), REFERENCE_TENANT]


def documents(dataset: Dataset, operator: Operator, base_url: str) -> list[Document]:
    """The resources, for a provider that stands at `base_url`."""
    names = [resource_name(model) for model in dataset.models]
    return [
        resource("Provider", "recorded", baseUrl=base_url),
        *(_model(dataset, model, operator.qualities) for model in dataset.models),
        resource(
            "RoutePolicy",
            POLICY,
            models=names,
            qualityFloor=dict(operator.floors),
            baselineModel=resource_name(operator.reference),
        ),
        resource("CachePolicy", CACHE, enabled=True),
        resource("CachePolicy", NO_CACHE, enabled=False),
        *(
            resource("Tenant", team_tenant(team), routePolicy=POLICY, cachePolicy=CACHE)
            for team in range(operator.teams)
        ),
        resource("Tenant", REFERENCE_TENANT, routePolicy=POLICY, cachePolicy=NO_CACHE),
    ]


def _model(dataset: Dataset, model: str, qualities: Qualities) -> Document:
    price = dataset.prices[model]
    rates = {"source": f"prices.json of {dataset.name}", "input": f"{price.input:f}"}
    if not has_hidden_tokens(model):
        # Else its output, and with it its cost, stays unknown: it ranks behind every known cost.
        rates["output"] = f"{price.output:f}"
    return resource(
        "Model",
        resource_name(model),
        provider="recorded",
        upstreamModel=model,
        capabilities=["chat"],
        contextTokens=_CONTEXT_TOKENS,
        quality={task: by_model[model] for task, by_model in qualities.items()},
        pricing={"overlay": rates},
    )

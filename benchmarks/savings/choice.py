"""Which model the router will choose: asked of the router's own code, with no mesh running."""

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.savings.dataset import Dataset, Row
from benchmarks.savings.resources import Operator, documents, resource_name, team_tenant
from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import AUTO, InferenceRequest, Surface
from infermesh_router.domain.routing import Router


class RouterChoice:
    """The router on the resources of an operator.

    Args:
        dataset: the models and prices.
        operator: its floors are in force where none are named.

    Raises:
        ValueError: the resources are not valid.
    """

    def __init__(self, dataset: Dataset, operator: Operator) -> None:
        declared = documents(dataset, operator, "http://127.0.0.1:1/v1")
        found = build((("benchmark", document) for document in declared), ResourceSet())
        if found.faults:
            raise ValueError(f"{found.faults[0].where}: {found.faults[0].message}")
        registry = ModelRegistry(found)
        self._router = Router(registry)
        self._tenant = registry.tenant(team_tenant(0))
        self._recorded = {resource_name(model): model for model in dataset.models}

    def model_for(self, row: Row, floors: Mapping[str, float] | None = None) -> str:
        """Recorded name of the model that answers `row`."""
        tenant = self._tenant
        if floors is not None:
            policy = tenant.route_policy.model_copy(update={"quality_floor": dict(floors)})
            tenant = replace(tenant, route_policy=policy)
        body = {"messages": [{"role": "user", "content": row.prompt}], "temperature": 0}
        request = InferenceRequest(surface=Surface.CHAT, body=body, model=AUTO, task=row.task)
        return self._recorded[self._router.route(request, tenant).chain[0].name]

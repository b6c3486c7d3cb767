"""Health, metrics and the registry, for operators."""

from collections.abc import Callable

import grpc
from google.api import httpbody_pb2
from google.protobuf import empty_pb2

from infermesh.common.v1 import page_pb2
from infermesh.router.v1 import operations_pb2, operations_pb2_grpc
from infermesh_common import __version__
from infermesh_common.context import current
from infermesh_common.paging import page_of
from infermesh_common.resources.types import Model
from infermesh_common.rpc.health import Health
from infermesh_common.telemetry.metrics import CONTENT_TYPE, Metrics
from infermesh_router.domain.registry import ModelRegistry

Context = grpc.aio.ServicerContext[object, object]


class OperationsServicer(operations_pb2_grpc.OperationsServiceServicer):
    """Serves `GetHealth`, `GetMetrics` and `ListRegisteredModels`.

    Args:
        health: of this process.
        helpers: services whose absence makes answers dearer, not wrong; name -> works.
        metrics: of this process.
        registry: gives the registry in force.
    """

    def __init__(
        self,
        health: Health,
        helpers: dict[str, Callable[[], bool]],
        metrics: Metrics,
        registry: Callable[[], ModelRegistry],
    ) -> None:
        self._health = health
        self._helpers = helpers
        self._metrics = metrics
        self._registry = registry

    async def GetHealth(
        self, request: operations_pb2.GetHealthRequest, context: Context
    ) -> operations_pb2.GetHealthResponse:
        """Whether the mesh can answer."""
        helpers = {name: works() for name, works in self._helpers.items()}
        dependencies = {**self._health.dependencies(), **helpers}
        if not self._health.ready:
            status = "NOT_SERVING"
        else:
            status = "SERVING" if all(helpers.values()) else "DEGRADED"
        return operations_pb2.GetHealthResponse(
            status=status,
            dependencies={
                name: "SERVING" if works else "NOT_SERVING" for name, works in dependencies.items()
            },
            configuration_revision=self._registry().revision,
            version=__version__,
        )

    async def GetMetrics(self, request: empty_pb2.Empty, context: Context) -> httpbody_pb2.HttpBody:
        """Metrics of this process in Prometheus text format."""
        return httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=self._metrics.expose())

    async def ListRegisteredModels(
        self, request: operations_pb2.ListRegisteredModelsRequest, context: Context
    ) -> operations_pb2.ListRegisteredModelsResponse:
        """Models the caller may use, by name."""
        registry = self._registry()
        caller = current().caller()
        if caller.tenant:
            models = registry.allowed(registry.tenant(caller.tenant))
        else:
            models = [model for _, model in sorted(registry.models.items())]
        page, token = page_of(models, request.page, key=lambda model: model.name)
        return operations_pb2.ListRegisteredModelsResponse(
            models=[_registered(model, registry) for model in page],
            configuration_revision=registry.revision,
            page=page_pb2.PageResponse(next_page_token=token),
        )


def _registered(model: Model, registry: ModelRegistry) -> operations_pb2.RegisteredModel:
    spec = model.spec
    return operations_pb2.RegisteredModel(
        name=model.name,
        provider=spec.provider,
        aliases=spec.aliases,
        capabilities=spec.capabilities,
        context_tokens=spec.context_tokens,
        quality=spec.quality,
        latency_ms=spec.latency_ms or 0,
        priced=registry.prices.price(model.name) is not None,
    )

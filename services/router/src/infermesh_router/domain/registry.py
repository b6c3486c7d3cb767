"""The models that may be chosen, as the resources declare them."""

from dataclasses import dataclass

from infermesh_common.errors import NotFound, PermissionDenied
from infermesh_common.prices import PriceBook
from infermesh_common.resources.resource_set import ResourceSet
from infermesh_common.resources.types import (
    CachePolicySpec,
    Model,
    Provider,
    RoutePolicySpec,
    TenantSpec,
)


@dataclass(frozen=True, slots=True)
class TenantView:
    """A tenant with its policies resolved."""

    name: str
    spec: TenantSpec
    route_policy: RoutePolicySpec
    cache_policy: CachePolicySpec


class ModelRegistry:
    """One revision of the resources, indexed for the router. Immutable.

    Args:
        resources: a consistent set.
    """

    def __init__(self, resources: ResourceSet) -> None:
        self.revision = resources.revision
        self.models = resources.models
        self.providers = resources.providers
        self.prices = PriceBook(self.models)
        self._tenants = {
            name: TenantView(
                name,
                tenant.spec,
                resources.route_policies[tenant.spec.route_policy].spec,
                resources.cache_policies[tenant.spec.cache_policy].spec,
            )
            for name, tenant in resources.tenants.items()
        }
        self._by_alias = {
            alias: name for name, model in self.models.items() for alias in model.spec.aliases
        }

    def tenant(self, name: str) -> TenantView:
        """The tenant of that name.

        Raises:
            PermissionDenied: TENANT_REQUIRED for callers without a tenant, TENANT_UNKNOWN.
        """
        if not name:
            raise PermissionDenied(
                "TENANT_REQUIRED", "Inference needs the API key of a tenant, not an operator's."
            )
        view = self._tenants.get(name)
        if view is None:
            raise PermissionDenied("TENANT_UNKNOWN", "The tenant of this API key does not exist.")
        return view

    def resolve(self, name: str, tenant: TenantView) -> Model:
        """The model of that name or alias, when the tenant may use it.

        Raises:
            NotFound: MODEL_NOT_FOUND; also for models of others, whose existence is not told.
        """
        model = self.models.get(name) or self.models.get(self._by_alias.get(name, ""))
        if model is None or not self.allows(tenant, model.name):
            raise NotFound(
                "MODEL_NOT_FOUND",
                f"The model {name[:100]!r} does not exist or you do not have access to it.",
                field="model",
            )
        return model

    def allows(self, tenant: TenantView, model: str) -> bool:
        """Whether the tenant may use the model."""
        return not tenant.spec.allowed_models or model in tenant.spec.allowed_models

    def allowed(self, tenant: TenantView) -> list[Model]:
        """Models the tenant may use, by name."""
        return [m for name, m in sorted(self.models.items()) if self.allows(tenant, name)]

    def provider_of(self, model: Model) -> Provider:
        """The provider that serves `model`."""
        return self.providers[model.spec.provider]

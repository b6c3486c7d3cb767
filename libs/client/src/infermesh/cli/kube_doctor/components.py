"""The parts of a mesh in a cluster, as the chart names them."""

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
VERSION_LABEL = "app.kubernetes.io/version"
PRODUCT = "infermesh"

METRICS_PORT = 9090
VAULT_PORT = 8200

DEPENDENTS: dict[str, frozenset[str]] = {
    "redis": frozenset({"router", "cache", "governance", "analytics"}),
    "governance": frozenset({"router", "cache", "analytics"}),
    # Services go on without it, but for the keys they have not read yet.
    "vault": frozenset(),
}
"""By component: those that are not ready, or of no use, while it is down."""

WATCHERS = ("router", "cache", "governance")
"""Services that read the resources, each of which tells the revision it has in force."""

STATUS_OWNERS: dict[str, str] = {
    "Provider": "router",
    "Model": "router",
    "RoutePolicy": "router",
    "CachePolicy": "router",
    "Tenant": "governance",
    "ApiKey": "governance",
}
"""By kind of resource: the service whose leader writes its status."""

"""Chooses where resources come from."""

from infermesh_common.resources.in_force import ResourcesInForce
from infermesh_common.resources.store import ResourceStore
from infermesh_common.settings import CommonSettings
from infermesh_common.telemetry.metrics import Metrics


def resource_store(settings: CommonSettings, metrics: Metrics) -> ResourcesInForce:
    """The resources that `settings` name: files of a directory, or custom resources.

    Raises:
        SettingsError: they are custom resources and there is no way to a cluster.
    """
    if settings.resources_namespace is None:
        assert settings.resources_dir is not None, "the settings have made sure of it"
        return ResourceStore(settings.resources_dir, metrics)
    from infermesh_common.kubernetes.client import kubernetes_client
    from infermesh_common.resources.kubernetes_store import KubernetesResourceStore

    return KubernetesResourceStore(kubernetes_client(), settings.resources_namespace, metrics)

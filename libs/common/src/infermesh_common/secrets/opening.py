"""The secrets of a service, as its settings say."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from infermesh_common.kubernetes.client import Source, kubernetes_client, one_secret
from infermesh_common.secrets.facade import Secrets
from infermesh_common.secrets.kubernetes import KubernetesSecrets
from infermesh_common.secrets.vault import VaultSecrets
from infermesh_common.secrets.vault_client import HvacVault
from infermesh_common.settings import SecretsSettings, VaultSettings
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


def open_secrets(settings: SecretsSettings, metrics: Metrics) -> Secrets:
    """The secrets that these settings lead to. Opens nothing before something is followed."""
    namespace = settings.kubernetes_namespace
    poll_s = settings.poll_ms / 1000
    return Secrets(
        metrics,
        stale_after_s=settings.stale_after_ms / 1000,
        kubernetes=(
            KubernetesSecrets(namespace, _secrets_of(namespace), metrics, poll_s=poll_s)
            if namespace
            else None
        ),
        vault=_vault(settings.vault, poll_s) if settings.vault else None,
    )


def _vault(settings: VaultSettings, poll_s: float) -> VaultSecrets:
    return VaultSecrets(
        lambda: HvacVault(settings), poll_s=poll_s, timeout_s=settings.timeout_ms / 1000
    )


def _secrets_of(namespace: str) -> Callable[[str], Source]:
    """The way to Secrets, over one client that is made for the first of them."""
    made: list[ApiClient] = []

    def open_source(name: str) -> Source:
        if not made:
            made.append(kubernetes_client())
        return one_secret(made[0], namespace, name)

    return open_source

"""The way to the API server, and what may be followed there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from infermesh_common.settings import SettingsError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

JsonObject = Mapping[str, object]
"""An object of the API as JSON has it; only read."""

# A peer that is gone without a word is noticed after 10 + 3 * 5 seconds.
_KEEPALIVE = {"idle": 10, "interval": 5, "count": 3}
_UNREAD = {"_preload_content": False}


def kubernetes_client(kubeconfig: Path | None = None) -> "ApiClient":
    """A client of the cluster this process runs in, or else of the one KUBECONFIG names.

    It is made without a call: the API server may be away. Calls are not retried by it; its token
    is read again once a minute. Close it at the end.

    Args:
        kubeconfig: a file to use in place of both.

    Raises:
        SettingsError: there is neither, or it cannot be used.
    """
    from kubernetes import client, config
    from kubernetes.utils.keepalive import tcp_keepalive_socket_options

    configuration = client.Configuration()
    try:
        if kubeconfig is not None:
            config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        else:
            try:
                config.load_incluster_config(client_configuration=configuration)
            except config.ConfigException:
                config.load_kube_config(client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise SettingsError(f"There is no way to the API server of a cluster: {error}") from None
    # Whoever calls retries, with a delay of its own.
    configuration.retries = False
    setattr(configuration, "socket_options", tcp_keepalive_socket_options(**_KEEPALIVE))
    return client.ApiClient(configuration)


@dataclass(frozen=True, slots=True)
class Source:
    """Objects of one kind in one namespace.

    Attributes:
        name: for logs and metrics, for example "providers" or "secrets/openai-key".
        open: begins to list, or with `watch=True` to watch, with the query parameters of the API
            as keyword arguments. The response is not read yet; the caller closes it. Raises
            `kubernetes.client.ApiException` for an answer other than 2xx, and errors of urllib3.
    """

    name: str
    open: Callable[..., "BaseHTTPResponse"]


def custom_resources(
    client: "ApiClient", namespace: str, plural: str, *, api_version: str
) -> Source:
    """All custom resources of one kind in `namespace`.

    Args:
        client: of the cluster.
        namespace: the one looked at.
        plural: of the kind, for example "providers".
        api_version: group and version, for example "infermesh.dev/v1alpha1".
    """
    from kubernetes.client import CustomObjectsApi

    group, _, version = api_version.partition("/")
    listing: Callable[..., "BaseHTTPResponse"] = CustomObjectsApi(
        client
    ).list_namespaced_custom_object

    def begin(**query: object) -> "BaseHTTPResponse":
        return listing(group, version, namespace, plural, **{**query, **_UNREAD})

    return Source(plural, begin)


def one_secret(client: "ApiClient", namespace: str, name: str) -> Source:
    """The Secret of that name in `namespace`, which may or may not exist.

    Needs no more than get, list and watch of that one name: the selector is what the API server
    checks a role's `resourceNames` against. Values in its `data` are base64.
    """
    from kubernetes.client import CoreV1Api

    listing: Callable[..., object] = CoreV1Api(client).list_namespaced_secret

    def begin(**query: object) -> "BaseHTTPResponse":
        chosen = {"field_selector": f"metadata.name={name}"}
        response = listing(namespace, **{**query, **chosen, **_UNREAD})
        return cast("BaseHTTPResponse", response)

    return Source(f"secrets/{name}", begin)

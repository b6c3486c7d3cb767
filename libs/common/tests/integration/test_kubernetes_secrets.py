"""Secrets of Kubernetes are watched, each by its name, whatever the API server does."""

import asyncio
import base64
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import pytest

from infermesh_common.kubernetes.client import one_secret
from infermesh_common.kubernetes.informer import Timing
from infermesh_common.kubernetes.testing.api_server import ApiError, FakeApiServer
from infermesh_common.resources.types import SecretKeyRef, SecretRef
from infermesh_common.secrets.facade import Secrets
from infermesh_common.secrets.faults import Fault, SecretError
from infermesh_common.secrets.kubernetes import KubernetesSecrets
from infermesh_common.settings import SettingsError
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import eventually

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Running = Callable[..., AbstractAsyncContextManager[list[asyncio.Task[None]]]]
QUICK = Timing(connect_s=1, list_s=0.3, watch_s=1, first_delay_s=0.01, longest_delay_s=0.05)


def ref(name: str, key: str = "key") -> SecretRef:
    return SecretRef(secret=SecretKeyRef(name=name, key=key))


OPENAI = ref("openai")


def secret(name: str, **values: str | bytes) -> dict[str, Any]:
    data = {
        key: base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
        for key, value in values.items()
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


class Following:
    """Secrets of one service."""

    def __init__(
        self,
        client: "ApiClient",
        metrics: Metrics,
        *,
        namespace: str = "mesh",
        stale_after_s: float = 600,
        timing: Timing = QUICK,
    ) -> None:
        self.client: ApiClient | None = client
        self.metrics = metrics

        def open_source(name: str) -> Any:
            if self.client is None:
                raise SettingsError("There is no way to the API server of a cluster")
            return one_secret(self.client, namespace, name)

        source = KubernetesSecrets(namespace, open_source, metrics, poll_s=0.02, timing=timing)
        self.secrets = Secrets(metrics, stale_after_s=stale_after_s, kubernetes=source)

    def now(self, where: SecretRef = OPENAI) -> str:
        """The secret, or why there is none."""
        try:
            return self.secrets.read(where)
        except SecretError as error:
            return error.fault.reason

    async def says(self, text: str, where: SecretRef = OPENAI) -> None:
        await eventually(lambda: self.now(where) == text, what=f"{text}, not {self.now(where)}")

    async def fault(self, reason: str, where: SecretRef = OPENAI) -> Fault:
        def found() -> Fault | None:
            fault = self.secrets.fault(where)
            return fault if fault and fault.reason == reason else None

        await eventually(lambda: found() is not None, what=f"{reason}, not {self.now(where)}")
        fault = found()
        assert fault is not None
        return fault

    async def is_well(self, where: SecretRef = OPENAI) -> None:
        await eventually(lambda: self.secrets.fault(where) is None)


@pytest.fixture
def following(api_client: "ApiClient", metrics: Metrics) -> Following:
    return Following(api_client, metrics)


async def test_a_rotation_is_seen_and_no_other_secret_is_asked_for(
    api: FakeApiServer, following: Following, running: Running
) -> None:
    api.put("secrets", secret("openai", key="sk-one\n", other="sk-other"))
    api.put("secrets", secret("unrelated", key="x"))
    following.secrets.follow([OPENAI, ref("openai", "other")])
    async with running(following.secrets.run()):
        await following.says("sk-one")
        await following.says("sk-other", ref("openai", "other"))
        api.put("secrets", secret("openai", key="sk-two", other="sk-other"))
        await following.says("sk-two")
        assert following.secrets.differs(OPENAI, "sk-one")
    asked = [request for request in api.requests if request.path.endswith("/mesh/secrets")]
    assert {request.query["fieldSelector"] for request in asked} == {"metadata.name=openai"}
    assert api.lists("secrets") == 1, "keys of one Secret share a watch"


async def test_what_is_not_referred_to_any_more_is_not_watched(
    api: FakeApiServer, following: Following, running: Running
) -> None:
    def watching() -> set[str]:
        names = (task.get_name() for task in asyncio.all_tasks())
        return {name for name in names if name.startswith("informer-")}

    api.put("secrets", secret("openai", key="sk-one"))
    following.secrets.follow([OPENAI, ref("azure")])
    async with running(following.secrets.run()):
        await following.says("sk-one")
        assert watching() == {"informer-secrets/openai", "informer-secrets/azure"}
        following.secrets.follow([OPENAI])
        await eventually(lambda: watching() == {"informer-secrets/openai"})
        assert following.now() == "sk-one"
    assert watching() == set()


@pytest.mark.parametrize(
    ("document", "reason", "says"),
    [
        (None, "SecretMissing", "There is not the Secret openai in the namespace mesh."),
        (
            secret("openai", other="x"),
            "SecretMissing",
            "There is no key key in the Secret openai in the namespace mesh.",
        ),
        (
            {**secret("openai"), "data": None},
            "SecretMissing",
            "There is no key key in the Secret openai in the namespace mesh.",
        ),
        (
            secret("openai", key=b"\xff\xfe"),
            "SecretInvalid",
            "The key key of the Secret openai in the namespace mesh is not UTF-8.",
        ),
        (secret("openai", key=" "), "SecretEmpty", "The key key of the Kubernetes Secret openai"),
    ],
    ids=["deleted", "another key", "no data", "not UTF-8", "empty"],
)
async def test_what_is_wrong_is_said_and_takes_nothing_away(
    api: FakeApiServer,
    following: Following,
    running: Running,
    document: dict[str, Any] | None,
    reason: str,
    says: str,
) -> None:
    api.put("secrets", secret("openai", key="sk-one"))
    following.secrets.follow([OPENAI])
    async with running(following.secrets.run()):
        await following.says("sk-one")
        if document is None:
            api.delete("secrets", "openai")
        else:
            api.put("secrets", document)
        fault = await following.fault(reason)
        assert fault.in_use and fault.message.startswith(says)
        assert following.now() == "sk-one"
        api.put("secrets", secret("openai", key="sk-two"))
        await following.says("sk-two")
        assert following.secrets.fault(OPENAI) is None


async def test_a_secret_that_the_role_does_not_name_is_said(
    api: FakeApiServer, following: Following, running: Running
) -> None:
    api.put("secrets", secret("openai", key="sk-one"))
    api.refuse = lambda request: ApiError(403, "Forbidden")
    following.secrets.follow([OPENAI])
    async with running(following.secrets.run()):
        fault = await following.fault("KubernetesDenied")
        assert "providerSecrets" in fault.message and not fault.in_use
        assert await following.secrets.looked_at()
        api.refuse = lambda request: None
        await following.says("sk-one")


async def test_an_api_server_that_is_away_at_boot_is_found_later(
    api: FakeApiServer, following: Following, running: Running
) -> None:
    api.put("secrets", secret("openai", key="sk-one"))
    api.stop()
    following.secrets.follow([OPENAI])
    async with running(following.secrets.run()):
        await following.secrets.first_look(20)
        assert following.now() == "KubernetesUnavailable"
        api.start()
        await following.says("sk-one")


async def test_an_api_server_that_goes_away_takes_nothing_away_for_a_while(
    api: FakeApiServer, api_client: "ApiClient", metrics: Metrics, running: Running
) -> None:
    following = Following(api_client, metrics, stale_after_s=6)
    api.put("secrets", secret("openai", key="sk-one"))
    following.secrets.follow([OPENAI])
    async with running(following.secrets.run()):
        await following.says("sk-one")
        # A watch that is begun anew each second confirms it time and again.
        await eventually(lambda: len(api.watches("secrets")) >= 3)
        assert following.secrets.fault(OPENAI) is None
        api.stop()
        assert (await following.fault("KubernetesUnavailable")).in_use
        assert following.now() == "sk-one"
        await following.says("KubernetesUnavailable")
        fault = following.secrets.fault(OPENAI)
        assert fault and "too old to be used" in fault.message and not fault.in_use
        api.put("secrets", secret("openai", key="sk-two"))
        api.start()
        await following.says("sk-two")
        await following.is_well()


async def test_a_process_without_a_way_to_a_cluster_says_so(
    api: FakeApiServer, following: Following, running: Running
) -> None:
    api.put("secrets", secret("openai", key="sk-one"))
    client, following.client = following.client, None
    following.secrets.follow([OPENAI])
    async with running(following.secrets.run()):
        fault = await following.fault("KubernetesUnavailable")
        assert fault.message == "There is no way to the API server of a cluster."
        following.client = client
        await following.says("sk-one")


async def test_a_real_api_server_tells_of_a_rotation(
    cluster: "ApiClient", namespace: str, metrics: Metrics, running: Running
) -> None:
    from kubernetes.client import CoreV1Api

    core: Any = CoreV1Api(cluster)
    core.create_namespaced_secret(namespace, secret("openai", key="sk-one"))
    following = Following(cluster, metrics, namespace=namespace, timing=Timing())
    following.secrets.follow([OPENAI, ref("azure")])
    async with running(following.secrets.run()):
        await following.says("sk-one")
        await following.fault("SecretMissing", ref("azure"))
        core.patch_namespaced_secret("openai", namespace, secret("openai", key="sk-two"))
        await following.says("sk-two")
        core.delete_namespaced_secret("openai", namespace)
        assert (await following.fault("SecretMissing")).in_use
        core.create_namespaced_secret(namespace, secret("openai", key="sk-three"))
        await following.says("sk-three")

"""An informer knows what the API server has, whatever happens on the way."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infermesh_common.kubernetes.client import custom_resources, kubernetes_client, one_secret
from infermesh_common.kubernetes.informer import Informer, Objects, Timing
from infermesh_common.kubernetes.testing.api_server import FakeApiServer
from infermesh_common.kubernetes.testing.wire import ApiError
from infermesh_common.settings import SettingsError
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import eventually

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Running = Callable[..., AbstractAsyncContextManager[list[asyncio.Task[None]]]]
QUICK = Timing(connect_s=1, list_s=0.3, watch_s=20, first_delay_s=0.01, longest_delay_s=0.05)
VERSION = "infermesh.dev/v1alpha1"


def tenant(name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": VERSION, "kind": "Tenant", "metadata": {"name": name}, "spec": spec}


class Follower:
    """An informer of the tenants, and what it told."""

    def __init__(self, client: "ApiClient", metrics: Metrics, timing: Timing = QUICK) -> None:
        self.told: list[list[str]] = []
        source = custom_resources(client, "mesh", "tenants", api_version=VERSION)
        self.informer = Informer(source, self._tell, metrics, timing=timing)
        self.metrics = metrics

    def _tell(self, objects: Objects) -> None:
        self.told.append(sorted(objects))

    async def knows(self, *names: str) -> None:
        await eventually(
            lambda: self.informer.synced and sorted(self.informer.objects) == sorted(names),
            what=f"{sorted(names)}, not {sorted(self.informer.objects)}",
        )

    def failures(self) -> float:
        labels = {"source": "tenants"}
        return self.metrics.sample("infermesh_kubernetes_watch_failures_total", labels)


@pytest.fixture
def follower(api_client: "ApiClient", metrics: Metrics) -> Follower:
    return Follower(api_client, metrics)


async def test_what_is_there_is_told_once_even_if_it_is_nothing(
    api: FakeApiServer, follower: Follower, running: Running
) -> None:
    async with running(follower.informer.run()):
        await follower.knows()
        assert follower.told == [[]]
        api.put("tenants", tenant("acme"))
        await follower.knows("acme")
    assert follower.told == [[], ["acme"]]


async def test_changes_and_removals_are_told(
    api: FakeApiServer, follower: Follower, running: Running
) -> None:
    api.put("tenants", tenant("acme", suspended=False))
    api.put("models", tenant("another-kind"))
    async with running(follower.informer.run()):
        await follower.knows("acme")
        api.put("tenants", tenant("acme", suspended=True))
        await eventually(lambda: follower.informer.objects["acme"]["spec"] == {"suspended": True})
        api.put("tenants", tenant("beta"))
        await follower.knows("acme", "beta")
        api.delete("tenants", "acme")
        await follower.knows("beta")


async def test_a_list_in_pages_is_put_together(
    api: FakeApiServer, follower: Follower, running: Running
) -> None:
    names = [f"t{number:04}" for number in range(1203)]
    for name in names:
        api.put("tenants", tenant(name))
    async with running(follower.informer.run()):
        await follower.knows(*names)
    assert len(follower.told) == 1
    assert api.lists("tenants") == 3


async def test_a_broken_watch_goes_on_where_a_bookmark_was(
    api: FakeApiServer, follower: Follower, running: Running
) -> None:
    async with running(follower.informer.run()):
        await follower.knows()
        mark = api.bookmark()
        api.put("tenants", tenant("acme"))
        await follower.knows("acme")
        last = api.bookmark()
        api.say(b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "%d"}}}\n' % last)
        api.put("tenants", tenant("beta"))
        await follower.knows("acme", "beta")
        api.break_connections()
        await eventually(lambda: len(api.watches("tenants")) > 1)
    assert int(api.watches("tenants")[1].query["resourceVersion"]) > last > mark
    assert api.watches("tenants")[0].query["allowWatchBookmarks"] in ("true", "True")
    assert api.lists("tenants") == 1


@pytest.mark.parametrize("in_watch", [False, True], ids=["as a status", "as an event"])
async def test_nothing_is_missed_when_the_version_to_continue_from_is_gone(
    api: FakeApiServer, follower: Follower, running: Running, in_watch: bool
) -> None:
    api.put("tenants", tenant("acme"))
    api.put("tenants", tenant("gone"))
    api.expire_in_watch = in_watch
    async with running(follower.informer.run()):
        await follower.knows("acme", "gone")
        api.stop()
        api.delete("tenants", "gone")
        api.put("tenants", tenant("beta"))
        api.expire()
        api.start()
        await follower.knows("acme", "beta")
        api.put("tenants", tenant("gamma"))
        await follower.knows("acme", "beta", "gamma")
    assert api.lists("tenants") == 2


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "ADDED", "object": {"metadata": {"na\n',
        b'{"type": "ADDED", "object": {"metadata": {}}}\n',
        b'{"type": "ERROR", "object": {"code": 500, "reason": "x", "message": "y"}}\n',
        b"\n",
    ],
    ids=["cut short", "without a name", "an error", "empty"],
)
async def test_an_event_that_cannot_be_read_comes_again(
    api: FakeApiServer, follower: Follower, running: Running, line: bytes
) -> None:
    async with running(follower.informer.run()):
        await follower.knows()
        api.say(line)
        await eventually(lambda: follower.failures() == 1)
        api.put("tenants", tenant("acme"))
        await follower.knows("acme")
    assert api.lists("tenants") == 1


async def test_what_is_known_stays_while_the_api_server_is_away(
    api: FakeApiServer, follower: Follower, running: Running, metrics: Metrics
) -> None:
    api.put("tenants", tenant("acme"))
    assert follower.informer.age_s() == float("inf")
    async with running(follower.informer.run()):
        await follower.knows("acme")
        before = follower.informer.age_s()
        api.stop()
        await eventually(lambda: follower.failures() >= 3)
        assert sorted(follower.informer.objects) == ["acme"]
        assert follower.informer.age_s() > before
        age = metrics.sample("infermesh_kubernetes_watch_age_seconds", {"source": "tenants"})
        assert 0 < age < float("inf")
        api.put("tenants", tenant("beta"))
        api.start()
        await follower.knows("acme", "beta")
    assert follower.told == [["acme"], ["acme", "beta"]]


async def test_an_api_server_that_comes_up_later_is_found(
    api: FakeApiServer, follower: Follower, running: Running
) -> None:
    api.stop()
    async with running(follower.informer.run()):
        await eventually(lambda: follower.failures() >= 2)
        assert not follower.informer.synced
        api.start()
        await follower.knows()


@pytest.mark.parametrize("status", [403, 404, 429, 500])
async def test_a_refusal_is_retried_and_harms_nothing(
    api: FakeApiServer, follower: Follower, running: Running, status: int
) -> None:
    api.refuse = lambda request: ApiError(status, "Refused")
    async with running(follower.informer.run()):
        await eventually(lambda: follower.failures() >= 2)
        assert not follower.informer.synced
        api.refuse = lambda request: None
        await follower.knows()


async def test_watches_that_end_at_once_are_taken_for_failures(
    api: FakeApiServer, follower: Follower, running: Running
) -> None:
    api.end_watches = True
    async with running(follower.informer.run()):
        await eventually(lambda: follower.failures() >= 5)
        failed, opened = follower.failures(), len(api.watches("tenants"))
        assert opened <= failed + 1, "each but the last is followed by a delay"
        api.end_watches = False
        api.put("tenants", tenant("acme"))
        await follower.knows("acme")


async def test_a_watch_that_the_server_ends_goes_on(
    api: FakeApiServer, api_client: "ApiClient", metrics: Metrics, running: Running
) -> None:
    follower = Follower(api_client, metrics, Timing(watch_s=1, first_delay_s=0.01))
    async with running(follower.informer.run()):
        await eventually(lambda: len(api.watches("tenants")) >= 2)
        api.put("tenants", tenant("acme"))
        await follower.knows("acme")
    assert follower.failures() == 0


async def test_silence_is_not_waited_for_for_ever(
    api: FakeApiServer, api_client: "ApiClient", metrics: Metrics, running: Running
) -> None:
    follower = Follower(
        api_client,
        metrics,
        Timing(connect_s=0.2, list_s=0.2, watch_s=0.2, first_delay_s=0.01, longest_delay_s=0.02),
    )
    api.silent = True
    async with running(follower.informer.run()):
        await eventually(lambda: follower.failures() >= 2, what="lists are given up")
        api.silent = False
        await follower.knows()
        api.silent = True
        before = follower.failures()
        await eventually(lambda: follower.failures() >= before + 2, what="watches are given up")
        api.put("tenants", tenant("acme"))
        api.silent = False
        await follower.knows("acme")


async def test_it_ends_at_once_while_it_watches_and_while_it_waits(
    api: FakeApiServer, follower: Follower, running: Running
) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "informer" in thread.name]

    async with running(follower.informer.run()):
        await eventually(lambda: len(api.watches("tenants")) == 1)
        assert threads() == ["informer-tenants"]
    assert threads() == []
    api.stop()
    async with running(follower.informer.run()):
        await eventually(lambda: follower.failures() >= 1)
    assert threads() == []


async def test_a_call_that_hangs_does_not_hold_up_the_end(
    api: FakeApiServer, api_client: "ApiClient", metrics: Metrics, running: Running
) -> None:
    follower = Follower(api_client, metrics, Timing(list_s=60))
    api.silent = True
    async with running(follower.informer.run()):
        await eventually(lambda: api.lists("tenants") == 1)
    api.put("tenants", tenant("acme"))
    api.silent = False
    await eventually(lambda: not [t for t in threading.enumerate() if t.name == "informer-tenants"])
    assert follower.told == []


async def test_a_listener_that_fails_is_counted_and_hears_of_the_next_change(
    api: FakeApiServer, api_client: "ApiClient", metrics: Metrics, running: Running
) -> None:
    heard: list[Objects] = []

    def listen(objects: Objects) -> None:
        heard.append(objects)
        if len(heard) == 1:
            raise LookupError

    source = custom_resources(api_client, "mesh", "tenants", api_version=VERSION)
    async with running(Informer(source, listen, metrics, timing=QUICK).run()):
        await eventually(lambda: len(heard) == 1)
        api.put("tenants", tenant("acme"))
        await eventually(lambda: len(heard) == 2)
    labels = {"task": "informer-tenants"}
    assert metrics.sample("infermesh_background_failures_total", labels) == 1


async def test_one_secret_is_followed_and_no_other_is_asked_for(
    api: FakeApiServer, api_client: "ApiClient", metrics: Metrics, running: Running
) -> None:
    secret = {"metadata": {"name": "openai"}, "data": {"key": "c2VjcmV0"}}
    api.put("secrets", {**secret, "metadata": {"name": "another"}})
    source = one_secret(api_client, "mesh", "openai")
    informer = Informer(source, lambda _: None, metrics, timing=QUICK)
    async with running(informer.run()):
        await eventually(lambda: informer.synced)
        assert informer.objects == {}
        api.put("secrets", secret)
        await eventually(lambda: list(informer.objects) == ["openai"])
        assert informer.objects["openai"]["data"] == {"key": "c2VjcmV0"}
    asked = [request for request in api.requests if request.path.endswith("/mesh/secrets")]
    assert {request.query["fieldSelector"] for request in asked} == {"metadata.name=openai"}


def test_a_process_without_a_way_to_a_cluster_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no way to the API server"):
        kubernetes_client(tmp_path / "none")
    code = (
        "from infermesh_common.kubernetes.client import kubernetes_client\n"
        "from infermesh_common.settings import SettingsError\n"
        "try: kubernetes_client()\n"
        "except SettingsError as error: print(error)\n"
    )
    environment = {"HOME": str(tmp_path), "PATH": ""}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "no way to the API server" in said.stdout, said.stderr


def test_the_client_library_is_not_imported_by_who_follows_nothing() -> None:
    code = (
        "import sys\n"
        "import infermesh_common.resources.factory, infermesh_common.kubernetes.informer\n"
        "import infermesh_common.kubernetes.lease, infermesh_common.kubernetes.status\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'kubernetes'])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"

"""Keys of providers come from Secrets and from Vault, and are rotated without a restart."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import openai
import pytest

from tests.cluster.documents import Document
from tests.cluster.load import ConstantLoad, Refused
from tests.cluster.mesh import LATENCY_MS, MeshOnCluster, ask
from tests.cluster.polling import until
from tests.cluster.vault_pod import VaultPod

SOURCES = ("secret", "vault")
_PER_SECOND = 10


def document(mesh: MeshOnCluster, kind: str, name: str, **spec: object) -> Document:
    return {
        "apiVersion": "infermesh.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": mesh.kubectl.namespace},
        "spec": spec,
    }


def write_key(mesh: MeshOnCluster, source: str, key: str) -> None:
    """The provider's key is that from now on."""
    if source == "vault":
        VaultPod(mesh).put("providers/rotated", "api-key", key)
        return
    encoded = base64.b64encode(key.encode()).decode()
    mesh.kubectl.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "rotated", "namespace": mesh.kubectl.namespace},
                "data": {"api-key": encoded},
            }
        ]
    )


@pytest.fixture
def rotated(mesh: MeshOnCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A model whose provider says which key it was called with; the source of its key."""
    source: str = request.param
    mesh.simulator.script(
        {
            "latency": {"headers_ms": LATENCY_MS},
            "rules": [
                {
                    "when": {"header": {"authorization": f"Bearer key-{number}"}},
                    "answer": {"text": f"key-{number}"},
                }
                for number in (1, 2)
            ]
            + [{"fault": {"name": "status_error", "status": 401}, "when": {"model": "rotated"}}],
        }
    )
    where = {"secret": {"name": "rotated"}, "vault": {"path": "providers/rotated"}}[source]
    write_key(mesh, source, "key-1")
    base_url = f"http://simulator.{mesh.kubectl.namespace}.svc:8080/v1"
    prices = {"overlay": {"source": "made up", "input": 1, "output": 2}}
    mesh.kubectl.apply(
        [
            document(
                mesh,
                "Provider",
                "rotated",
                baseUrl=base_url,
                auth={source: {**where, "key": "api-key"}},
            ),
            document(
                mesh,
                "Model",
                "rotated",
                provider="rotated",
                upstreamModel="rotated",
                contextTokens=8192,
                pricing=prices,
            ),
        ]
    )
    yield source
    mesh.kubectl.delete("models.infermesh.dev", "rotated")
    mesh.kubectl.delete("providers.infermesh.dev", "rotated")
    mesh.simulator.script({"latency": {"headers_ms": LATENCY_MS}})


def called_with(mesh: MeshOnCluster, question: str) -> str:
    """Which key the provider was called with; why there was no answer otherwise."""
    with mesh.client() as client:
        try:
            return ask(client, question, "rotated")
        except openai.APIError as error:
            return f"{error.code} {error.message}"


@pytest.mark.usefixtures("cluster")
class TestSecrets:
    """A mesh with a provider whose key is kept in the cluster."""

    @pytest.mark.parametrize("rotated", SOURCES, indirect=True)
    async def test_a_rotation_takes_effect_without_a_restart_or_a_failure(
        self, mesh: MeshOnCluster, rotated: str
    ) -> None:
        pods = set(mesh.release.pods("router"))
        ready = await asyncio.to_thread(
            until,
            lambda: called_with(mesh, "Before?") == "key-1",
            what="the first key",
            within_s=60,
        )
        assert ready
        seen: list[str] = []
        async with mesh.async_client() as client:

            async def send(number: int) -> None:
                answer = await client.chat.completions.create(
                    model="rotated",
                    messages=[{"role": "user", "content": f"{rotated} {number}"}],
                )
                content = answer.choices[0].message.content or ""
                seen.append(content)
                if content not in ("key-1", "key-2"):
                    raise Refused(content)

            async with ConstantLoad(send, per_second=_PER_SECOND) as load:
                await load.for_requests(20)
                await asyncio.to_thread(write_key, mesh, rotated, "key-2")
                async with asyncio.timeout(60):
                    while seen[-20:] != ["key-2"] * 20:
                        await load.for_requests(1)
        assert not load.report.failed, str(load.report)
        assert "key-1" in seen
        assert set(mesh.release.pods("router")) == pods

    @pytest.mark.parametrize("rotated", ["vault"], indirect=True)
    def test_a_sealed_vault_stops_nothing_that_runs_and_a_start_without_it_says_so(
        self, mesh: MeshOnCluster, rotated: str
    ) -> None:
        until(lambda: called_with(mesh, f"{rotated}?") == "key-1", what="the key", within_s=60)
        vault = VaultPod(mesh)
        vault.seal()
        try:
            assert called_with(mesh, "Sealed at run time?") == "key-1"
            mesh.faults.restart(f"deployment/{mesh.release.fullname}-router")
            said = called_with(mesh, "Sealed at the start?")
            assert "provider_key_missing" in said and "VaultSealed" in said
            with mesh.client() as client:
                assert ask(client, "What needs no Vault is answered?")
        finally:
            vault.replace()
        until(
            lambda: called_with(mesh, "Open again?") == "key-1",
            what="the key out of Vault",
            within_s=90,
        )

    @pytest.mark.parametrize("rotated", ["secret"], indirect=True)
    def test_a_secret_that_may_not_be_read_is_named_in_the_status(
        self, mesh: MeshOnCluster, rotated: str
    ) -> None:
        other = document(
            mesh,
            "Provider",
            "forbidden",
            baseUrl="http://nowhere.invalid/v1",
            auth={"secret": {"name": f"{mesh.release.fullname}-operator-key", "key": "x"}},
        )
        mesh.kubectl.apply([other])
        try:
            until(
                lambda: "providerSecrets" in self._not_ready(mesh, "forbidden"),
                what="Ready=False with what to do",
                within_s=60,
            )
            until(
                lambda: called_with(mesh, f"{rotated}?") == "key-1", what="the other", within_s=60
            )
        finally:
            mesh.kubectl.delete("providers.infermesh.dev", "forbidden")

    @staticmethod
    def _not_ready(mesh: MeshOnCluster, provider: str) -> str:
        conditions = mesh.kubectl.run(
            "get",
            "providers.infermesh.dev",
            provider,
            "-o",
            'jsonpath={.status.conditions[?(@.type=="Ready")]}',
        )
        return conditions if '"status":"False"' in conditions.replace(" ", "") else ""

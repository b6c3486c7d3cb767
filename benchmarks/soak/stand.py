"""The mesh as it is soaked: four wires that fail, one provider that stands in, two tenants."""

import contextlib
import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import infermesh
from benchmarks.processes import wait_until
from benchmarks.soak.provider import Provider
from infermesh_common.testing.resources import Document, model, resource
from infermesh_common.testing.servers import free_port
from infermesh_local import LocalMesh, MeshInfo, UpOptions
from infermesh_local.layout import StateLayout
from infermesh_local.settings import load_local_settings

PLAIN, BACKED = "plain", "backed"
"""Tenants: whose requests fail with their model, and whose requests another model then answers."""
WIRES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "bedrock": ""}
STEADY = "steady"
TIMEOUTS = {"connectMs": 500, "firstTokenMs": 1500, "betweenTokensMs": 1000, "totalMs": 4000}
RATES = {
    "input": Decimal("0.37"),
    "cached_input": Decimal("0.11"),
    "cache_write_input": Decimal("0.53"),
    "output": Decimal("1.9"),
    "reasoning": Decimal("2.3"),
}
"""US dollars per million tokens, by bucket."""
_SERVICES = ("router", "cache", "governance", "analytics", "envoy", "redis")
# Its usual bound is reached after half an hour, until when copies would look like a leak.
_SETTINGS = {"INFERMESH_ROUTER__NEAR_CACHE__MAX_BYTES": "1048576"}
# So that answers are made anew all the time, and what is kept of them does not grow.
_TTL_S = 30


def model_of(wire: str) -> str:
    """Name of the Model resource behind a wire."""
    return f"{wire}-model"


def worth(tokens: Mapping[str, int]) -> Decimal:
    """US dollars of tokens by bucket, exact."""
    return sum((RATES[name] * count for name, count in tokens.items()), Decimal(0)) / 1_000_000


@dataclass(frozen=True, slots=True)
class Soaked:
    """A mesh that runs.

    Attributes:
        info: as local mode tells it.
        operator: a client with an operator's key.
        keys: API keys by tenant.
        pids: of the processes that are watched, by name.
        metrics_url: of the router.
    """

    info: MeshInfo
    operator: infermesh.Client
    keys: Mapping[str, str]
    pids: Mapping[str, int]
    metrics_url: str

    def under_way(self) -> int:
        """Requests that the router has begun and not ended."""
        name = 'infermesh_rpc_in_flight{service="router"} '
        with urllib.request.urlopen(self.metrics_url, timeout=10) as response:
            for line in response.read().decode().splitlines():
                if line.startswith(name):
                    return int(float(line.removeprefix(name)))
        return 0


@contextlib.contextmanager
def mesh(folder: Path, failing: Provider, steady: Provider) -> Iterator[Soaked]:
    """Runs while the block does, with the settings of every mesh but for the bound of copies.

    Args:
        folder: of its state.
        failing: simulator behind all wires.
        steady: simulator that stands in.

    Raises:
        LocalMeshError: it does not start.
        NotReady: the resources do not come into force.
    """
    local = LocalMesh(folder, settings=load_local_settings({**os.environ, **_SETTINGS}))
    info = local.up(UpOptions(port=free_port()), lambda line: print(f"  {line}"))
    try:
        credentials = info.state_dir / "bedrock-credentials"
        credentials.write_text("key-id:made-up")
        text = "\n---\n".join(map(json.dumps, _documents(failing, steady, credentials)))
        (info.resources_dir / "soak.yaml").write_text(text)
        with infermesh.Client(info.url, info.operator_key_file.read_text().strip()) as operator:
            wait_until(lambda: _in_force(operator), "the resources' coming into force")
            keys = {name: operator.create_key(tenant=name).secret for name in (PLAIN, BACKED)}
            for key in keys.values():
                wait_until(lambda: _admitted(info, key), "the first use of a new key")
            pids = {p.name: p.pid for p in local.status().processes if p.pid is not None}
            ports = json.loads(StateLayout.at(info.state_dir).ports_file.read_text())
            yield Soaked(
                info,
                operator,
                keys,
                {name: pids[name] for name in _SERVICES},
                f"http://127.0.0.1:{ports['router-metrics']}/metrics",
            )
    finally:
        local.down(lambda line: None)


def _documents(failing: Provider, steady: Provider, credentials: Path) -> list[Document]:
    fallbacks = {model_of(wire): [STEADY] for wire in WIRES}
    return [
        *(_provider(wire, wire, failing.url + path, credentials) for wire, path in WIRES.items()),
        _provider(STEADY, "openai", f"{steady.url}/v1", credentials),
        *(_model(model_of(wire), wire) for wire in WIRES),
        _model(STEADY, STEADY),
        resource("RoutePolicy", BACKED, fallbacks=fallbacks),
        resource("CachePolicy", "soak", ttlSeconds=_TTL_S),
        resource("Tenant", PLAIN, cachePolicy="soak"),
        resource("Tenant", BACKED, routePolicy=BACKED, cachePolicy="soak"),
    ]


def _provider(name: str, wire: str, url: str, credentials: Path) -> Document:
    # Requests to Bedrock are signed: without credentials none is sent.
    signed = {"region": "eu-central-1", "auth": {"file": str(credentials)}}
    more = signed if wire == "bedrock" else {}
    return resource(
        "Provider",
        name,
        protocol=wire,
        baseUrl=url,
        timeouts=TIMEOUTS,
        maxConcurrent=512,
        **more,
    )


def _model(name: str, provider: str) -> Document:
    overlay = {_camel(bucket): str(rate) for bucket, rate in RATES.items()}
    return model(
        name,
        provider=provider,
        upstreamModel=name,
        capabilities=["chat"],
        contextTokens=100_000,
        pricing={"overlay": {"source": "soak", **overlay}},
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _in_force(operator: infermesh.Client) -> bool:
    tenants = {tenant.name for tenant in operator.tenants()}
    return {PLAIN, BACKED} <= tenants and STEADY in {known.name for known in operator.models()}


def _admitted(info: MeshInfo, key: str) -> bool:
    headers = {"authorization": f"Bearer {key}"}
    try:
        request = urllib.request.Request(f"{info.url}/v1/models", headers=headers)
        with urllib.request.urlopen(request, timeout=5):
            return True
    except OSError:
        return False

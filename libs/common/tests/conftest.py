"""Fixtures of the tests of libs/common."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml
from hypothesis import settings
from hypothesis import strategies as st

from infermesh_common.background import end_tasks
from infermesh_common.kubernetes.client import kubernetes_client
from infermesh_common.kubernetes.testing.api_server import FakeApiServer
from infermesh_common.resources.types import KINDS
from infermesh_common.testing.rpc import RecordingObserver

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("libs_common", deadline=None, print_blob=True)
settings.load_profile("libs_common")

PACKAGES = Path(__file__).parent / "packages"
REPOSITORY = Path(__file__).parents[3]
DEFINITIONS = REPOSITORY / "deploy/helm/infermesh/crds"


@pytest.fixture
def observer() -> RecordingObserver:
    """Sees every RPC of one test."""
    return RecordingObserver()


@pytest.fixture(scope="session")
def probe_packages() -> Iterator[Path]:
    """Folder that holds `infermesh_probe`, a service that is nothing but the kit; importable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PACKAGES)
        yield PACKAGES


@pytest.fixture
def running() -> Callable[..., object]:
    """Runs coroutines in the background for as long as a block lasts."""

    @asynccontextmanager
    async def run(*work: Any) -> AsyncIterator[list[asyncio.Task[None]]]:
        tasks = [asyncio.create_task(coroutine) for coroutine in work]
        try:
            yield tasks
        finally:
            await end_tasks(tasks)

    return run


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    """An API server that fails as it is told to."""
    with FakeApiServer() as server:
        yield server


@pytest.fixture
def api_client(api: FakeApiServer, tmp_path: Path) -> Iterator["ApiClient"]:
    """A client of `api`."""
    client: Any = kubernetes_client(api.kubeconfig(tmp_path))
    yield client
    client.close()


def _kubeconfig() -> Path:
    """The file that leads to a real cluster: KUBECONFIG's, or that of the cluster kit, which is
    started if it is not up."""
    if os.environ.get("INFERMESH_CLUSTER_TESTS") != "1":
        pytest.skip("needs a cluster: INFERMESH_CLUSTER_TESTS=1")
    if given := os.environ.get("KUBECONFIG"):
        return Path(given)
    kit = Path(os.environ.get("INFERMESH_CLUSTER_KIT") or REPOSITORY.parent / "shared/cluster")
    if not (kit / "up").is_file():
        pytest.skip("needs a cluster: set KUBECONFIG, or INFERMESH_CLUSTER_KIT to its kit's folder")
    started = subprocess.run([kit / "up"], capture_output=True, text=True)
    for line in started.stdout.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        if name == "KUBECONFIG":
            return Path(value.strip("'\""))
    raise RuntimeError(f"the cluster of {kit} does not start: {started.stderr[-500:]}")


@pytest.fixture(scope="session")
def cluster() -> Iterator["ApiClient"]:
    """A client of a real API server that serves the custom resources.

    Their definitions stay there: others may use them.
    """
    from kubernetes.client import ApiextensionsV1Api

    client: Any = kubernetes_client(_kubeconfig())
    api: Any = ApiextensionsV1Api(client)
    names = []
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        names.append(document["metadata"]["name"])
        api.patch_custom_resource_definition(
            names[-1],
            document,
            field_manager="infermesh-tests",
            force=True,
            _content_type="application/apply-patch+yaml",
        )
    for name in names:
        while not any(
            condition.type == "Established" and condition.status == "True"
            for condition in api.read_custom_resource_definition(name).status.conditions or []
        ):
            continue
    yield client
    client.close()


@pytest.fixture(scope="module")
def namespace(cluster: "ApiClient") -> Iterator[str]:
    """A namespace of the module's own in the real cluster."""
    from kubernetes.client import CoreV1Api

    core: Any = CoreV1Api(cluster)
    name = f"infermesh-test-{uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


class _Documents:
    """Documents of a kind: every field of the right type, rules between fields kept or not."""

    def __call__(self, kind: str) -> st.SearchStrategy[dict[str, Any]]:
        schema = KINDS[kind].model_json_schema()
        definitions = schema["$defs"]
        reference = {"$ref": schema["properties"]["spec"]["$ref"]}
        return st.fixed_dictionaries(
            {
                "apiVersion": st.just("infermesh.dev/v1alpha1"),
                "kind": st.just(kind),
                "metadata": st.just({"name": "made-up"}),
                "spec": self._value(reference, definitions),
            }
        )

    def _value(self, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self._value(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        if "anyOf" in schema:
            return st.one_of(*(self._value(each, definitions) for each in schema["anyOf"]))
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if isinstance(schema["type"], list):
            numbers = st.floats(0, 1e6, allow_subnormal=False).filter(lambda n: n == round(n, 9))
            texts = st.decimals(0, 10**9, places=9).map(str).filter(lambda text: "E" not in text)
            return st.one_of(st.integers(0, 10**9), numbers, texts)
        made: Callable[[dict[str, Any], dict[str, Any]], Any] = getattr(self, f"_{schema['type']}")
        return made(schema, definitions)

    def _null(self, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
        return st.none()

    def _boolean(self, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
        return st.booleans()

    def _integer(self, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
        least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        return st.integers(least, schema.get("maximum", 2**53))

    def _number(self, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
        return st.floats(schema["minimum"], schema["maximum"], allow_subnormal=False)

    def _string(self, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
        least, most = schema.get("minLength", 0), schema.get("maxLength", 300)
        if pattern := schema.get("pattern"):
            printable = st.characters(min_codepoint=33, max_codepoint=126)
            texts = st.from_regex(pattern, fullmatch=True, alphabet=printable)
            return texts.filter(lambda text: least <= len(text) <= most)
        characters = st.characters(exclude_categories=("Cs", "Cc"))
        return st.text(characters, min_size=least, max_size=20)

    def _array(self, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
        return st.lists(self._value(schema["items"], definitions), max_size=3)

    def _object(self, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
        if "properties" not in schema:
            patterns = schema.get("patternProperties") or {".*": schema["additionalProperties"]}
            ((pattern, value),) = patterns.items()
            keys = self._string({"pattern": pattern} if pattern != ".*" else {}, definitions)
            return st.dictionaries(keys, self._value(value, definitions), max_size=3)
        fields = {
            name: self._value(field, definitions) for name, field in schema["properties"].items()
        }
        required = set(schema.get("required", []))
        return st.fixed_dictionaries(
            {name: field for name, field in fields.items() if name in required},
            optional={name: field for name, field in fields.items() if name not in required},
        )


@pytest.fixture(scope="session")
def documents() -> _Documents:
    """Makes strategies for documents of a kind."""
    return _Documents()


@pytest.fixture(scope="session")
def invalid_documents() -> list[tuple[str, dict[str, Any]]]:
    """What is wrong with a document, and the document."""
    secret = {"file": "/run/key"}
    provider: dict[str, Any] = {"baseUrl": "https://provider.test/v1"}
    model: dict[str, Any] = {"provider": "p", "upstreamModel": "u", "contextTokens": 1}

    def priced(**prices: object) -> dict[str, Any]:
        return {**model, "pricing": {"overlay": {"source": "s", **prices}}}

    both = {"catalog": {"provider": "p", "model": "m"}, "overlay": {"source": "s"}}
    specs: list[tuple[str, str, dict[str, Any]]] = [
        (
            "two ways to sign in",
            "Provider",
            {**provider, "auth": secret, "keys": [{"secret": secret}]},
        ),
        ("no region", "Provider", {**provider, "protocol": "bedrock"}),
        ("no secret", "Provider", {**provider, "auth": {}}),
        (
            "two secrets",
            "ApiKey",
            {"tenant": "t", "secretRef": {**secret, "vault": {"path": "p", "key": "k"}}},
        ),
        ("two prices", "Model", {**model, "pricing": both}),
        ("no url", "Provider", {}),
        ("url that ends in a slash", "Provider", {"baseUrl": "https://provider.test/"}),
        ("unknown protocol", "Provider", {**provider, "protocol": "telex"}),
        ("unknown field", "Provider", {**provider, "colour": "red"}),
        ("name of Python", "Provider", {**provider, "max_concurrent": 1}),
        ("unknown field inside", "Provider", {**provider, "timeouts": {"colour": 1}}),
        ("nothing at once", "Provider", {**provider, "maxConcurrent": 0}),
        ("number in quotes", "Provider", {**provider, "maxConcurrent": "1"}),
        ("half a call", "Provider", {**provider, "maxConcurrent": 1.5}),
        ("too many keys", "Provider", {**provider, "keys": [{"secret": secret}] * 65}),
        ("header that is a number", "Provider", {**provider, "headers": {"x": 1}}),
        ("text for a list", "Model", {**model, "aliases": "a"}),
        ("unknown capability", "Model", {**model, "capabilities": ["flight"]}),
        ("too good", "Model", {**model, "quality": {"general": 1.1}}),
        ("no such name", "Model", {**model, "provider": "No Name"}),
        ("negative price", "Model", priced(input=-1)),
        ("negative price in quotes", "Model", priced(input="-1")),
        ("price in words", "Model", priced(input="cheap")),
        ("price that is a list", "Model", priced(input=[1])),
        ("price that is an object", "Model", priced(input={"usd": 1})),
        ("price that is true", "Model", priced(input=True)),
        ("price without end", "Model", priced(input=10**10)),
        ("nobody to ask", "Model", {**model, "pricing": {"overlay": {"source": ""}}}),
        ("no attempt", "RoutePolicy", {"maxAttempts": 0}),
        ("too many attempts", "RoutePolicy", {"maxAttempts": 11}),
        ("number for a switch", "CachePolicy", {"enabled": 1}),
        ("word for a switch", "CachePolicy", {"enabled": "yes"}),
        ("too hot", "CachePolicy", {"maxTemperature": 2.1}),
        ("no time", "CachePolicy", {"ttlSeconds": 0}),
        ("unknown role", "ApiKey", {"tenant": "t", "secretRef": secret, "role": "king"}),
    ]
    return [
        (
            what,
            {
                "apiVersion": "infermesh.dev/v1alpha1",
                "kind": kind,
                "metadata": {"name": "invalid"},
                "spec": spec,
            },
        )
        for what, kind, spec in specs
    ]

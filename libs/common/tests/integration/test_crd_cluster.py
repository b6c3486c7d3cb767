"""A real API server takes the resources that files may hold, and no others."""

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infermesh_common.resources.declaration import plural
from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import KINDS

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Document = dict[str, Any]


class Cluster:
    """Asks the API server what it thinks of a document."""

    def __init__(self, client: "ApiClient", namespace: str) -> None:
        from kubernetes.client import CustomObjectsApi

        self._api: Any = CustomObjectsApi(client)
        self._namespace = namespace

    def create(self, document: Document, *, dry_run: bool = True) -> Document:
        group, _, version = document["apiVersion"].partition("/")
        where = (group, version, self._namespace, plural(document["kind"]))
        options = {"dry_run": "All"} if dry_run else {}
        created: Document = self._api.create_namespaced_custom_object(
            *where, document, field_validation="Strict", **options
        )
        return created

    def fault(self, document: Document) -> str:
        """Empty when it would be taken."""
        from kubernetes.client import ApiException

        try:
            self.create(document)
        except ApiException as error:
            assert error.status in (400, 422), error
            return f"{error.status} {error.body}"
        return ""


@pytest.fixture(scope="module")
def asked(cluster: "ApiClient", namespace: str) -> Cluster:
    return Cluster(cluster, namespace)


def _fault_in_a_file(document: Document) -> str:
    try:
        parse(document, "")
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_files_and_clusters_agree(
    kind: str, data: st.DataObject, documents: Any, asked: Cluster
) -> None:
    document = data.draw(documents(kind))
    here, there = _fault_in_a_file(document), asked.fault(document)
    assert bool(here) == bool(there), f"{here!r} but {there!r}"


def test_what_is_invalid_in_a_file_is_refused(
    invalid_documents: list[tuple[str, Document]], asked: Cluster
) -> None:
    for what, document in invalid_documents:
        assert asked.fault(document), what


@pytest.mark.parametrize("name", ["a..b", "a.-b", "-a", "A", "a_b", "", "a" * 254])
def test_names_are_what_kubernetes_takes_for_one(name: str, asked: Cluster) -> None:
    document = {
        "apiVersion": "infermesh.dev/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {},
    }
    assert _fault_in_a_file(document)
    if name:  # without one it is a resource to be named by the server, which is no file's case
        assert asked.fault(document)


@pytest.mark.parametrize("amount", [0.15, "0.15", "1234567890.123456789012345678", 3, 1e-9])
def test_amounts_come_back_as_they_were(amount: object, asked: Cluster) -> None:
    document = {
        "apiVersion": "infermesh.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "amounts"},
        "spec": {
            "provider": "p",
            "upstreamModel": "u",
            "contextTokens": 1,
            "pricing": {"overlay": {"source": "contract", "input": amount}},
        },
    }
    returned = asked.create(document)["spec"]
    assert returned == document["spec"], "nothing is filled in, nothing rounded"
    here, there = parse(document, ""), parse({**document, "spec": returned}, "")
    assert here == there


def test_an_empty_spec_is_enough_where_files_need_none(asked: Cluster) -> None:
    for kind in ("RoutePolicy", "CachePolicy", "Tenant"):
        bare = {
            "apiVersion": "infermesh.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": "bare"},
        }
        assert not asked.fault(bare) and not _fault_in_a_file(bare)

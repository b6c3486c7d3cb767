"""`infermesh doctor --kube`: definitions, what the services say of resources, leases, the vault."""

import pytest

from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.components import METRICS_PORT, VAULT_PORT
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.testing.fake_cluster import (
    FakeCluster,
    ago,
    condition,
    container,
)
from infermesh.cli.kube_doctor.testing.mesh import diagnosed, healthy_mesh

KINDS = {kind.name: kind for kind in kinds.RESOURCES}
PROVIDERS = "providers.infermesh.dev"
VAULT = "mesh-infermesh-vault-0"


@pytest.fixture
def mesh() -> FakeCluster:
    """A mesh that works."""
    return healthy_mesh()


def the_finding(mesh: FakeCluster, kind: FindingClass, severity: Severity) -> Finding:
    """The only finding; its class, severity and exit code are as stated."""
    report = diagnosed(mesh)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == (kind, severity)
    assert report.exit_code == kind.exit_code
    return finding


def test_a_missing_definition_hides_what_follows_from_it(mesh: FakeCluster) -> None:
    mesh.remove(kinds.DEFINITION, PROVIDERS)
    mesh.unknown_kinds.add("Provider")
    condition(mesh, KINDS["Model"], "small", "Ready", "False", "ProviderNotFound", "no openai")
    container(mesh, "mesh-infermesh-router-0", ready=False)
    finding = the_finding(mesh, FindingClass.DEFINITIONS, Severity.ERROR)
    assert finding.about == (ObjectRef("CustomResourceDefinition", PROVIDERS),)
    assert finding.next == "helm show crds CHART | kubectl apply --server-side -f -"
    assert {f.kind for f in diagnosed(mesh).consequences} == {
        FindingClass.RESOURCE,
        FindingClass.READINESS,
    }


def test_whoever_may_not_see_definitions_learns_from_the_kind(mesh: FakeCluster) -> None:
    mesh.forbidden.add(("get", kinds.DEFINITION.resource))
    assert diagnosed(mesh).findings == []
    mesh.unknown_kinds.add("Tenant")
    finding = the_finding(mesh, FindingClass.DEFINITIONS, Severity.ERROR)
    assert finding.what == "The kind Tenant is not defined in the cluster."


def test_a_definition_must_be_in_force_with_our_version_and_a_status(mesh: FakeCluster) -> None:
    condition(mesh, kinds.DEFINITION, PROVIDERS, "NamesAccepted", "False", "Conflict", "taken")
    condition(mesh, kinds.DEFINITION, PROVIDERS, "Established", "False")
    assert "not in force: taken" in the_finding(mesh, FindingClass.DEFINITIONS, Severity.ERROR).what
    mesh.set(kinds.DEFINITION, PROVIDERS, "status.conditions", [])
    mesh.set(kinds.DEFINITION, PROVIDERS, "spec.versions", [{"name": "v1alpha1", "served": True}])
    assert "has no status" in the_finding(mesh, FindingClass.DEFINITIONS, Severity.ERROR).what
    mesh.set(kinds.DEFINITION, PROVIDERS, "spec.versions", [{"name": "v1beta1", "served": True}])
    assert "only v1beta1" in the_finding(mesh, FindingClass.DEFINITIONS, Severity.ERROR).what


def test_an_older_definition_is_a_warning(mesh: FakeCluster) -> None:
    path = "metadata.labels"
    mesh.set(kinds.DEFINITION, PROVIDERS, path, {"app.kubernetes.io/version": "0.0.9"})
    finding = the_finding(mesh, FindingClass.DEFINITIONS, Severity.WARNING)
    assert "of version 0.0.9, this program of 0.1.0" in finding.what
    mesh.set(kinds.DEFINITION, PROVIDERS, path, {"app.kubernetes.io/version": "0.2.0"})
    assert diagnosed(mesh).findings == []


@pytest.mark.parametrize("condition_name", ["Accepted", "Ready"])
def test_what_a_service_says_of_a_resource_is_passed_on(
    mesh: FakeCluster, condition_name: str
) -> None:
    condition(mesh, KINDS["Tenant"], "acme", condition_name, "False", "Wrong", "Do this.")
    finding = the_finding(mesh, FindingClass.RESOURCE, Severity.ERROR)
    assert "(Wrong): Do this." in finding.what and "tenant acme" in finding.next


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("Provider", "openai", "SecretEmpty"),
        ("Provider", "openai", "KubernetesDenied"),
        ("ApiKey", "ci", "KeyInvalid"),
        ("ApiKey", "ci", "VaultDenied"),
    ],
)
def test_keys_that_do_not_work_have_a_class_of_their_own(
    mesh: FakeCluster, kind: str, name: str, reason: str
) -> None:
    condition(mesh, KINDS[kind], name, "Ready", "False", reason, "write it as im_...")
    finding = the_finding(mesh, FindingClass.KEY, Severity.ERROR)
    assert f"({reason}): write it as im_..." in finding.what


def test_what_names_a_broken_resource_follows_from_it(mesh: FakeCluster) -> None:
    for kind, name in (("Provider", "openai"), ("Model", "small"), ("RoutePolicy", "default")):
        condition(mesh, KINDS[kind], name, "Ready", "False", "Unready", "see the other")
    condition(mesh, KINDS["Tenant"], "acme", "Ready", "False", "Unready", "see the other")
    condition(mesh, KINDS["ApiKey"], "ci", "Ready", "False", "TenantNotReady", "see the other")
    finding = the_finding(mesh, FindingClass.RESOURCE, Severity.ERROR)
    assert finding.about[0] == ObjectRef("Provider", "openai")


def test_what_names_a_refused_resource_follows_from_it(mesh: FakeCluster) -> None:
    condition(mesh, KINDS["Provider"], "openai", "Accepted", "False", "InvalidSpec", "no baseUrl")
    said = "names Provider openai: not found"
    condition(mesh, KINDS["Model"], "small", "Accepted", "False", "ReferenceNotFound", said)
    finding = the_finding(mesh, FindingClass.RESOURCE, Severity.ERROR)
    assert finding.about == (ObjectRef("Provider", "openai"),)
    mesh.remove(KINDS["Provider"], "openai")
    finding = the_finding(mesh, FindingClass.RESOURCE, Severity.ERROR)
    assert finding.about == (ObjectRef("Model", "small"),) and said in finding.what


def test_resources_that_nobody_has_seen_are_told_together(mesh: FakeCluster) -> None:
    for kind, name in (("Provider", "openai"), ("Model", "small")):
        mesh.set(KINDS[kind], name, "status", {})
    finding = the_finding(mesh, FindingClass.CONTROLLER, Severity.ERROR)
    assert finding.about == (ObjectRef("Provider", "openai"), ObjectRef("Model", "small"))
    assert "router, which should write it" in finding.what
    assert "deployment/mesh-infermesh-router" in finding.next


def test_a_resource_of_a_moment_ago_may_still_be_without_status(mesh: FakeCluster) -> None:
    mesh.set(KINDS["Tenant"], "acme", "status", {})
    mesh.set(KINDS["Tenant"], "acme", "metadata.creationTimestamp", ago(seconds=10))
    assert diagnosed(mesh).findings == []


def test_a_change_that_was_not_seen_is_told_when_it_is_not_fresh(mesh: FakeCluster) -> None:
    mesh.set(KINDS["Tenant"], "acme", "metadata.generation", 2)
    finding = the_finding(mesh, FindingClass.CONTROLLER, Severity.ERROR)
    assert "governance has not seen the last change" in finding.what
    changed = [
        {"time": ago(seconds=5)},
        {"time": ago(seconds=1), "subresource": "status"},
    ]
    mesh.set(KINDS["Tenant"], "acme", "metadata.managedFields", list(changed))
    assert diagnosed(mesh).findings == []


def test_status_belongs_to_nobody_when_the_service_is_not_deployed(mesh: FakeCluster) -> None:
    mesh.remove(kinds.DEPLOYMENT, "mesh-infermesh-governance")
    mesh.set(KINDS["Tenant"], "acme", "status", {})
    finding = the_finding(mesh, FindingClass.CONTROLLER, Severity.ERROR)
    assert finding.next == "kubectl -n ai get pods"


LEASE = "mesh-infermesh-router"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("spec.holderIdentity", "", "nobody holds the Lease"),
        ("spec.renewTime", None, "(last: never)"),
        ("spec.renewTime", ago(seconds=31), "does not renew it (last: 2026-05-04 11:59:29 UTC)"),
    ],
)
def test_a_lease_that_nobody_keeps_is_the_cause_of_missing_status(
    mesh: FakeCluster, path: str, value: str | None, words: str
) -> None:
    mesh.set(kinds.LEASE, LEASE, path, value)
    mesh.set(KINDS["Model"], "small", "status", {})
    finding = the_finding(mesh, FindingClass.CONTROLLER, Severity.ERROR)
    assert finding.about == (ObjectRef("Lease", LEASE),)
    assert words in finding.what and "Provider, Model, RoutePolicy, CachePolicy" in finding.what
    assert len(diagnosed(mesh).consequences) == 1


def test_a_lease_that_was_never_made_matters_after_a_minute(mesh: FakeCluster) -> None:
    mesh.remove(kinds.LEASE, LEASE)
    assert "never made" in the_finding(mesh, FindingClass.CONTROLLER, Severity.ERROR).what
    mesh.set(kinds.DEPLOYMENT, LEASE, "metadata.creationTimestamp", ago(seconds=30))
    assert diagnosed(mesh).findings == []


def test_leases_that_may_not_be_seen_are_no_missing_leases(mesh: FakeCluster) -> None:
    mesh.remove(kinds.LEASE)
    mesh.forbidden.add(("list", kinds.LEASE.resource))
    (note,) = diagnosed(mesh).findings
    assert note.severity is Severity.NOTE


def test_redis_down_hides_that_the_services_are_not_ready(mesh: FakeCluster) -> None:
    mesh.remove(kinds.POD, "mesh-infermesh-redis-0")
    for component in ("router", "cache", "governance"):
        container(mesh, f"mesh-infermesh-{component}-0", ready=False)
    finding = the_finding(mesh, FindingClass.DEPENDENCY, Severity.ERROR)
    assert finding.about == (ObjectRef("StatefulSet", "mesh-infermesh-redis"),)
    assert "analytics, cache, governance, router" in finding.what
    # Governance, of which no pod is ready either, is among them.
    assert {f.component for f in diagnosed(mesh).consequences} == {"router", "cache", "governance"}


def test_why_redis_is_down_comes_before_that_it_is(mesh: FakeCluster) -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    container(mesh, "mesh-infermesh-redis-0", ready=False, state=dict(waiting))
    container(mesh, "mesh-infermesh-router-0", ready=False)
    finding = the_finding(mesh, FindingClass.IMAGE, Severity.ERROR)
    assert finding.component == "redis"


@pytest.mark.parametrize(
    ("health", "words"),
    [
        ('{"initialized": true, "sealed": true}', "is sealed"),
        ('{"initialized": false, "sealed": true}', "never initialised"),
    ],
)
def test_a_sealed_vault_hides_what_needs_its_keys(
    mesh: FakeCluster, health: str, words: str
) -> None:
    mesh.pages[VAULT, VAULT_PORT, "v1/sys/health"] = health
    container(mesh, VAULT, ready=False)
    condition(mesh, KINDS["ApiKey"], "ci", "Ready", "False", "VaultSealed", "unseal it")
    finding = the_finding(mesh, FindingClass.DEPENDENCY, Severity.ERROR)
    assert words in finding.what and finding.about == (ObjectRef("Pod", VAULT),)
    assert finding.next == f"kubectl -n ai exec {VAULT} -- bao status"


@pytest.mark.parametrize("reason", ["VaultSealed", "VaultUnavailable"])
def test_a_vault_elsewhere_is_known_by_the_resources(mesh: FakeCluster, reason: str) -> None:
    mesh.remove(kinds.POD, VAULT)
    mesh.remove(kinds.STATEFUL_SET, "mesh-infermesh-vault")
    mesh.remove(kinds.SERVICE, "mesh-infermesh-vault")
    condition(mesh, KINDS["ApiKey"], "ci", "Ready", "False", reason, "look at it")
    finding = the_finding(mesh, FindingClass.DEPENDENCY, Severity.ERROR)
    assert f"({reason}): look at it" in finding.what


def test_a_vault_without_a_pod_is_the_cause_of_what_its_keys_are_needed_for(
    mesh: FakeCluster,
) -> None:
    mesh.remove(kinds.POD, VAULT)
    condition(mesh, KINDS["ApiKey"], "ci", "Ready", "False", "VaultUnavailable", "look at it")
    finding = the_finding(mesh, FindingClass.DEPENDENCY, Severity.ERROR)
    assert finding.about == (ObjectRef("StatefulSet", "mesh-infermesh-vault"),)
    assert "keys that were not read yet" in finding.what


@pytest.mark.parametrize("page", [None, "<html>"])
def test_a_vault_that_cannot_be_asked_is_judged_by_its_probe(
    mesh: FakeCluster, page: str | None
) -> None:
    del mesh.pages[VAULT, VAULT_PORT, "v1/sys/health"]
    if page is not None:
        mesh.pages[VAULT, VAULT_PORT, "v1/sys/health"] = page
    container(mesh, VAULT, ready=False)
    errors = [f for f in diagnosed(mesh).findings if f.is_error]
    assert [f.kind for f in errors] == [FindingClass.READINESS]


def test_replicas_with_different_revisions_are_named(mesh: FakeCluster) -> None:
    page = "mesh-infermesh-router-1", METRICS_PORT, "metrics"
    mesh.pages[page] = 'infermesh_resources_revision{revision="old"} 1\n'
    finding = the_finding(mesh, FindingClass.REVISION, Severity.ERROR)
    assert "mesh-infermesh-router-0 has abc123, mesh-infermesh-router-1 has old" in finding.what
    mesh.set(KINDS["Tenant"], "acme", "metadata.creationTimestamp", ago(seconds=10))
    the_finding(mesh, FindingClass.REVISION, Severity.WARNING)


def test_replicas_that_cannot_be_asked_are_a_note(mesh: FakeCluster) -> None:
    mesh.pages.clear()
    report = diagnosed(mesh)
    assert {f.severity for f in report.findings} == {Severity.NOTE}
    assert report.exit_code == 0

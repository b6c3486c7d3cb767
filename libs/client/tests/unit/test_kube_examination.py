"""`infermesh doctor --kube`: which release, what may be seen, causes before effects, exit codes."""

import itertools
import re
from pathlib import Path

import pytest

from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.cluster import Unreachable
from infermesh.cli.kube_doctor.components import DEPENDENTS
from infermesh.cli.kube_doctor.effects import separate
from infermesh.cli.kube_doctor.findings import (
    Finding,
    FindingClass,
    ObjectRef,
    Severity,
    by_cause,
    exit_code,
)
from infermesh.cli.kube_doctor.testing.fake_cluster import FakeCluster, condition
from infermesh.cli.kube_doctor.testing.mesh import diagnosed, healthy_mesh, labels, workload


@pytest.fixture
def mesh() -> FakeCluster:
    """A mesh that works."""
    return healthy_mesh()


def made(
    kind: FindingClass,
    severity: Severity = Severity.ERROR,
    component: str = "",
    name: str = "x",
    needs: frozenset[ObjectRef] = frozenset(),
) -> Finding:
    """A finding of which only that matters."""
    return Finding(kind, severity, (ObjectRef("Pod", name),), "w", "n", component, needs)


def test_no_release_is_told_without_its_missing_definitions() -> None:
    report = diagnosed(FakeCluster())
    (finding,) = report.findings
    assert (finding.kind, report.exit_code) == (FindingClass.RELEASE, 11)
    assert "not installed" in finding.what and finding.next == "helm -n ai list --all"


def test_no_release_and_half_of_the_definitions_are_two_findings(mesh: FakeCluster) -> None:
    for kind in (kinds.DEPLOYMENT, kinds.STATEFUL_SET):
        mesh.remove(kind)
    mesh.remove(kinds.DEFINITION, "models.infermesh.dev")
    assert [f.kind for f in diagnosed(mesh).findings] == [
        FindingClass.DEFINITIONS,
        FindingClass.RELEASE,
    ]


def test_of_several_releases_one_must_be_stated(mesh: FakeCluster) -> None:
    workload(mesh, kinds.DEPLOYMENT, "router", "other")
    report = diagnosed(mesh)
    (finding,) = report.findings
    assert report.exit_code == FindingClass.RELEASE.exit_code
    assert "mesh, other. State one with --release" in finding.what
    assert finding.next == "infermesh doctor --kube --namespace ai --release mesh"
    assert (diagnosed(mesh, "mesh").release, diagnosed(mesh, "mesh").findings) == ("mesh", [])


def test_a_release_that_is_not_there_names_those_that_are(mesh: FakeCluster) -> None:
    (finding,) = diagnosed(mesh, "absent").findings
    assert finding.what == "There is no release absent in the namespace; there is mesh."


def test_a_release_in_another_namespace_is_pointed_at() -> None:
    cluster = FakeCluster()
    cluster.add(
        kinds.DEPLOYMENT, "r", {"metadata": {"labels": labels("router"), "namespace": "b"}}, "b"
    )
    (finding,) = diagnosed(cluster).findings
    assert "there is mesh in namespace b" in finding.what
    assert finding.next == "infermesh doctor --kube --namespace b --release mesh"


@pytest.mark.parametrize("resource", ["pods", "deployments.apps", "statefulsets.apps"])
def test_what_is_essential_and_forbidden_is_an_access_error(
    mesh: FakeCluster, resource: str
) -> None:
    mesh.forbidden.add(("list", resource))
    report = diagnosed(mesh)
    first = report.findings[0]
    assert (first.kind, first.severity) == (FindingClass.ACCESS, Severity.ERROR)
    assert report.exit_code == 4
    assert f"You may not list {resource} in namespace ai" in first.what
    assert first.next == f"kubectl -n ai auth can-i list {resource}"


@pytest.mark.parametrize(
    "resource",
    [
        "replicasets.apps",
        "services",
        "endpointslices.discovery.k8s.io",
        "persistentvolumeclaims",
        "horizontalpodautoscalers.autoscaling",
        "poddisruptionbudgets.policy",
        "events",
        "providers.infermesh.dev",
    ],
)
def test_what_else_is_forbidden_is_a_note_and_no_reason_to_fail(
    mesh: FakeCluster, resource: str
) -> None:
    mesh.forbidden.add(("list", resource))
    report = diagnosed(mesh)
    notes = [f for f in report.findings if f.severity is Severity.NOTE]
    assert [f"the verb list on {resource} is missing" in f.what for f in notes] == [True]


def test_a_cluster_that_goes_away_ends_the_examination(mesh: FakeCluster) -> None:
    mesh.failure = Unreachable("gone")
    with pytest.raises(Unreachable):
        diagnosed(mesh)


def test_exit_codes_are_distinct_and_leave_those_of_the_command_line_alone() -> None:
    codes = [kind.exit_code for kind in FindingClass]
    assert len(set(codes)) == len(codes)
    assert FindingClass.ACCESS.exit_code == 4
    assert min(code for code in codes if code != 4) >= 10
    # 126 and above have meanings of their own in shells.
    assert max(codes) < 126


def test_the_documentation_has_every_class_with_its_code() -> None:
    page = Path(__file__).parents[4] / "docs" / "troubleshooting.md"
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", page.read_text("utf-8"), re.MULTILINE)
    assert rows == [(str(kind.exit_code), kind.label) for kind in FindingClass]


def test_the_worst_class_decides_and_errors_are_worse_than_warnings() -> None:
    warning = made(FindingClass.DEFINITIONS, Severity.WARNING)
    note = made(FindingClass.ACCESS, Severity.NOTE)
    errors = [made(FindingClass.REVISION), made(FindingClass.IMAGE)]
    assert exit_code([]) == exit_code([note]) == 0
    assert exit_code([note, warning]) == FindingClass.DEFINITIONS.exit_code
    assert exit_code([note, warning, *errors]) == FindingClass.IMAGE.exit_code
    assert by_cause([note, warning, *errors]) == [errors[1], errors[0], warning, note]


@pytest.mark.parametrize("kind", list(FindingClass))
@pytest.mark.parametrize("severity", [Severity.WARNING, Severity.NOTE])
def test_warnings_and_notes_are_nobodys_cause(kind: FindingClass, severity: Severity) -> None:
    weak = made(kind, severity, "redis", "weak")
    for other in FindingClass:
        effect = made(other, component="redis", needs=frozenset(weak.about))
        assert effect in separate([weak, effect])[0]


def test_something_to_act_on_always_remains() -> None:
    components = ["", *DEPENDENTS, "router"]
    everything = [
        made(kind, component=component, name=f"{kind.label}{component}")
        for kind, component in itertools.product(FindingClass, components)
    ]
    for one, other in itertools.combinations(everything, 2):
        causes, consequences = separate([one, other])
        assert causes and len(causes) + len(consequences) == 2
    for size in range(1, len(everything)):
        assert separate(everything[-size:])[0]


def test_a_named_cause_needs_no_common_component() -> None:
    cause = made(FindingClass.SECRET, name="s")
    effect = made(FindingClass.CRASH, component="router", needs=frozenset(cause.about))
    assert separate([effect, cause]) == ([cause], [effect])


def test_consequences_of_consequences_are_hidden_too(mesh: FakeCluster) -> None:
    mesh.remove(kinds.SECRET, "token")
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    name = "mesh-infermesh-router-0"
    mesh.set(kinds.POD, name, "status.containerStatuses", [{"state": dict(waiting)}])
    condition(mesh, kinds.POD, name, "Ready", "False")
    mesh.event(kinds.POD, name, "FailedMount", 'secret "token" not found')
    condition(mesh, kinds.DEPLOYMENT, "mesh-infermesh-router", "Progressing", "False", "", "late")
    report = diagnosed(mesh)
    assert [f.kind for f in report.findings] == [FindingClass.SECRET]
    assert [f.kind for f in report.consequences] == [FindingClass.SECRET, FindingClass.ROLLOUT]

"""`infermesh doctor --kube`: workloads, services, volumes, scaling, versions."""

import pytest

from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.testing.fake_cluster import (
    FakeCluster,
    Json,
    ago,
    condition,
    container,
)
from infermesh.cli.kube_doctor.testing.mesh import diagnosed, healthy_mesh, labels

ROUTER = "mesh-infermesh-router"
ANALYTICS = "mesh-infermesh-analytics"


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


def add_old_replica_set(mesh: FakeCluster, pods: int) -> None:
    """The router's ReplicaSet of the revision before."""
    mesh.add(
        kinds.REPLICA_SET,
        f"{ROUTER}-old",
        {
            "metadata": {
                "labels": labels("router"),
                "annotations": {"deployment.kubernetes.io/revision": "1"},
                "ownerReferences": [{"kind": "Deployment", "name": ROUTER}],
            },
            "status": {"replicas": pods},
        },
    )


def test_a_rollout_that_has_stopped_names_what_still_runs(mesh: FakeCluster) -> None:
    add_old_replica_set(mesh, 2)
    condition(
        mesh, kinds.DEPLOYMENT, ROUTER, "Progressing", "False", "ProgressDeadlineExceeded", "late."
    )
    finding = the_finding(mesh, FindingClass.ROLLOUT, Severity.ERROR)
    assert finding.what == (
        "Its rollout has stopped: late. Old ReplicaSets still run: "
        "mesh-infermesh-router-old has 2 pods."
    )
    assert finding.next == f"kubectl -n ai rollout status deployment/{ROUTER}"


def test_an_old_replica_set_with_pods_is_a_rollout_under_way(mesh: FakeCluster) -> None:
    add_old_replica_set(mesh, 1)
    assert "under way" in the_finding(mesh, FindingClass.ROLLOUT, Severity.WARNING).what
    mesh.remove(kinds.REPLICA_SET)
    add_old_replica_set(mesh, 0)
    assert diagnosed(mesh).findings == []


def test_a_workload_that_may_not_make_pods_says_why(mesh: FakeCluster) -> None:
    said = 'pods "x" is forbidden: exceeded quota'
    condition(mesh, kinds.DEPLOYMENT, ROUTER, "ReplicaFailure", "True", "FailedCreate", said)
    assert said in the_finding(mesh, FindingClass.ROLLOUT, Severity.ERROR).what


def test_a_stateful_set_that_may_not_make_pods_says_why(mesh: FakeCluster) -> None:
    mesh.set(kinds.STATEFUL_SET, ANALYTICS, "status.replicas", 0)
    mesh.event(kinds.STATEFUL_SET, ANALYTICS, "FailedCreate", "violates PodSecurity restricted")
    finding = the_finding(mesh, FindingClass.ROLLOUT, Severity.ERROR)
    assert "violates PodSecurity restricted" in finding.what


def test_an_update_of_a_stateful_set_under_way_is_a_warning(mesh: FakeCluster) -> None:
    mesh.set(kinds.STATEFUL_SET, ANALYTICS, "status.currentRevision", "a")
    mesh.set(kinds.STATEFUL_SET, ANALYTICS, "status.updateRevision", "b")
    assert "0 of 1 pods" in the_finding(mesh, FindingClass.ROLLOUT, Severity.WARNING).what


def test_paused_and_unseen_changes_are_warnings(mesh: FakeCluster) -> None:
    mesh.set(kinds.DEPLOYMENT, ROUTER, "spec.paused", True)
    finding = the_finding(mesh, FindingClass.ROLLOUT, Severity.WARNING)
    assert finding.next == f"kubectl -n ai rollout resume deployment/{ROUTER}"
    mesh.set(kinds.DEPLOYMENT, ROUTER, "metadata.generation", 2)
    finding = the_finding(mesh, FindingClass.ROLLOUT, Severity.WARNING)
    assert "controller manager" in finding.what


def test_scaled_to_nothing_hides_that_nobody_answers(mesh: FakeCluster) -> None:
    mesh.set(kinds.DEPLOYMENT, ROUTER, "spec.replicas", 0)
    for number in range(2):
        mesh.remove(kinds.POD, f"{ROUTER}-{number}")
    mesh.set(kinds.ENDPOINT_SLICE, f"{ROUTER}-x", "endpoints", [])
    finding = the_finding(mesh, FindingClass.ROLLOUT, Severity.ERROR)
    assert finding.next == f"kubectl -n ai scale deployment/{ROUTER} --replicas=1"
    assert [f.kind for f in diagnosed(mesh).consequences] == [FindingClass.ENDPOINTS]


def test_a_service_that_selects_nothing_names_the_labels(mesh: FakeCluster) -> None:
    mesh.set(kinds.SERVICE, ROUTER, "spec.selector", {"app": "other"})
    mesh.set(kinds.ENDPOINT_SLICE, f"{ROUTER}-x", "endpoints", [])
    finding = the_finding(mesh, FindingClass.ENDPOINTS, Severity.ERROR)
    assert "(app=other)" in finding.what


def test_a_service_whose_ports_fit_no_pod(mesh: FakeCluster) -> None:
    mesh.set(kinds.ENDPOINT_SLICE, f"{ROUTER}-x", "ports", [])
    assert "its ports name none" in the_finding(mesh, FindingClass.ENDPOINTS, Severity.ERROR).what


def test_unready_endpoints_do_not_count_and_follow_from_their_pods(mesh: FakeCluster) -> None:
    for number in range(2):
        container(mesh, f"{ROUTER}-{number}", ready=False)
    unready: Json = {"addresses": ["10.0.0.1"], "conditions": {"ready": False}}
    mesh.set(kinds.ENDPOINT_SLICE, f"{ROUTER}-x", "endpoints", [unready])
    report = diagnosed(mesh)
    assert {f.kind for f in report.findings} == {FindingClass.READINESS}
    (consequence,) = report.consequences
    assert "none of its 2 pods is ready" in consequence.what


def test_a_service_without_selector_is_somebody_elses(mesh: FakeCluster) -> None:
    mesh.add(kinds.SERVICE, "outside", {"metadata": {"labels": labels("router")}, "spec": {}})
    assert diagnosed(mesh).findings == []


def pending_claim(mesh: FakeCluster, storage_class: str = "fast", **age: float) -> None:
    """The claim of analytics waits for a volume, and its pod for the claim."""
    mesh.set(kinds.CLAIM, "data", "status.phase", "Pending")
    mesh.set(kinds.CLAIM, "data", "spec.storageClassName", storage_class)
    mesh.set(kinds.CLAIM, "data", "metadata.creationTimestamp", ago(**(age or {"hours": 1})))
    name = f"{ANALYTICS}-0"
    mesh.set(kinds.POD, name, "status", {"phase": "Pending"})
    condition(
        mesh,
        kinds.POD,
        name,
        "PodScheduled",
        "False",
        "Unschedulable",
        "0/1 nodes: pod has unbound immediate PersistentVolumeClaims.",
    )


def test_a_pending_claim_is_the_cause_and_its_pod_the_effect(mesh: FakeCluster) -> None:
    pending_claim(mesh)
    mesh.event(kinds.CLAIM, "data", "ProvisioningFailed", "quota of volumes is used up")
    finding = the_finding(mesh, FindingClass.STORAGE, Severity.ERROR)
    assert finding.about == (ObjectRef("PersistentVolumeClaim", "data"),)
    assert finding.component == "analytics" and "quota of volumes is used up" in finding.what
    assert [f.kind for f in diagnosed(mesh).consequences] == [FindingClass.SCHEDULING]


def test_a_storage_class_that_does_not_exist_is_named(mesh: FakeCluster) -> None:
    pending_claim(mesh, "slow")
    what = the_finding(mesh, FindingClass.STORAGE, Severity.ERROR).what
    assert what.startswith("The StorageClass slow does not exist")
    mesh.forbidden.add(("get", "storageclasses.storage.k8s.io"))
    what = the_finding(mesh, FindingClass.STORAGE, Severity.ERROR).what
    assert what == "It waits for a volume: nobody says why"


def test_no_storage_class_and_no_default(mesh: FakeCluster) -> None:
    pending_claim(mesh, "")
    assert "no default one" in the_finding(mesh, FindingClass.STORAGE, Severity.ERROR).what


def test_a_lost_volume_is_said_plainly(mesh: FakeCluster) -> None:
    mesh.set(kinds.CLAIM, "data", "status.phase", "Lost")
    assert "gone" in the_finding(mesh, FindingClass.STORAGE, Severity.ERROR).what


def test_a_claim_that_waits_for_its_pod_is_not_the_cause(mesh: FakeCluster) -> None:
    pending_claim(mesh)
    mesh.event(kinds.CLAIM, "data", "WaitForFirstConsumer", "waiting for first consumer")
    the_finding(mesh, FindingClass.SCHEDULING, Severity.ERROR)


def test_a_volume_may_take_a_minute(mesh: FakeCluster) -> None:
    pending_claim(mesh, seconds=20)
    the_finding(mesh, FindingClass.SCHEDULING, Severity.ERROR)


def test_claims_of_others_do_not_matter(mesh: FakeCluster) -> None:
    mesh.add(kinds.CLAIM, "other", {"status": {"phase": "Pending"}})
    assert diagnosed(mesh).findings == []


@pytest.mark.parametrize("name", ["ScalingActive", "AbleToScale"])
def test_an_autoscaler_that_cannot_work_says_why(mesh: FakeCluster, name: str) -> None:
    condition(mesh, kinds.AUTOSCALER, ROUTER, name, "False", "FailedGetResourceMetric", "no api")
    finding = the_finding(mesh, FindingClass.AUTOSCALING, Severity.ERROR)
    assert "FailedGetResourceMetric: no api" in finding.what


def test_an_autoscaler_that_is_switched_off_is_not_broken(mesh: FakeCluster) -> None:
    condition(mesh, kinds.AUTOSCALER, ROUTER, "ScalingActive", "False", "ScalingDisabled")
    assert diagnosed(mesh).findings == []


@pytest.mark.parametrize(
    ("healthy", "desired", "words"),
    [(2, 2, "run more replicas"), (1, 2, "only 1 of the 2 pods it wants are ready")],
)
def test_a_budget_that_blocks_says_why(
    mesh: FakeCluster, healthy: int, desired: int, words: str
) -> None:
    status = {"expectedPods": 2, "currentHealthy": healthy, "desiredHealthy": desired}
    mesh.set(kinds.DISRUPTION_BUDGET, ROUTER, "status", status)
    assert words in the_finding(mesh, FindingClass.DISRUPTION, Severity.WARNING).what


def test_a_budget_that_cannot_be_worked_out_and_one_of_nothing(mesh: FakeCluster) -> None:
    mesh.set(kinds.DISRUPTION_BUDGET, ROUTER, "status", {"expectedPods": 0})
    assert diagnosed(mesh).findings == []
    condition(
        mesh, kinds.DISRUPTION_BUDGET, ROUTER, "DisruptionAllowed", "False", "SyncFailed", "odd"
    )
    assert "odd" in the_finding(mesh, FindingClass.DISRUPTION, Severity.WARNING).what


def test_parts_of_different_versions_are_listed(mesh: FakeCluster) -> None:
    container(mesh, "mesh-infermesh-cache-0", image="mirror.example:5000/infermesh/cache:0.0.9")
    finding = the_finding(mesh, FindingClass.VERSIONS, Severity.WARNING)
    assert "(0.0.9: cache; 0.1.0: analytics, envoy, governance" in finding.what


def test_a_tag_that_moved_is_noticed(mesh: FakeCluster) -> None:
    container(mesh, f"{ROUTER}-1", imageID="sha256:other")
    finding = the_finding(mesh, FindingClass.VERSIONS, Severity.WARNING)
    assert (finding.component, "the tag moved" in finding.what) == ("router", True)


def test_images_of_others_and_digests_have_no_version(mesh: FakeCluster) -> None:
    container(mesh, "mesh-infermesh-redis-0", image="redis:7.4.2")
    container(mesh, "mesh-infermesh-cache-0", image="infermesh/cache@sha256:abc")
    assert diagnosed(mesh).findings == []

"""`infermesh doctor --kube`: the one thing that is most wrong with a pod."""

import json

import pytest

from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, Severity
from infermesh.cli.kube_doctor.testing.fake_cluster import (
    NAMESPACE,
    FakeCluster,
    Json,
    ago,
    condition,
    container,
)
from infermesh.cli.kube_doctor.testing.mesh import diagnosed, healthy_mesh, pod
from infermesh.inference import JsonValue

ROUTER = "mesh-infermesh-router-0"


@pytest.fixture
def mesh() -> FakeCluster:
    """A mesh that works."""
    return healthy_mesh()


def the_finding(mesh: FakeCluster, kind: FindingClass, severity: Severity) -> Finding:
    """The only finding; its class, severity and exit code are as stated."""
    report = diagnosed(mesh)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == (kind, severity)
    assert report.exit_code == kind.exit_code != 0
    return finding


def ended(exit_code: int, reason: str = "Error", minutes_ago: float = 1) -> JsonValue:
    """A container's end as the kubelet tells it."""
    at = ago(minutes=minutes_ago)
    told: Json = {"exitCode": exit_code, "reason": reason, "finishedAt": at}
    return {"terminated": told}


def crash_loop(mesh: FakeCluster, exit_code: int, **changes: JsonValue) -> None:
    """The router's first pod does not stay up."""
    told: dict[str, JsonValue] = {
        "ready": False,
        "restartCount": 7,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
        "lastState": ended(exit_code),
        **changes,
    }
    container(mesh, ROUTER, **told)


def test_a_mesh_that_works_has_no_findings(mesh: FakeCluster) -> None:
    report = diagnosed(mesh)
    assert (report.findings, report.consequences, report.exit_code) == ([], [], 0)
    assert (report.release, report.pods, report.resources) == ("mesh", 8, 6)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("0/2 nodes are available: 2 Insufficient cpu.", "resources.requests.cpu"),
        ("0/2 nodes are available: 1 Insufficient memory.", "resources.requests.memory"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.", "tolerations"),
        ("0/1 nodes: 1 node(s) didn't match Pod's node affinity/selector.", "nodeSelector"),
        ("0/1 nodes: 1 Insufficient nvidia.com/gpu.", "what the pod asks for"),
        ("something new", "the scheduler found none"),
    ],
)
def test_a_pod_without_a_node_says_why(mesh: FakeCluster, said: str, words: str) -> None:
    mesh.set(kinds.POD, ROUTER, "status.phase", "Pending")
    mesh.set(kinds.POD, ROUTER, "status.containerStatuses", [])
    condition(mesh, kinds.POD, ROUTER, "PodScheduled", "False", "Unschedulable", said)
    condition(mesh, kinds.POD, ROUTER, "Ready", "False")
    finding = the_finding(mesh, FindingClass.SCHEDULING, Severity.ERROR)
    assert words in finding.what and said in finding.what
    assert finding.next == f"kubectl -n {NAMESPACE} describe pod {ROUTER}"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Failed to pull image: not found", "it does not exist there"),
        ("Failed to pull image: 401 Unauthorized", "global.imagePullSecrets"),
        ("Failed to pull image: dial tcp: no such host", "cannot be reached from the node"),
        ("Failed to pull image: odd", "odd"),
    ],
)
@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_does_not_come_says_why(
    mesh: FakeCluster, said: str, words: str, reason: str
) -> None:
    waiting: JsonValue = {"waiting": {"reason": reason, "message": "Back-off pulling image"}}
    container(mesh, ROUTER, ready=False, state=waiting)
    mesh.event(kinds.POD, ROUTER, "Failed", said)
    mesh.event(kinds.POD, ROUTER, "BackOff", "Back-off pulling image")
    finding = the_finding(mesh, FindingClass.IMAGE, Severity.ERROR)
    assert "infermesh/router:0.1.0" in finding.what and words in finding.what


def test_settings_that_cannot_be_used_are_told_in_the_words_of_the_service(
    mesh: FakeCluster,
) -> None:
    crash_loop(mesh, 2)
    mesh.logs[ROUTER, "router", False] = (
        '{"event": "starting"}\nThe settings of router cannot be used: targets.cache is missing.\n'
    )
    finding = the_finding(mesh, FindingClass.CRASH, Severity.ERROR)
    assert finding.what == (
        "Container router cannot use its settings: "
        "The settings of router cannot be used: targets.cache is missing."
    )
    assert finding.next == "kubectl -n ai get configmap mesh-infermesh-config -o yaml"


def test_without_a_config_map_the_values_are_where_to_look(mesh: FakeCluster) -> None:
    crash_loop(mesh, 2)
    mesh.set(kinds.POD, ROUTER, "spec.volumes", [])
    mesh.logs[ROUTER, "router", True] = "bad settings\n"
    finding = the_finding(mesh, FindingClass.CRASH, Severity.ERROR)
    assert finding.next == "helm -n ai get values mesh"


def test_a_crash_tells_its_exit_and_its_last_words(mesh: FakeCluster) -> None:
    crash_loop(mesh, 139, lastState=ended(139, "Segfault"))
    mesh.logs[ROUTER, "router", False] = json.dumps({"event": "died", "error": "Boom\x1b[31m"})
    finding = the_finding(mesh, FindingClass.CRASH, Severity.ERROR)
    assert "exit code 139, signal 11, Segfault; 7 restarts" in finding.what
    assert finding.what.endswith("Its last line: died: Boom\ufffd[31m")
    assert "logs mesh-infermesh-router-0 -c router --previous" in finding.next


def test_what_the_kubelet_kept_is_taken_before_the_log(mesh: FakeCluster) -> None:
    kept: JsonValue = {"terminated": {"exitCode": 1, "reason": "Error", "message": "kept words"}}
    crash_loop(mesh, 1, lastState=kept)
    assert "kept words" in the_finding(mesh, FindingClass.CRASH, Severity.ERROR).what


def test_a_crash_is_told_even_when_logs_may_not_be_read(mesh: FakeCluster) -> None:
    crash_loop(mesh, 1)
    mesh.forbidden.add(("get", "pods/log"))
    crash, note = diagnosed(mesh).findings
    assert (crash.kind, "printed nothing that can be read" in crash.what) == (
        FindingClass.CRASH,
        True,
    )
    assert (note.severity, "the verb get on pods/log" in note.what) == (Severity.NOTE, True)


def test_the_first_end_counts_as_much_as_a_loop(mesh: FakeCluster) -> None:
    container(mesh, ROUTER, ready=False, state=ended(1))
    the_finding(mesh, FindingClass.CRASH, Severity.ERROR)


@pytest.mark.parametrize("reason", ["RunContainerError", "CreateContainerError", "StartError"])
def test_a_container_that_cannot_be_started_is_a_crash(mesh: FakeCluster, reason: str) -> None:
    waiting: JsonValue = {"waiting": {"reason": reason, "message": "exec: python: not found"}}
    container(mesh, ROUTER, ready=False, state=waiting)
    assert "python: not found" in the_finding(mesh, FindingClass.CRASH, Severity.ERROR).what


def test_an_evicted_pod_says_why(mesh: FakeCluster) -> None:
    mesh.set(kinds.POD, ROUTER, "status", {"phase": "Failed", "reason": "Evicted", "message": "x"})
    assert "ended (Evicted): x" in the_finding(mesh, FindingClass.CRASH, Severity.ERROR).what


def test_want_of_memory_names_the_limit(mesh: FakeCluster) -> None:
    crash_loop(mesh, 137, lastState=ended(137, "OOMKilled"))
    finding = the_finding(mesh, FindingClass.MEMORY, Severity.ERROR)
    assert "its limit (512Mi)" in finding.what and "7 restarts" in finding.what


def test_want_of_memory_of_a_container_that_runs_again_is_a_warning_for_a_day(
    mesh: FakeCluster,
) -> None:
    container(mesh, ROUTER, restartCount=1, lastState=ended(137, "OOMKilled", 60))
    the_finding(mesh, FindingClass.MEMORY, Severity.WARNING)
    container(mesh, ROUTER, restartCount=1, lastState=ended(137, "OOMKilled", 25 * 60))
    assert diagnosed(mesh).findings == []


def test_many_restarts_of_late_are_a_warning(mesh: FakeCluster) -> None:
    container(mesh, ROUTER, restartCount=5, lastState=ended(1))
    assert "restarted 5 times" in the_finding(mesh, FindingClass.CRASH, Severity.WARNING).what
    container(mesh, ROUTER, restartCount=5, lastState=ended(1, minutes_ago=90))
    assert diagnosed(mesh).findings == []
    container(mesh, ROUTER, restartCount=4, lastState=ended(1))
    assert diagnosed(mesh).findings == []


def test_a_pod_that_is_not_ready_tells_the_probe_and_what_does_not_answer(
    mesh: FakeCluster,
) -> None:
    container(mesh, ROUTER, ready=False)
    mesh.event(kinds.POD, ROUTER, "Unhealthy", "Readiness probe failed: NOT_SERVING")
    entry = {"event": "health_check_failed", "dependency": "redis"}
    mesh.logs[ROUTER, "router", False] = "\n".join(["no json", json.dumps(entry)] * 2)
    finding = the_finding(mesh, FindingClass.READINESS, Severity.ERROR)
    assert "Readiness probe failed: NOT_SERVING" in finding.what
    assert finding.what.endswith("By its log these do not answer: redis.")


def test_a_young_pod_may_still_be_starting(mesh: FakeCluster) -> None:
    container(mesh, ROUTER, ready=False)
    mesh.set(kinds.POD, ROUTER, "metadata.creationTimestamp", ago(seconds=20))
    finding = the_finding(mesh, FindingClass.READINESS, Severity.WARNING)
    assert "is still starting" in finding.what


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('configmap "mesh-infermesh-config" not found', FindingClass.CRASH),
        ("MountVolume.SetUp failed: rpc error", FindingClass.STORAGE),
        ('MountVolume.SetUp failed: secret "extra" not found', FindingClass.SECRET),
    ],
)
def test_a_pod_that_cannot_mount_says_what(
    mesh: FakeCluster, said: str, kind: FindingClass
) -> None:
    container(mesh, ROUTER, ready=False, state={"waiting": {"reason": "ContainerCreating"}})
    mesh.event(kinds.POD, ROUTER, "FailedMount", said)
    assert said in the_finding(mesh, kind, Severity.ERROR).what


def test_a_missing_key_is_told_by_the_container_too(mesh: FakeCluster) -> None:
    mesh.forbidden.add(("get", "secrets"))
    said = "couldn't find key token in Secret ai/token"
    waiting: JsonValue = {"waiting": {"reason": "CreateContainerConfigError", "message": said}}
    container(mesh, ROUTER, ready=False, state=waiting)
    finding, note = diagnosed(mesh).findings
    assert (finding.kind, said in finding.what) == (FindingClass.SECRET, True)
    assert note.severity is Severity.NOTE


def test_the_same_at_several_pods_is_one_finding(mesh: FakeCluster) -> None:
    for name in (ROUTER, "mesh-infermesh-router-1"):
        waiting: JsonValue = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
        container(mesh, name, ready=False, state=waiting)
    finding = the_finding(mesh, FindingClass.IMAGE, Severity.ERROR)
    assert [ref.name for ref in finding.about] == [ROUTER, "mesh-infermesh-router-1"]


def test_pods_that_leave_ended_well_or_are_tests_do_not_count(mesh: FakeCluster) -> None:
    for number, path, value in (
        (7, "metadata.deletionTimestamp", ago(seconds=1)),
        (8, "status.phase", "Succeeded"),
        (9, "metadata.annotations", {"helm.sh/hook": "test"}),
    ):
        name = pod(mesh, "router", number)
        container(mesh, name, ready=False, state=ended(1))
        mesh.set(kinds.POD, name, path, value)
    assert diagnosed(mesh).findings == []

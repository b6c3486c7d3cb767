"""What is ready, what is not yet, and what never will be."""

from __future__ import annotations

import pytest

from tests.cluster.documents import Document
from tests.cluster.states import RESTARTS, is_ready, line, refused, restarts, trouble, unfinished


def workload(kind: str, status: Document, replicas: int | None = 2) -> Document:
    spec = {} if replicas is None else {"replicas": replicas}
    return {"kind": kind, "metadata": {"generation": 3}, "spec": spec, "status": status}


DONE = {
    "observedGeneration": 3,
    "replicas": 2,
    "updatedReplicas": 2,
    "readyReplicas": 2,
    "availableReplicas": 2,
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"observedGeneration": 2}, "not looked at yet"),
        ({"updatedReplicas": 1}, "updatedReplicas 1 of 2"),
        ({"readyReplicas": 0}, "readyReplicas 0 of 2"),
        ({"replicas": 3}, "1 old pods are still there"),
    ],
)
def test_a_deployment_is_finished_when_all_its_pods_are_new_and_ready(
    change: dict[str, object], why: str | None
) -> None:
    assert unfinished(workload("Deployment", {**DONE, **change})) == why


def test_one_pod_is_wanted_where_no_number_is_stated() -> None:
    assert unfinished(workload("Deployment", {"observedGeneration": 3}, None)) is not None
    one = {key: 1 for key in DONE} | {"observedGeneration": 3}
    assert unfinished(workload("Deployment", one, None)) is None


def test_a_stateful_set_is_not_finished_while_a_pod_is_of_the_old_revision() -> None:
    status = {**DONE, "currentRevision": "a", "updateRevision": "b"}
    assert unfinished(workload("StatefulSet", status)) == "pods of the old revision are still there"
    assert unfinished(workload("StatefulSet", {**status, "updateRevision": "a"})) is None


def test_a_daemon_set_wants_what_the_scheduler_says() -> None:
    status = {"observedGeneration": 3, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2}
    assert unfinished(workload("DaemonSet", status)) == "numberReady 0 of 2"
    assert unfinished(workload("DaemonSet", {**status, "numberReady": 2})) is None


def test_why_pods_may_not_be_made_is_known() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}
    assert refused(workload("Deployment", {"conditions": [condition]})) == "violates PodSecurity"
    passed = {**condition, "status": "False"}
    assert refused(workload("Deployment", {"conditions": [passed]})) is None


def pod(state: dict[str, object], restarted: int = 0, ready: str = "False") -> dict[str, object]:
    container = {"name": "x", "restartCount": restarted, "state": state}
    return {
        "metadata": {"name": "p"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [container],
        },
    }


@pytest.mark.parametrize("reason", ["ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_had_is_trouble(reason: str) -> None:
    found = trouble(pod({"waiting": {"reason": reason, "message": "m"}}))
    assert found == f"x: {reason}: m"


def test_a_container_that_is_being_made_is_no_trouble() -> None:
    assert trouble(pod({"waiting": {"reason": "ContainerCreating"}})) is None
    assert trouble(pod({"running": {}}, restarted=RESTARTS - 1)) is None


def test_a_container_that_ends_again_and_again_is_trouble_unless_it_got_ready(
    failing_pod: dict[str, object],
) -> None:
    assert trouble(failing_pod) == "router: ended 4 times, with status 2 Error"
    assert trouble(pod({"running": {}}, restarted=RESTARTS, ready="True")) is None


def test_a_pod_that_has_done_its_work_is_ready() -> None:
    assert is_ready({"status": {"phase": "Succeeded"}})
    assert not is_ready({"status": {"phase": "Failed"}})
    assert is_ready(pod({"running": {}}, ready="True"))


def test_a_pod_fits_into_a_line(failing_pod: dict[str, object]) -> None:
    words = line(failing_pod).split()
    assert words[:4] == ["router-1", "Running", "NOT", "READY"]
    assert words[-1] == "CrashLoopBackOff"
    assert restarts(failing_pod) == 4

"""Waiting has an end, and what failed is explained."""

from __future__ import annotations

import itertools

import pytest

from tests.cluster.commands import CommandFailed, run_command
from tests.cluster.fake_commands import Commands
from tests.cluster.diagnostics import diagnose
from tests.cluster.kubectl import Kubectl
from tests.cluster.polling import NotInTime, until
from tests.cluster.readiness import NotReady, wait_ready

READY = {
    "kind": "Deployment",
    "metadata": {"name": "router", "generation": 1},
    "spec": {"replicas": 1},
    "status": {
        "observedGeneration": 1,
        "replicas": 1,
        "updatedReplicas": 1,
        "readyReplicas": 1,
        "availableReplicas": 1,
    },
}


def test_waiting_ends_with_the_first_thing_found() -> None:
    looks = iter([None, False, "found", "more"])
    clock = itertools.count()
    waited: list[float] = []
    found = until(
        lambda: next(looks),
        what="it",
        within_s=10,
        every_s=0.25,
        now=lambda: next(clock),
        wait=waited.append,
    )
    assert found == "found" and waited == [0.25, 0.25]


def test_waiting_ends_at_its_deadline_and_says_for_what_it_was() -> None:
    clock = itertools.count()
    with pytest.raises(NotInTime, match="waited 3 s for a miracle"):
        until(
            lambda: None,
            what="a miracle",
            within_s=3,
            now=lambda: next(clock),
            wait=lambda seconds: None,
        )


def test_a_command_that_fails_or_takes_too_long_says_what_it_said() -> None:
    assert run_command(["cat"], given="text") == "text"
    with pytest.raises(CommandFailed, match="status 3: why"):
        run_command(["sh", "-c", "echo why >&2; exit 3"])
    with pytest.raises(CommandFailed, match="not done after 0.1 s"):
        run_command(["sleep", "60"], timeout_s=0.1)


def test_ready_workloads_are_waited_for_no_longer(commands: Commands, kubectl: Kubectl) -> None:
    commands.answer("get deployments", {"items": [READY]})
    wait_ready(kubectl, "app=router", within_s=0)
    assert commands.run[0].endswith(
        "-n here get deployments,statefulsets,daemonsets -l app=router -o json"
    )


def test_no_workloads_are_not_ready_ones(kubectl: Kubectl) -> None:
    with pytest.raises(NotReady, match="there are no workloads"):
        wait_ready(kubectl, within_s=0)


def test_hopeless_pods_end_the_waiting_at_once_with_their_logs(
    commands: Commands, kubectl: Kubectl, failing_pod: dict[str, object]
) -> None:
    commands.answer("get deployments", {"items": [{**READY, "status": {}}]})
    commands.answer("get pods", {"items": [failing_pod]})
    commands.answer("describe pod router-1", "Volumes: none")
    commands.answer("logs router-1 -c router --tail", "the log now")
    commands.answer("logs router-1 -c router -p", "secrets: no such file")
    with pytest.raises(NotReady) as error:
        wait_ready(kubectl, within_s=3600)
    said = str(error.value)
    assert said.startswith("pod router-1: router: ended 4 times, with status 2 Error")
    assert "Volumes: none" in said and "secrets: no such file" in said and "the log now" in said


def test_pods_that_may_not_be_made_end_the_waiting_at_once(
    commands: Commands, kubectl: Kubectl
) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}
    status = {"observedGeneration": 1, "conditions": [condition]}
    commands.answer("get deployments", {"items": [{**READY, "status": status}]})
    with pytest.raises(NotReady, match="Deployment router: violates PodSecurity"):
        wait_ready(kubectl, within_s=3600)


def test_the_last_events_are_told_in_their_order(commands: Commands, kubectl: Kubectl) -> None:
    commands.answer(
        "get events",
        {
            "items": [
                {"lastTimestamp": "2026-01-01T00:00:02Z", "reason": "Second", "count": 7},
                {"eventTime": "2026-01-01T00:00:01Z", "reason": "First"},
            ]
        },
    )
    said = diagnose(kubectl)
    assert said.index("First") < said.index("Second")
    assert "x7" in said


def test_a_diagnosis_does_not_fail_when_the_cluster_is_away(
    commands: Commands, kubectl: Kubectl
) -> None:
    commands.answer("get", CommandFailed("connection refused"))
    assert "connection refused" in diagnose(kubectl)


def test_a_diagnosis_does_not_fail_when_a_pod_goes(
    commands: Commands, kubectl: Kubectl, failing_pod: dict[str, object]
) -> None:
    commands.answer("get pods", {"items": [failing_pod]})
    commands.answer("describe", CommandFailed("not found"))
    assert "not found" in diagnose(kubectl)

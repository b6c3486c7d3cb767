"""What kubectl and helm are told."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml

from tests.cluster.commands import CommandFailed
from tests.cluster.fake_commands import Commands
from tests.cluster.faults import Faults, workload_labels
from tests.cluster.helm import Helm
from tests.cluster.kubectl import Kubectl
from tests.cluster.namespaces import (
    objects_in,
    objects_outside,
    temporary_namespace,
    volumes_of,
)
from tests.cluster.pod_metrics import Metrics, PodMetrics
from tests.cluster.polling import NotInTime
from tests.cluster.releases import Release

PREFIX = "/kubectl --kubeconfig /config -n here"


def service(*ports: dict[str, object]) -> dict[str, object]:
    return {"spec": {"ports": list(ports)}}


def test_every_command_names_its_cluster_and_its_namespace(
    commands: Commands, kubectl: Kubectl
) -> None:
    kubectl.run("version")
    kubectl.within("there").run("version")
    assert commands.run == [f"{PREFIX} version", f"{PREFIX[:-4]}there version"]


def test_an_object_that_is_not_there_is_none(commands: Commands, kubectl: Kubectl) -> None:
    commands.answer("get pod x", "")
    assert kubectl.find("pod", "x") is None
    commands.answer("get pod x", {"kind": "Pod"})
    assert kubectl.find("pod", "x") == {"kind": "Pod"} == kubectl.get("pod", "x")


def test_objects_are_applied_as_one_list(commands: Commands, kubectl: Kubectl) -> None:
    kubectl.apply([{"kind": "A"}, {"kind": "B"}])
    assert [item["kind"] for item in json.loads(commands.given[0])["items"]] == ["A", "B"]
    kubectl.apply("kind: C")
    assert commands.given[1] == "kind: C"


def test_a_log_that_cannot_be_had_is_empty(commands: Commands, kubectl: Kubectl) -> None:
    commands.answer("logs", CommandFailed("previous terminated container not found"))
    assert kubectl.logs("pod", "container", previous=True) == ""
    assert commands.run[-1] == f"{PREFIX} logs pod -c container -p --tail=-1"


def test_a_port_is_forwarded_for_the_time_of_the_block(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho 'Forwarding from 127.0.0.1:4242 -> 8080'\nexec sleep 60\n")
    program.chmod(0o755)
    with Kubectl(program, Path("/config"), "here").port_forward("service/x", 80) as port:
        assert port == 4242
    program.write_text("#!/bin/sh\necho 'error: no such service'\n")
    with pytest.raises(CommandFailed, match="no such service"):
        with Kubectl(program, Path("/config"), "here").port_forward("service/x", 80):
            raise AssertionError("there is no port")


def test_helm_takes_files_first_and_values_over_them(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/another")
    helm = Helm(Path("/helm"), Path("/config"), "here", commands)
    helm.install("mesh", Path("/chart"), {"a": {"b": 1}}, [Path("/v.yaml")], "--devel")
    assert commands.run == [
        "/helm --kubeconfig /config --namespace here"
        " upgrade mesh /chart --install -f /v.yaml -f - --devel"
    ]
    assert yaml.safe_load(commands.given[0]) == {"a": {"b": 1}}
    assert "KUBECONFIG" not in commands.environments[0]
    helm.uninstall("mesh")
    helm.test("mesh")
    helm.manifest("mesh")
    assert [command.split()[5] for command in commands.run[1:]] == ["uninstall", "test", "get"]


@pytest.fixture
def release(commands: Commands, kubectl: Kubectl) -> Release:
    helm = Helm(Path("/helm"), Path("/config"), "here", commands)
    return Release(helm, kubectl, "mesh", Path("/chart"), node_address="192.0.2.1")


def test_names_are_those_the_chart_makes(
    commands: Commands, kubectl: Kubectl, release: Release
) -> None:
    assert release.fullname == "mesh-infermesh"
    other = Release(release.helm, kubectl, "my-infermesh", Path("/chart"))
    assert other.fullname == "my-infermesh"


def test_a_refused_installation_says_what_is_in_the_namespace(
    commands: Commands, release: Release
) -> None:
    commands.answer("upgrade mesh", CommandFailed("values don't meet the schema"))
    with pytest.raises(CommandFailed, match="(?s)the schema.*--- pods\nnone"):
        release.install({"a": 1})


def test_the_edge_is_a_port_of_a_node_where_there_is_one(
    commands: Commands, release: Release
) -> None:
    commands.answer(
        "get service mesh-infermesh-envoy",
        service({"name": "http", "port": 80, "nodePort": 30080}),
    )
    with release.edge() as url:
        assert url == "http://192.0.2.1:30080"
    commands.answer("get service", service({"name": "https", "port": 443, "nodePort": 30443}))
    with release.edge() as url:
        assert url == "https://192.0.2.1:30443"


def test_the_edge_is_a_forwarded_port_where_nodes_have_none(
    commands: Commands, release: Release, tmp_path: Path
) -> None:
    program = tmp_path / "kubectl"
    answer = json.dumps(service({"name": "http", "port": 80}))
    program.write_text(
        '#!/bin/sh\ncase "$*" in\n*port-forward*service/edge*:80)'
        " echo 'Forwarding from 127.0.0.1:4242 -> 8080'; exec sleep 60;;\n"
        f"*) echo '{answer}';;\nesac\n"
    )
    program.chmod(0o755)
    there = Kubectl(program, Path("/config"), "here")
    with Release(release.helm, there, "mesh", Path("/c")).edge("edge") as url:
        assert url == "http://127.0.0.1:4242"


def test_a_secret_is_read_and_a_missing_one_named(commands: Commands, release: Release) -> None:
    commands.answer("get secret s", {"data": {"key": base64.b64encode(b"value\n").decode()}})
    assert release.secret("s", "key") == "value"
    with pytest.raises(KeyError, match="Secret s has no other"):
        release.secret("s", "other")


def test_pods_that_are_about_to_go_are_not_counted(commands: Commands, release: Release) -> None:
    going = {"metadata": {"name": "old", "deletionTimestamp": "now"}}
    commands.answer("get pods", {"items": [{"metadata": {"name": "new"}}, going]})
    assert release.pods("router") == ["new"]
    assert "component=router" in commands.run[-1]


def test_what_is_left_is_named_without_what_kubernetes_puts_there(
    commands: Commands, release: Release
) -> None:
    commands.answer("api-resources", "configmaps\nsecrets\nevents\nbroken.example\n")
    root = {"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}}
    going = {"kind": "ConfigMap", "metadata": {"name": "x", "deletionTimestamp": "now"}}
    commands.answer("get configmaps", {"items": [root, going]})
    commands.answer("get secrets", {"items": [{"kind": "Secret", "metadata": {"name": "kept"}}]})
    commands.answer("get broken", CommandFailed("the server is away"))
    assert release.uninstall() == {"Secret/kept"}
    assert not any("get events" in command for command in commands.run)


def test_what_is_left_outside_of_namespaces_is_named(commands: Commands, kubectl: Kubectl) -> None:
    commands.answer("api-resources", "clusterroles\n")
    role = {"kind": "ClusterRole", "metadata": {"name": "r"}}
    commands.answer("get clusterroles -l app=x", {"items": [role]})
    assert objects_outside(kubectl, "app=x") == {"ClusterRole/r"}
    claims = [
        {"metadata": {"name": n}, "spec": {"claimRef": {"namespace": n}}} for n in ("here", "x")
    ]
    commands.answer("get persistentvolumes", {"items": claims})
    assert volumes_of(kubectl) == {"here"}
    assert objects_in(kubectl) == set()


def test_a_namespace_is_restricted_and_goes_even_when_a_test_fails(
    commands: Commands, kubectl: Kubectl
) -> None:
    with pytest.raises(ZeroDivisionError), temporary_namespace(kubectl, {"team": "x"}):
        raise ZeroDivisionError
    labels = json.loads(commands.given[1])["items"][0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted" and labels["team"] == "x"
    assert commands.run[0] == f"{PREFIX} create namespace here"
    assert commands.run[-1] == f"{PREFIX} delete namespace here --ignore-not-found --wait"


def test_a_namespace_stays_when_it_is_to_be_looked_at(commands: Commands, kubectl: Kubectl) -> None:
    with temporary_namespace(kubectl, keep=lambda: True):
        assert len(commands.run) == 2
    assert len(commands.run) == 2


WORKLOAD = {
    "kind": "Deployment",
    "metadata": {"generation": 1},
    "spec": {"replicas": 1, "selector": {"matchLabels": {"b": "2", "a": "1"}}},
    "status": {
        "observedGeneration": 1,
        "replicas": 1,
        "updatedReplicas": 1,
        "readyReplicas": 1,
        "availableReplicas": 1,
    },
}


def test_a_pod_is_killed_without_time_to_drain(commands: Commands, kubectl: Kubectl) -> None:
    Faults(kubectl).kill("p")
    assert commands.run[-1].endswith(
        "delete pod p --ignore-not-found --grace-period=0 --force --wait"
    )


def test_an_eviction_asks_the_disruption_budget(commands: Commands, kubectl: Kubectl) -> None:
    Faults(kubectl).evict("p")
    assert "/api/v1/namespaces/here/pods/p/eviction" in commands.run[-1]
    assert json.loads(commands.given[-1])["metadata"] == {"name": "p", "namespace": "here"}


def test_a_restart_and_a_change_of_size_wait_until_old_pods_are_gone(
    commands: Commands, kubectl: Kubectl
) -> None:
    commands.answer("get deployment router", WORKLOAD)
    Faults(kubectl).restart("deployment/router", within_s=0)
    Faults(kubectl).scale("deployment/router", 1, within_s=0)
    assert any(command.endswith("get pods -l a=1,b=2 -o json") for command in commands.run)
    assert any("scale deployment/router --replicas=1" in command for command in commands.run)
    going = {"metadata": {"name": "old", "deletionTimestamp": "now"}}
    commands.answer("get pods", {"items": [going]})
    with pytest.raises(NotInTime, match="deployment/router to settle"):
        Faults(kubectl).restart("deployment/router", within_s=0)
    assert workload_labels({}) == {}


def test_pods_are_replaced_when_as_many_others_are_ready(
    commands: Commands, kubectl: Kubectl
) -> None:
    new = {"metadata": {"name": "b"}, "status": {"phase": "Running"}}
    commands.answer("get pods", {"items": [new]})
    with pytest.raises(NotInTime):
        Faults(kubectl).replaced("app=x", {"a"}, within_s=0)
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    commands.answer("get pods", {"items": [{**new, "status": ready}]})
    assert Faults(kubectl).replaced("app=x", {"a"}, within_s=0) == {"b"}


TEXT = """\
# TYPE calls counter
calls_total{service="router",code="OK"} 3
calls_total{service="router",code="UNAVAILABLE"} 1
"""


def test_metrics_of_several_pods_are_added_up(commands: Commands, kubectl: Kubectl) -> None:
    commands.answer("exec a", TEXT)
    commands.answer("exec b", TEXT)
    metrics = PodMetrics(kubectl).read(["a", "b"])
    assert metrics.total("calls_total", service="router") == 8
    assert metrics.values("calls_total", code="OK") == [3, 3]
    assert metrics.total("calls_total", code="ABORTED") == 0
    assert commands.run[0].endswith("http://127.0.0.1:9090/metrics")
    assert Metrics([]).values("calls_total") == []

"""`infermesh doctor --kube`: what is printed, and the code it ends with."""

import json

import pytest
import typer
from typer.testing import CliRunner, Result

from infermesh.cli.app import build_app
from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.cluster import NoCluster, NotAccepted, Unreachable
from infermesh.cli.kube_doctor.command import Options, doctor_kube
from infermesh.cli.kube_doctor.connection import Connection, NotInstalled
from infermesh.cli.kube_doctor.kubectl import Kubectl
from infermesh.cli.kube_doctor.testing.fake_cluster import FakeCluster
from infermesh.cli.kube_doctor.testing.mesh import healthy_mesh


def run(cluster: FakeCluster | Exception, *, as_json: bool = False, namespace: str = "") -> Result:
    """Runs the command against that cluster, whose context is about namespace `ai`."""

    def connect(kubeconfig: str, context: str) -> Connection:
        if isinstance(cluster, Exception):
            raise cluster
        return Connection(cluster, "ai")

    app = typer.Typer()

    @app.command()
    def doctor() -> None:
        doctor_kube(Options("", "dev", namespace, "", as_json), connect)

    return CliRunner().invoke(app, [])


@pytest.fixture
def mesh() -> FakeCluster:
    """A mesh that works."""
    return healthy_mesh()


def test_all_well_is_said_and_is_exit_code_0(mesh: FakeCluster) -> None:
    ran = run(mesh)
    assert (ran.exit_code, ran.stdout.splitlines()) == (
        0,
        [
            "Release mesh in namespace ai: 8 pods, 6 resources.",
            "ok       nothing is wrong",
        ],
    )


def test_a_finding_is_a_sentence_and_a_command(mesh: FakeCluster) -> None:
    mesh.remove(kinds.DEFINITION, "tenants.infermesh.dev")
    ran = run(mesh)
    assert ran.exit_code == 10
    assert ran.stdout.splitlines()[1:] == [
        "error    definitions: CustomResourceDefinition tenants.infermesh.dev: "
        "The kind Tenant is not defined in the cluster.",
        "         -> helm show crds CHART | kubectl apply --server-side -f -",
    ]


def test_many_objects_are_counted_and_consequences_mentioned(mesh: FakeCluster) -> None:
    for kind in kinds.RESOURCES:
        for each in mesh.list(kind, "ai"):
            mesh.set(kind, each.name, "status", {})
    mesh.set(kinds.LEASE, "mesh-infermesh-governance", "spec.holderIdentity", "")
    ran = run(mesh)
    assert "Provider openai, Model small, RoutePolicy default and 1 more: It has" in ran.stdout
    assert "Likely to follow from these: 1 more (see --output json)." in ran.stdout
    assert ran.exit_code == 23


def test_json_has_everything(mesh: FakeCluster) -> None:
    mesh.set(kinds.LEASE, "mesh-infermesh-governance", "spec.holderIdentity", "")
    tenant = next(kind for kind in kinds.RESOURCES if kind.name == "Tenant")
    mesh.set(tenant, "acme", "status", {})
    ran = run(mesh, as_json=True)
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["exit_code"], told["ok"]) == (23, 23, False)
    assert (told["release"], told["namespace"], told["pods"]) == ("mesh", "ai", 8)
    (finding,) = told["findings"]
    assert finding["object"] == {"kind": "Lease", "name": "mesh-infermesh-governance"}
    assert (finding["class"], finding["severity"]) == ("controller", "error")
    assert finding["component"] == "governance" and finding["others"] == []
    assert finding["next"].startswith("kubectl --context dev -n ai logs deployment/")
    assert [c["object"]["kind"] for c in told["consequences"]] == ["Tenant"]


@pytest.mark.parametrize(
    ("error", "next"),
    [
        (Unreachable("https://a:1 cannot be reached: refused"), "--context dev cluster-info"),
        (NoCluster("there is no KUBECONFIG"), "config get-contexts"),
        (NotAccepted("https://a:1 does not accept your credentials"), "--context dev auth whoami"),
    ],
)
def test_a_cluster_that_cannot_be_asked_is_exit_code_4(error: Exception, next: str) -> None:
    ran = run(error)
    text = str(error)
    assert ran.exit_code == 4
    assert ran.stdout.splitlines() == [
        f"error    access: Cluster dev: {text[0].upper()}{text[1:]}.",
        f"         -> kubectl {next}",
    ]
    told = json.loads(run(error, as_json=True).stdout)
    assert (told["exit_code"], told["findings"][0]["class"]) == (4, "access")


def test_a_missing_package_is_one_sentence() -> None:
    ran = run(NotInstalled("pip install kubernetes"))
    assert (ran.exit_code, ran.stderr) == (1, "Error: pip install kubernetes\n")


def test_a_stated_namespace_takes_precedence(mesh: FakeCluster) -> None:
    ran = run(mesh, namespace="b")
    assert ran.exit_code == 11
    assert "infermesh doctor --kube --namespace ai --release mesh --context dev" in ran.stdout


def test_names_in_commands_are_quoted() -> None:
    kubectl = Kubectl("a b", "my cluster")
    assert kubectl("get pods") == "kubectl --context 'my cluster' -n 'a b' get pods"
    assert kubectl.helm("list") == "helm --kube-context 'my cluster' -n 'a b' list"
    assert kubectl.doctor() == ("infermesh doctor --kube --namespace 'a b' --context 'my cluster'")


@pytest.mark.parametrize("option", ["--namespace", "--release", "--context"])
def test_options_of_a_cluster_want_one(option: str) -> None:
    ran = CliRunner().invoke(build_app(lambda state_dir: None), ["doctor", option, "x"])
    assert ran.exit_code == 2
    assert "go with --kube" in ran.stderr

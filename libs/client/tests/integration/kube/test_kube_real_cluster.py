"""`infermesh doctor --kube` against a real cluster in which things are broken on purpose."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infermesh.cli.kube_doctor.testing.real_cluster import RealCluster, Told

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[4]
DEFINITIONS = REPOSITORY / "deploy" / "helm" / "infermesh" / "crds"
IMAGE = "docker.io/library/python:3.11-slim-bookworm"
FOR_EVER = "import signal; signal.pause()"
DEADLINE_S = 150.0
Manifest = dict[str, object]


def _environment() -> dict[str, str]:
    """Of the cluster that KUBECONFIG names, else of the cluster kit, started if need be."""
    environment = dict(os.environ)
    if environment.get("INFERMESH_CLUSTER_TESTS") != "1":
        pytest.skip("needs a cluster: INFERMESH_CLUSTER_TESTS=1")
    if "KUBECONFIG" not in environment:
        kit = Path(environment.get("INFERMESH_CLUSTER_KIT") or REPOSITORY.parent / "shared/cluster")
        if not (kit / "up").is_file():
            pytest.skip("needs a cluster: set KUBECONFIG, or INFERMESH_CLUSTER_KIT to its folder")
        subprocess.run([kit / "base-image"], check=True, capture_output=True)
        started = subprocess.run(
            ["bash", "-c", f'set -e; eval "$({kit}/up)"; {kit}/load-image {IMAGE} >&2; env -0'],
            check=True,
            capture_output=True,
            text=True,
        )
        environment = dict(e.split("=", 1) for e in started.stdout.split("\0") if "=" in e)
    if shutil.which("kubectl", path=environment["PATH"]) is None:
        pytest.skip("needs kubectl in the PATH")
    return environment


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    """With the definitions of the resources, which stay: others may use them."""
    made = RealCluster(_environment(), f"infermesh-doctor-{uuid4().hex[:8]}")
    made.kubectl("create", "namespace", made.namespace)
    try:
        made.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(DEFINITIONS))
        made.kubectl("wait", "--for=condition=Established", "-f", str(DEFINITIONS))
        yield made
    finally:
        made.kubectl("delete", "namespace", made.namespace, "--wait=false")


def workload(described: dict[str, Manifest]) -> Manifest:
    """A Deployment or StatefulSet that runs some Python, as broken.yaml describes it."""
    component, release = described["component"], described.get("release", "mesh")
    name = f"{release}-infermesh-{component}"
    labels = {
        "app.kubernetes.io/name": "infermesh",
        "app.kubernetes.io/instance": release,
        "app.kubernetes.io/component": component,
    }
    container: Manifest = {
        "name": component,
        "image": described.get("image", IMAGE),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-u", "-c", described.get("code", FOR_EVER)],
        **described.get("container", {}),
    }
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        **described.get("pod", {}),
    }
    spec: Manifest = {
        "replicas": described.get("replicas", 1),
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    kind = described.get("kind", "Deployment")
    if "claims" in described:
        spec |= {"serviceName": name, "volumeClaimTemplates": described["claims"]}
    named = {"name": name, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": named, "spec": spec}


def expired_certificate() -> str:
    """Since yesterday."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mesh")])
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(yesterday - timedelta(days=90))
        .not_valid_after(yesterday)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def until(look: Callable[[], Told], enough: Callable[[Told], bool]) -> Told:
    """What is told once it is enough, or at the deadline."""
    end = time.monotonic() + DEADLINE_S
    told = look()
    while not enough(told) and time.monotonic() < end:
        told = look()
    return told


@pytest.fixture(scope="module")
def broken(cluster: RealCluster) -> RealCluster:
    """With everything that is in the two files beside this one."""
    described = yaml.safe_load((HERE / "broken.yaml").read_text("utf-8"))
    around = yaml.safe_load_all((HERE / "around.yaml").read_text("utf-8"))
    certificate = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "certificate"},
        "stringData": {"tls.crt": expired_certificate()},
    }
    cluster.apply(certificate, *around, *(workload(each) for each in described))
    return cluster


EXPECTED = {
    ("secret", ""),
    ("secret", "envoy"),
    ("certificate", ""),
    ("storage", "analytics"),
    ("scheduling", "governance"),
    ("image", "router"),
    ("memory", "redis"),
    ("crash", "cache"),
    ("dependency", "vault"),
    ("readiness", "model"),
    ("endpoints", "nobody"),
    ("autoscaling", "edge"),
}


@pytest.mark.timeout(240)
def test_everything_that_was_broken_is_found_and_nothing_else(broken: RealCluster) -> None:
    told = until(
        lambda: broken.doctor("--release", "mesh"),
        lambda found: found.errors == EXPECTED and "settings" in found.what("crash", "cache"),
    )
    assert told.errors == EXPECTED
    assert told.exit_code == 12
    assert "does-not-exist" in told.what("image", "router")
    assert "cannot use its settings: Settings of cache: targets.redis is missing." in told.what(
        "crash", "cache"
    )
    assert "no node has enough free CPU" in told.what("scheduling", "governance")
    assert "StorageClass does-not-exist does not exist" in told.what("storage", "analytics")
    assert "(24Mi)" in told.what("memory", "redis")
    assert "The vault is sealed" in told.what("dependency", "vault")
    assert "Readiness probe failed: the model is loading" in told.what("readiness", "model")
    assert "under tls.crt expired on" in told.what("certificate")
    assert "(app=nobody)" in told.what("endpoints", "nobody")
    assert "FailedGetResourceMetric" in told.what("autoscaling", "edge")
    assert "run more replicas" in told.what("disruption", "edge")


@pytest.mark.timeout(240)
def test_keys_of_a_real_secret_are_known_without_their_values(broken: RealCluster) -> None:
    told = broken.doctor("--release", "mesh")
    keys = [f for f in told.findings if f["object"] == {"kind": "Secret", "name": "provider-key"}]
    assert [f["what"] for f in keys] == [
        "It has no key key, only other; needed by Provider openai."
    ]
    assert "sk-very-secret" not in json.dumps(told.findings + told.consequences)


@pytest.mark.timeout(240)
def test_replicas_that_disagree_are_found_through_the_proxy(broken: RealCluster) -> None:
    told = until(
        lambda: broken.doctor("--release", "second"),
        lambda found: ("revision", "router") in found.errors,
    )
    assert "second-infermesh-router-" in told.what("revision", "router")
    several = broken.doctor()
    assert several.exit_code == 11
    assert "several releases in the namespace: mesh, second" in several.what("release")


@dataclass(frozen=True)
class Person:
    """Somebody with few rights.

    Attributes:
        kubeconfig: file.
        account: name of the ServiceAccount that stands for the person.
    """

    kubeconfig: str
    account: str


@pytest.fixture
def person(broken: RealCluster, tmp_path: Path) -> Person:
    """Without any right at all."""
    account = f"person-{uuid4().hex[:6]}"
    broken.kubectl("create", "serviceaccount", account)
    token = broken.kubectl("create", "token", account).strip()
    config = yaml.safe_load(Path(broken.environment["KUBECONFIG"]).read_text("utf-8"))
    config["users"] = [{**config["users"][0], "user": {"token": token}}]
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return Person(str(file), account)


def test_without_rights_the_missing_verbs_are_named(broken: RealCluster, person: Person) -> None:
    told = broken.doctor("--release", "mesh", kubeconfig=person.kubeconfig)
    assert told.exit_code == 4
    assert f"may not list deployments.apps in namespace {broken.namespace}" in told.what("access")


def test_credentials_that_are_none_are_told_so(broken: RealCluster, person: Person) -> None:
    path = Path(person.kubeconfig)
    config = yaml.safe_load(path.read_text("utf-8"))
    config["users"][0]["user"]["token"] = "nonsense"
    path.write_text(yaml.safe_dump(config))
    told = broken.doctor(kubeconfig=person.kubeconfig)
    assert (told.exit_code, "does not accept your credentials" in told.what("access")) == (4, True)


@pytest.mark.timeout(240)
def test_the_documented_rights_are_all_it_needs(broken: RealCluster, person: Person) -> None:
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text("utf-8")
    namespaced, cluster_wide = yaml.safe_load_all(page.split("```yaml\n")[1].split("```")[0])
    # Names of the test's own: the cluster has others in it.
    namespaced["kind"], namespaced["metadata"] = "Role", {"name": person.account}
    of_cluster = f"infermesh-doctor-{person.account}"
    cluster_wide["metadata"] = {"name": of_cluster}
    subject = f"--serviceaccount={broken.namespace}:{person.account}"
    try:
        broken.apply(namespaced, cluster_wide)
        broken.kubectl("create", "rolebinding", person.account, f"--role={person.account}", subject)
        broken.kubectl(
            "create", "clusterrolebinding", of_cluster, f"--clusterrole={of_cluster}", subject
        )
        told = until(
            lambda: broken.doctor("--release", "mesh", kubeconfig=person.kubeconfig),
            lambda found: found.errors == EXPECTED,
        )
        assert told.errors == EXPECTED
        assert [f for f in told.findings if f["severity"] == "note"] == []
    finally:
        for kind in ("clusterrolebinding", "clusterrole"):
            broken.kubectl("delete", kind, of_cluster, "--ignore-not-found")

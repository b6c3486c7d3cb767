"""A mesh in a cluster in memory that works, to break in tests."""

from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.cluster import Kind
from infermesh.cli.kube_doctor.components import METRICS_PORT, STATUS_OWNERS, VAULT_PORT
from infermesh.cli.kube_doctor.examine import Report, examine
from infermesh.cli.kube_doctor.kubectl import Kubectl
from infermesh.cli.kube_doctor.testing.fake_cluster import NAMESPACE, FakeCluster, Json, ago
from infermesh.inference import JsonValue

RELEASE = "mesh"
VERSION = "0.1.0"


def full(component: str, release: str = RELEASE) -> str:
    """Name of the objects of a component."""
    return f"{release}-infermesh-{component}"


def labels(component: str, release: str = RELEASE) -> Json:
    """As the chart sets them."""
    return {
        "app.kubernetes.io/name": "infermesh",
        "app.kubernetes.io/instance": release,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/version": VERSION,
    }


def secret(cluster: FakeCluster, name: str, *keys: str, **data: str) -> None:
    """Puts a Secret there, with what the API server notes about its keys."""
    noted: Json = {f"f:{key}": {} for key in keys}
    cluster.add(
        kinds.SECRET,
        name,
        {
            "metadata": {
                "managedFields": [{"manager": "helm", "fieldsV1": {"f:data": {".": {}, **noted}}}]
            },
            "data": dict(data),
        },
    )


def pod(cluster: FakeCluster, component: str, number: int = 0, image: str = "") -> str:
    """Puts a pod there that runs and is ready; its name."""
    name = f"{full(component)}-{number}"
    image = image or f"infermesh/{component}:{VERSION}"
    status: Json = {
        "name": component,
        "image": image,
        "imageID": f"sha256:{component}",
        "ready": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": ago(days=1)}},
    }
    cluster.add(
        kinds.POD,
        name,
        {
            "metadata": {"labels": labels(component), "creationTimestamp": ago(days=1)},
            "spec": pod_spec(component, image),
            "status": {
                "phase": "Running",
                "conditions": [
                    {"type": "PodScheduled", "status": "True"},
                    {"type": "Ready", "status": "True"},
                ],
                "containerStatuses": [status],
            },
        },
    )
    return name


def pod_spec(component: str, image: str) -> Json:
    """With the Secrets, the certificate and the claim of the component."""
    volumes: list[JsonValue] = [
        {"name": "config", "configMap": {"name": full("config")}},
        {"name": "secrets", "projected": {"sources": [{"secret": _item("token", "token")}]}},
        {
            "name": "mtls",
            "secret": {"secretName": "mtls", "items": [{"key": "tls.crt"}, {"key": "tls.key"}]},
        },
    ]
    if component == "analytics":
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": "data"}})
    limits: Json = {"limits": {"memory": "512Mi"}}
    return {
        "volumes": volumes,
        "containers": [{"name": component, "image": image, "resources": limits}],
    }


def _item(name: str, key: str) -> Json:
    return {"name": name, "items": [{"key": key, "path": key}]}


def workload(cluster: FakeCluster, kind: Kind, component: str, release: str = RELEASE) -> None:
    """Puts a Deployment or StatefulSet there that is as it should be."""
    cluster.add(
        kind,
        full(component, release),
        {
            "metadata": {
                "labels": labels(component, release),
                "annotations": {"deployment.kubernetes.io/revision": "2"},
            },
            "spec": {"replicas": 1, "template": {"spec": pod_spec(component, "")}},
            "status": {
                "observedGeneration": 1,
                "replicas": 1,
                "conditions": [{"type": "Progressing", "status": "True"}],
            },
        },
    )


def resource(cluster: FakeCluster, kind: Kind, name: str, spec: Json) -> None:
    """Puts a resource there that was accepted and works."""
    cluster.add(
        kind,
        name,
        {
            "spec": spec,
            "status": {
                "observedGeneration": 1,
                "conditions": [
                    {"type": "Accepted", "status": "True", "reason": "Valid"},
                    {"type": "Ready", "status": "True", "reason": "Works"},
                ],
            },
        },
    )


def definition(kind: Kind) -> Json:
    """The CustomResourceDefinition of a kind."""
    return {
        "metadata": {"labels": {"app.kubernetes.io/version": VERSION}},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "plural": kind.plural,
                "singular": kind.name.lower(),
            },
            "versions": [
                {
                    "name": kind.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": True,
                        }
                    },
                }
            ],
        },
    }


def healthy_mesh() -> FakeCluster:
    """A mesh about which there is nothing to say."""
    cluster = FakeCluster()
    for kind in kinds.RESOURCES:
        cluster.add(kinds.DEFINITION, kind.resource, definition(kind), "")
    for component in ("router", "cache", "governance", "envoy"):
        workload(cluster, kinds.DEPLOYMENT, component)
    for component in ("analytics", "redis", "vault"):
        workload(cluster, kinds.STATEFUL_SET, component)
    for component in ("router", "cache", "governance", "analytics", "redis", "vault", "envoy"):
        for number in range(2 if component == "router" else 1):
            name = pod(cluster, component, number)
            revision = 'infermesh_resources_revision{revision="abc123"} 1.0'
            cluster.pages[name, METRICS_PORT, "metrics"] = f"# HELP\n{revision}\n"
        _service(cluster, component)
    cluster.pages[f"{full('vault')}-0", VAULT_PORT, "v1/sys/health"] = (
        '{"initialized": true, "sealed": false}'
    )
    for component in set(STATUS_OWNERS.values()):
        _lease(cluster, component)
    claim: Json = {"spec": {"storageClassName": "fast"}, "status": {"phase": "Bound"}}
    cluster.add(kinds.CLAIM, "data", claim)
    cluster.add(kinds.STORAGE_CLASS, "fast", namespace="")
    _secrets_and_resources(cluster)
    _policies(cluster)
    return cluster


def _service(cluster: FakeCluster, component: str) -> None:
    name = full(component)
    cluster.add(
        kinds.SERVICE,
        name,
        {"metadata": {"labels": labels(component)}, "spec": {"selector": labels(component)}},
    )
    cluster.add(
        kinds.ENDPOINT_SLICE,
        f"{name}-x",
        {
            "metadata": {"labels": {"kubernetes.io/service-name": name}},
            "ports": [{"port": 50051}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        },
    )


def _lease(cluster: FakeCluster, component: str) -> None:
    held: Json = {
        "holderIdentity": f"{full(component)}-0",
        "leaseDurationSeconds": 15,
        "renewTime": ago(seconds=3).replace("Z", ".000000Z"),
    }
    cluster.add(kinds.LEASE, full(component), {"spec": held})


def _secrets_and_resources(cluster: FakeCluster) -> None:
    secret(cluster, "token", "token")
    secret(cluster, "mtls", "tls.crt", "tls.key")
    secret(cluster, "openai", "key")
    by_name = {kind.name: kind for kind in kinds.RESOURCES}
    specs: list[tuple[str, str, Json]] = [
        ("Provider", "openai", {"auth": {"secret": {"name": "openai", "key": "key"}}}),
        ("Model", "small", {"provider": "openai"}),
        ("RoutePolicy", "default", {"models": ["small"], "fallbacks": {"small": ["small"]}}),
        ("CachePolicy", "default", {}),
        ("Tenant", "acme", {"routePolicy": "default", "cachePolicy": "default"}),
        ("ApiKey", "ci", {"tenant": "acme", "secretRef": {"vault": {"path": "x", "key": "k"}}}),
    ]
    for kind, name, spec in specs:
        resource(cluster, by_name[kind], name, spec)


def _policies(cluster: FakeCluster) -> None:
    named: Json = {"labels": labels("router")}
    active: Json = {"conditions": [{"type": "ScalingActive", "status": "True"}]}
    cluster.add(kinds.AUTOSCALER, full("router"), {"metadata": named, "status": active})
    allows: Json = {
        "expectedPods": 2,
        "currentHealthy": 2,
        "desiredHealthy": 1,
        "disruptionsAllowed": 1,
    }
    cluster.add(kinds.DISRUPTION_BUDGET, full("router"), {"metadata": named, "status": allows})


def diagnosed(cluster: FakeCluster, wanted: str = "") -> Report:
    """What the doctor tells about a release of the namespace."""
    return examine(cluster, Kubectl(NAMESPACE), wanted, VERSION)

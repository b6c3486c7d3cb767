"""The doctor's way to an API server, against a server that says what the test wants."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.cluster import (
    ClusterError,
    Forbidden,
    NoAnswer,
    NoCluster,
    NotAccepted,
    NotFound,
    Unreachable,
)
from infermesh.cli.kube_doctor.connection import Connection, connect


@dataclass
class ApiServer:
    """Answers every path as scripted.

    Attributes:
        url: where it listens.
        answers: status and body by path with query.
        asked: (method, path, Accept, Authorization) of every request.
    """

    url: str = ""
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """Runs on a free port."""
    script = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        """Answers and notes."""

        def do_GET(self) -> None:
            """As scripted, else 404."""
            headers = self.headers
            accept, token = headers.get("Accept", ""), headers.get("Authorization", "")
            script.asked.append(("GET", self.path, accept, token))
            status, body = script.answers.get(self.path, (404, "{}"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


def kubeconfig(folder: Path, url: str, namespace: str = "ai") -> str:
    """A kubeconfig with the contexts `one` (of that namespace) and `bare` (of none)."""
    path = folder / "kubeconfig"
    user = {"name": "me", "user": {"token": "t0ken"}}
    contexts = [
        {"name": "one", "context": {"cluster": "c", "user": "me", "namespace": namespace}},
        {"name": "bare", "context": {"cluster": "c", "user": "me"}},
    ]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [user],
        "contexts": contexts,
        "current-context": "one",
    }
    path.write_text(json.dumps(config))
    return str(path)


@pytest.fixture
def connection(api: ApiServer, tmp_path: Path) -> Connection:
    """By way of a kubeconfig."""
    return connect(kubeconfig(tmp_path, api.url), "")


def test_the_namespace_is_that_of_the_context(api: ApiServer, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, api.url)
    assert connect(file, "").namespace == connect(file, "one").namespace == "ai"
    assert connect(file, "bare").namespace == "default"


def test_the_time_is_the_servers(connection: Connection, api: ApiServer) -> None:
    api.answers["/version"] = (200, "{}")
    now = connection.cluster.now()
    assert now.tzinfo is not None
    assert abs((datetime.now(timezone.utc) - now).total_seconds()) < 60
    assert api.asked == [("GET", "/version", "application/json", "Bearer t0ken")]


def test_lists_are_read_page_by_page(connection: Connection, api: ApiServer) -> None:
    path = "/apis/apps/v1/namespaces/ai/deployments?limit=500&labelSelector=a%3Db%2Cc%3Dd"
    first = {"metadata": {"continue": "x/y"}, "items": [{"metadata": {"name": "one"}}, 7]}
    api.answers[path] = (200, json.dumps(first))
    api.answers[f"{path}&continue=x%2Fy"] = (
        200,
        json.dumps({"metadata": {}, "items": [{"metadata": {"name": "two"}}]}),
    )
    found = connection.cluster.list(kinds.DEPLOYMENT, "ai", "a=b,c=d")
    assert [(each.kind, each.name) for each in found] == [
        ("Deployment", "one"),
        ("Deployment", "two"),
    ]


def test_all_namespaces_and_kinds_of_none(connection: Connection, api: ApiServer) -> None:
    api.answers["/api/v1/pods?limit=500"] = (200, '{"items": null}')
    assert connection.cluster.list(kinds.POD, "") == []
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/models.infermesh.dev"
    api.answers[path] = (200, '{"metadata": {"name": "models.infermesh.dev"}}')
    found = connection.cluster.get(kinds.DEFINITION, "", "models.infermesh.dev")
    assert found.name == "models.infermesh.dev"


def test_metadata_is_asked_for_alone(connection: Connection, api: ApiServer) -> None:
    api.answers["/api/v1/namespaces/ai/secrets/s"] = (200, '{"metadata": {"name": "s"}}')
    assert connection.cluster.metadata(kinds.SECRET, "ai", "s").name == "s"
    assert "as=PartialObjectMetadata" in api.asked[-1][2]


def test_one_key_of_a_secret_is_decoded(connection: Connection, api: ApiServer) -> None:
    data = {"tls.crt": base64.b64encode(b"PEM").decode(), "odd": "%%%"}
    api.answers["/api/v1/namespaces/ai/secrets/s"] = (200, json.dumps({"data": data}))
    assert connection.cluster.secret_text("ai", "s", "tls.crt") == "PEM"
    assert connection.cluster.secret_text("ai", "s", "odd") == ""
    with pytest.raises(NotFound):
        connection.cluster.secret_text("ai", "s", "absent")


def test_logs_and_ports_of_pods_are_text(connection: Connection, api: ApiServer) -> None:
    pod = "/api/v1/namespaces/ai/pods/p"
    api.answers[f"{pod}/log?container=c&tailLines=200&previous=true"] = (200, "line\n")
    api.answers[f"{pod}:9090/proxy/metrics?a=b"] = (200, "m 1")
    assert connection.cluster.log("ai", "p", "c", previous=True) == "line\n"
    assert connection.cluster.fetch("ai", "p", 9090, "metrics?a=b") == "m 1"


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, NotAccepted, "does not accept your credentials"),
        (403, Forbidden, "you may not get secrets s in namespace ai"),
        (404, NotFound, "/api/v1/namespaces/ai/secrets/s"),
        (500, NoAnswer, "get secrets: 500, down"),
        (302, NoAnswer, "get secrets: 302"),
    ],
)
def test_refusals_are_told_apart(
    connection: Connection, api: ApiServer, status: int, error: type[ClusterError], words: str
) -> None:
    api.answers["/api/v1/namespaces/ai/secrets/s"] = (status, "down")
    with pytest.raises(error, match=words):
        connection.cluster.get(kinds.SECRET, "ai", "s")


@pytest.mark.parametrize("body", ["<html>", "[]"])
def test_what_is_no_api_server_is_said_so(
    connection: Connection, api: ApiServer, body: str
) -> None:
    api.answers["/api/v1/namespaces/ai/secrets/s"] = (200, body)
    with pytest.raises(Unreachable, match="does not answer as an API server does"):
        connection.cluster.get(kinds.SECRET, "ai", "s")


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="http://127.0.0.1:1 cannot be reached: .*refused"):
        connect(kubeconfig(tmp_path, "http://127.0.0.1:1"), "").cluster.now()


@pytest.mark.parametrize("text", [None, "", "{", "[1]", '{"contexts": 7}'])
def test_a_kubeconfig_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NoCluster, match="cannot be used"):
        connect(str(path), "")


def test_a_context_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="absent"):
        connect(kubeconfig(tmp_path, "http://127.0.0.1:1"), "absent")


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs Python of its own, in a home without a kubeconfig and out of a cluster."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KUBE", "INFERMESH_"))
        }
        return subprocess.run(
            [sys.executable, *arguments],
            env={**kept, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_without_any_configuration_it_says_so(
    command: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    ran = command("-m", "infermesh.cli", "doctor", "--kube")
    assert (ran.returncode, ran.stderr) == (4, "")
    assert "There is no KUBECONFIG, no ~/.kube/config" in ran.stdout


def test_without_the_package_it_says_how_to_get_it(
    command: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    script = (
        "import sys; sys.modules['kubernetes'] = None; from infermesh.cli import main;"
        "sys.argv[:] = ['infermesh', *sys.argv[1:]]; main()"
    )
    ran = command("-c", script, "doctor", "--kube", "--output", "json")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        "Error: `infermesh doctor --kube` needs the Python package kubernetes: "
        "pip install kubernetes\n"
    )


def test_no_other_command_loads_the_package(
    command: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    script = (
        "import sys; from infermesh.cli.app import build_app; build_app();"
        "sys.exit(any('kube' in name for name in sys.modules))"
    )
    assert command("-c", script).returncode == 0

"""Readiness of processes that answer wrongly, or not at all."""

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from infermesh_common.testing.servers import RedisServer
from infermesh_local.processes import GrpcReady, HttpReady, RedisReady, TcpReady
from infermesh_local.readiness import fault
from infermesh_local.rpc import SupervisorClient, Unreachable


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """200 for /ready, 503 for the rest."""
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    """URL of an HTTP server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[int]:
    """Port of a server that accepts connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port: int = server.getsockname()[1]
        yield port


def test_http_is_ready_when_it_answers_200(web: str) -> None:
    assert fault(HttpReady(f"{web}/ready"), 5.0) is None
    assert fault(HttpReady(f"{web}/other"), 5.0) == "HTTP 503"


def test_redis_is_ready_when_it_takes_the_password(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    assert fault(RedisReady(redis_server.port, redis_server.password_file), 5.0) is None
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    assert "WRONGPASS" in str(fault(RedisReady(redis_server.port, wrong), 5.0))
    missing = tmp_path / "missing"
    assert "password file" in str(fault(RedisReady(redis_server.port, missing), 5.0))


def test_a_process_that_says_nothing_is_not_ready(silent: int, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("x")
    assert fault(HttpReady(f"http://127.0.0.1:{silent}/"), 0.2) == "HTTP: TimeoutError"
    assert fault(RedisReady(silent, password), 0.2) == "redis: TimeoutError"
    assert fault(GrpcReady(f"127.0.0.1:{silent}"), 0.2) is not None


def test_a_process_that_does_not_listen_is_not_ready(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("x")
    assert fault(HttpReady("http://127.0.0.1:1/"), 5.0) is not None
    assert fault(RedisReady(1, password), 5.0) == "redis: ConnectionRefusedError"
    assert fault(GrpcReady("127.0.0.1:1"), 5.0) == "gRPC health: UNAVAILABLE"


def test_a_supervisor_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="getAllProcessInfo"):
        SupervisorClient(tmp_path / "no.sock").states()


def test_a_port_is_ready_when_it_accepts_connections(silent: int) -> None:
    assert fault(TcpReady(silent), 5.0) is None
    assert fault(TcpReady(1), 5.0) == "TCP: ConnectionRefusedError"

"""Whether a process does its work."""

import http.client
import socket
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from infermesh_local.port_choice import LOOPBACK
from infermesh_local.processes import GrpcReady, HttpReady, ReadyCheck, RedisReady, TcpReady

_LONGEST_ANSWER_BYTES = 200


def fault(check: ReadyCheck, timeout_s: float) -> str | None:
    """What keeps a process from being ready, in a few words; None when it is ready.

    Args:
        check: how to tell.
        timeout_s: an answer that takes longer counts as none.
    """
    match check:
        case RedisReady():
            return _redis_fault(check, timeout_s)
        case HttpReady():
            return _http_fault(check, timeout_s)
        case TcpReady():
            return _tcp_fault(check, timeout_s)
        case GrpcReady():
            return _grpc_fault(check, timeout_s)


def _redis_fault(check: RedisReady, timeout_s: float) -> str | None:
    try:
        password = check.password_file.read_text("utf-8").strip()
    except OSError as error:
        return f"password file: {error.strerror}"
    # Two commands by hand: a client library would add a second to the start of every command.
    ask = b"".join(
        b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
        for words in ([b"AUTH", password.encode()], [b"PING"])
    )
    try:
        with socket.create_connection((LOOPBACK, check.port), timeout_s) as connection:
            connection.sendall(ask)
            answers = connection.makefile("rb")
            for expected in (b"+OK\r\n", b"+PONG\r\n"):
                if (answer := answers.readline(_LONGEST_ANSWER_BYTES)) != expected:
                    return f"redis: {answer.decode('ascii', 'replace').strip() or 'no answer'}"
    except OSError as error:
        return f"redis: {type(error).__name__}"
    return None


def _http_fault(check: HttpReady, timeout_s: float) -> str | None:
    # Loopback is never reached through a proxy, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(check.url, timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"HTTP: {type(error).__name__}"


def _tcp_fault(check: TcpReady, timeout_s: float) -> str | None:
    try:
        with socket.create_connection((LOOPBACK, check.port), timeout_s):
            return None
    except OSError as error:
        return f"TCP: {type(error).__name__}"


def _grpc_fault(check: GrpcReady, timeout_s: float) -> str | None:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(check.target, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(
                health_pb2.HealthCheckRequest(service=check.service), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return f"gRPC health: {error.code().name}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return f"gRPC health: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"

"""Whether a process does its work."""

import http.client
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from infermesh_local.port_choice import LOOPBACK
from infermesh_local.processes import GrpcReady, HttpReady, ReadyCheck, RedisReady


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
        case GrpcReady():
            return _grpc_fault(check, timeout_s)


def _redis_fault(check: RedisReady, timeout_s: float) -> str | None:
    try:
        password = check.password_file.read_text("utf-8").strip()
    except OSError as error:
        return f"password file: {error.strerror}"
    try:
        with Redis(
            host=LOOPBACK,
            port=check.port,
            password=password,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except RedisError as error:
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

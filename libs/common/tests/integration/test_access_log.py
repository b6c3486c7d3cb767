"""One canonical line an RPC, which holds no prompt, no key and no body."""

import asyncio
import json
from collections.abc import AsyncGenerator

import grpc
import pytest

from infermesh_common.context import current
from infermesh_common.identity.model import Role
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.rpc.stages import AccessLog, IdentityGuard, RoleGuard, RpcMetrics
from infermesh_common.telemetry.logs import configure_logs
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.rpc import (
    ARITIES,
    METHODS,
    ScriptedService,
    scripted_client,
    scripted_server,
)
from infermesh_common.testing.servers import eventually

PROMPT = "zebra prompt of a customer"
Lines = list[dict[str, object]]


def pipeline(
    governance: FakeGovernance, metrics: Metrics, roles: dict[str, frozenset[Role]] | None = None
) -> ServerPipeline:
    return ServerPipeline(
        observers=[AccessLog(), RpcMetrics("test", metrics)],
        guards=[IdentityGuard(governance.directory), RoleGuard(roles or {})],
        default_deadline_ms=20_000,
    )


def _ended(metrics: Metrics, code: str) -> float:
    labels = {"service": "test", "method": METHODS["unary_unary"], "code": code}
    return metrics.sample("infermesh_rpc_requests_total", labels)


def lines_of(output: str) -> Lines:
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize("arity", ARITIES)
async def test_every_rpc_leaves_one_line_without_prompt_key_or_body(
    arity: str, governance: FakeGovernance, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("test", "INFO")
    key = governance.issue("acme")

    async def script(text: str) -> AsyncGenerator[str, None]:
        current().log_fields.update(model="gpt-x", tier="exact", undeclared=text)
        yield text

    around = pipeline(governance, metrics)
    async with scripted_server(ScriptedService(script), [around]) as target:
        async with scripted_client(target) as client:
            assert await client.answers(arity, PROMPT, metadata=bearer(key)) == [PROMPT]
    output = capsys.readouterr().out
    assert PROMPT not in output and key not in output and key.split("_")[2] not in output
    (line,) = lines_of(output)
    request_id, duration_us = line.pop("request_id"), line.pop("duration_us")
    assert isinstance(request_id, str) and isinstance(duration_us, int) and duration_us >= 0
    assert line.pop("timestamp")
    assert line == {
        "event": "rpc",
        "level": "info",
        "service": "test",
        "method": METHODS[arity],
        "tenant": "acme",
        "key_id": key.split("_")[1],
        "code": "OK",
        "model": "gpt-x",
        "tier": "exact",
    }


async def test_a_refused_caller_is_logged_without_what_it_sent(
    governance: FakeGovernance, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("test", "INFO")
    wrong = governance.issue("acme")[:-4] + "0000"
    async with scripted_server(ScriptedService(), [pipeline(governance, metrics)]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError):
                await client.answers("unary_unary", PROMPT, metadata=bearer(wrong))
        # The client knows before the line is written.
        await eventually(lambda: _ended(metrics, "UNAUTHENTICATED") == 1, what="end of the call")
    output = capsys.readouterr().out
    assert PROMPT not in output and wrong not in output
    (line,) = lines_of(output)
    assert (line["code"], line["tenant"], line["key_id"]) == ("UNAUTHENTICATED", None, None)


async def test_a_cancelled_call_is_logged_as_cancelled(
    governance: FakeGovernance, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("test", "INFO")
    started = asyncio.Event()

    async def script(text: str) -> AsyncGenerator[str, None]:
        started.set()
        await asyncio.Event().wait()
        yield text

    key = governance.issue("acme")
    labels = {"service": "test", "method": METHODS["unary_unary"], "code": "CANCELLED"}
    around = pipeline(governance, metrics)
    async with scripted_server(ScriptedService(script), [around]) as target:
        async with scripted_client(target) as client:
            call = client.start("unary_unary", metadata=bearer(key))
            await started.wait()
            call.cancel()
            await eventually(lambda: metrics.sample("infermesh_rpc_requests_total", labels) == 1)
    (line,) = lines_of(capsys.readouterr().out)
    assert line["code"] == "CANCELLED"


async def test_a_defect_is_logged_with_its_place_but_not_with_its_text(
    governance: FakeGovernance, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("test", "INFO")

    async def script(text: str) -> AsyncGenerator[str, None]:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(f"cannot handle {text}") from error
        yield text

    key = governance.issue("acme")
    around = pipeline(governance, metrics)
    async with scripted_server(ScriptedService(script), [around]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError):
                await client.answers("unary_unary", PROMPT, metadata=bearer(key))
        await eventually(lambda: _ended(metrics, "INTERNAL") == 1, what="end of the call")
    output = capsys.readouterr().out
    lines = {line["event"]: line for line in lines_of(output)}
    assert PROMPT not in output
    defect = str(lines["rpc_defect"]["error"])
    assert defect.startswith("ValueError\n") and "caused by KeyError" in defect
    assert "test_access_log.py" in defect
    assert lines["rpc_defect"]["request_id"] == lines["rpc"]["request_id"]
    assert lines["rpc"]["code"] == "INTERNAL"


async def test_a_field_that_json_cannot_carry_spoils_neither_the_line_nor_the_call(
    governance: FakeGovernance, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("test", "INFO")

    async def script(text: str) -> AsyncGenerator[str, None]:
        current().log_fields.update(requested_model="\ud800", count=2**70, outcome=object)
        yield text

    key = governance.issue("acme")
    around = pipeline(governance, metrics)
    async with scripted_server(ScriptedService(script), [around]) as target:
        async with scripted_client(target) as client:
            assert await client.answers("unary_unary", "a", metadata=bearer(key)) == ["a"]
    (line,) = lines_of(capsys.readouterr().out)
    assert (line["code"], line["requested_model"], line["count"]) == ("OK", "\ud800", 2**70)


@pytest.mark.parametrize(
    ("role", "code"),
    [
        (Role.MEMBER, grpc.StatusCode.PERMISSION_DENIED),
        (Role.ADMIN, grpc.StatusCode.OK),
        (Role.OPERATOR, grpc.StatusCode.OK),
    ],
)
async def test_a_method_is_open_to_its_roles_only(
    role: Role, code: grpc.StatusCode, governance: FakeGovernance, metrics: Metrics
) -> None:
    key = governance.issue("acme", role)
    roles = {METHODS["unary_unary"]: frozenset({Role.ADMIN, Role.OPERATOR})}
    around = pipeline(governance, metrics, roles)
    async with scripted_server(ScriptedService(), [around]) as target:
        async with scripted_client(target) as client:
            call = client.start("unary_unary", metadata=bearer(key))
            assert await call.code() is code
            # A method that names no roles is open to all of them.
            assert await client.answers("unary_stream", "a", metadata=bearer(key)) == ["a"]
    if code is not grpc.StatusCode.OK:
        assert await call.details() == "This operation needs the role admin or operator."

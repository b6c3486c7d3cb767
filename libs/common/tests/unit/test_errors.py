"""Errors keep what they say on their way through gRPC, and nothing breaks that way."""

import inspect

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from infermesh_common import errors
from infermesh_common.errors import (
    DOMAIN,
    STATUS_DETAILS_TRAILER,
    InfermeshError,
    Internal,
    NotFound,
    Unavailable,
    code_name,
    from_rpc_error,
    to_status,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, InfermeshError) and kind is not InfermeshError
]
# What UTF-8 can carry; lone surrogates have a test of their own.
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
REASON = st.from_regex(r"[A-Z][A-Z0-9]{0,20}(_[A-Z0-9]{1,10}){0,3}", fullmatch=True)


def rpc_error(
    status: status_pb2.Status, code: grpc.StatusCode | None = None
) -> grpc.aio.AioRpcError:
    return carrying(
        code or errors.InfermeshError.status_code,
        status.message,
        status.SerializeToString(),
    )


def carrying(code: grpc.StatusCode, message: str, details: bytes) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code,
        grpc.aio.Metadata(),
        grpc.aio.Metadata((STATUS_DETAILS_TRAILER, details)),
        details=message,
    )


def test_every_kind_has_a_status_code_of_its_own() -> None:
    codes = [kind.status_code for kind in KINDS]
    assert len(set(codes)) == len(codes) == 11
    assert grpc.StatusCode.OK not in codes


@given(
    kind=st.sampled_from(KINDS),
    reason=REASON,
    message=TEXT.filter(bool),
    metadata=st.dictionaries(TEXT, TEXT, max_size=4),
    retry_after_s=st.none() | st.floats(0, 600_000),
    field=st.none() | TEXT,
)
def test_an_error_survives_the_round_trip(
    kind: type[InfermeshError],
    reason: str,
    message: str,
    metadata: dict[str, str],
    retry_after_s: float | None,
    field: str | None,
) -> None:
    raised = kind(reason, message, metadata=metadata, retry_after_s=retry_after_s, field=field)
    status = to_status(raised)
    arrived = from_rpc_error(rpc_error(status, kind.status_code))
    assert type(arrived) is kind
    assert (arrived.reason, arrived.message) == (reason, message)
    assert (arrived.metadata, arrived.field) == (metadata, field)
    assert str(arrived) == message
    if retry_after_s is None:
        assert arrived.retry_after_s is None
    else:
        assert arrived.retry_after_s == pytest.approx(retry_after_s, abs=1e-6)


def test_the_error_info_names_reason_and_domain() -> None:
    status = to_status(NotFound("KEY_NOT_FOUND", "There is none.", metadata={"key": "k"}))
    info = error_details_pb2.ErrorInfo()
    assert len(status.details) == 1 and status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "KEY_NOT_FOUND",
        "infermesh.dev",
        {"key": "k"},
    )
    assert DOMAIN == "infermesh.dev"
    assert (status.code, code_name(status.code)) == (code_pb2.NOT_FOUND, "NOT_FOUND")


def test_a_delay_becomes_retry_info_and_a_field_becomes_a_bad_request() -> None:
    status = to_status(Unavailable("DOWN", "It is down.", retry_after_s=1.25, field="a.b"))
    kinds = [detail.type_url.rpartition(".")[2] for detail in status.details]
    assert kinds == ["ErrorInfo", "RetryInfo", "BadRequest"]
    retry, bad_request = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    status.details[1].Unpack(retry)
    status.details[2].Unpack(bad_request)
    assert retry.retry_delay.ToMilliseconds() == 1250
    (violation,) = bad_request.field_violations
    assert (violation.field, violation.description) == ("a.b", "It is down.")


@given(text=st.text(max_size=5000), retry_after_s=st.floats())
def test_any_text_and_any_delay_makes_a_status_that_fits_into_metadata(
    text: str, retry_after_s: float
) -> None:
    error = Internal("A", text, metadata={"what": text}, field=text, retry_after_s=retry_after_s)
    status = to_status(error)
    assert len(status.SerializeToString()) < 3000
    assert len(error.message.encode()) <= 640
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= 7 * 86_400
    assert isinstance(from_rpc_error(rpc_error(status)), Internal)


def test_a_long_message_is_cut_at_a_character() -> None:
    error = Internal("A", "é" * 5000)
    assert error.message == "é" * 320
    assert Internal("A", "x" + "é" * 5000).message == "x" + "é" * 319


def test_an_error_of_grpc_itself_gets_the_name_of_its_code() -> None:
    bare = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details=None
    )
    error = from_rpc_error(bare)
    assert type(error) is Unavailable
    assert (error.reason, error.message) == ("UNAVAILABLE", "UNAVAILABLE")
    assert (error.metadata, error.retry_after_s, error.field) == ({}, None, None)


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.OUT_OF_RANGE,
    ],
)
def test_a_code_without_a_kind_is_taken_for_an_outage(code: grpc.StatusCode) -> None:
    error = from_rpc_error(carrying(code, "odd", b""))
    assert type(error) is Unavailable and error.reason == code.name


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff\xff",
        b"",
        to_status(NotFound("OTHER", "other")).SerializeToString(),
    ],
)
def test_details_that_are_garbage_or_of_another_status_are_not_believed(details: bytes) -> None:
    error = from_rpc_error(carrying(grpc.StatusCode.PERMISSION_DENIED, "no", details))
    assert type(error) is errors.PermissionDenied
    assert (error.reason, error.message) == ("PERMISSION_DENIED", "no")


def test_a_malformed_detail_does_not_hide_the_refusal() -> None:
    status = to_status(NotFound("GONE", "gone", retry_after_s=1))
    status.details[1].value = b"\xff\xff"
    error = from_rpc_error(rpc_error(status, grpc.StatusCode.NOT_FOUND))
    assert type(error) is NotFound
    assert (error.reason, error.message) == ("GONE", "gone")

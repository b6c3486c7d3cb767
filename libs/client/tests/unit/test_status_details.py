"""Details of an error that are broken do not hide the error."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from infermesh import InternalError, UnavailableError
from infermesh.wire.status import error_from_rpc


def failed(details: bytes) -> grpc.aio.AioRpcError:
    """A call that failed with UNAVAILABLE "Down." and those details."""
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", details))
    return grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailers, details="Down."
    )


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff no protobuf",
        status_pb2.Status(code=5, message="Down.").SerializeToString(),
        status_pb2.Status(code=14, message="Something else.").SerializeToString(),
    ],
    ids=["garbage", "another code", "another message"],
)
def test_details_that_do_not_belong_to_the_status_are_left_out(details: bytes) -> None:
    error = error_from_rpc(failed(details), "r-1")
    assert type(error) is UnavailableError
    assert (error.message, error.reason, error.request_id) == ("Down.", "UNAVAILABLE", "r-1")


def test_details_nobody_knows_are_skipped() -> None:
    status = status_pb2.Status(code=14, message="Down.")
    status.details.add(type_url="type.googleapis.com/acme.New", value=b"x")
    status.details.add().Pack(error_details_pb2.BadRequest())
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="KNOWN"))
    error = error_from_rpc(failed(status.SerializeToString()), "")
    assert (error.reason, error.field) == ("KNOWN", None)


def test_a_failure_without_words_has_the_name_of_its_code() -> None:
    silent = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata()
    )
    error = error_from_rpc(silent, "")
    assert type(error) is InternalError
    assert error.message == "INTERNAL"

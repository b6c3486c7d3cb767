"""What providers say of a failure, in each of the forms they say it."""

import orjson
import pytest

from infermesh_common.errors import InvalidArgument, Unavailable
from infermesh_router.adapters.outbound.providers.errors import from_response, reported


def error(body, status=400, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return from_response("main", status, named, orjson.dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too long", "type": "t", "param": "messages", "code": "c"}},
        {"type": "error", "error": {"type": "t", "message": "too long"}, "request_id": "r"},
        {"error": {"code": 400, "message": "too long", "status": "INVALID_ARGUMENT"}},
        [{"error": {"code": 400, "message": "too long", "status": "INVALID_ARGUMENT"}}],
        {"message": "too long"},
        {"Message": "too long"},
        {"object": "error", "message": "too long", "type": "t", "code": 3051},
        {"detail": "too long"},
        {"error": "too long"},
    ],
)
def test_the_words_are_found(body):
    assert error(body).message == "too long"
    assert reported(body).message == "The provider reported an error: too long"


def test_words_that_are_a_list_are_passed_on_as_they_are():
    detail = [{"loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]
    assert error({"detail": detail}).message == orjson.dumps(detail).decode()
    nested = {"object": "error", "message": {"detail": detail}}
    assert "Extra inputs are not permitted" in error(nested).message


def test_code_type_and_param_are_told():
    told = error({"error": {"message": "m", "type": "t", "param": "p", "code": "c"}})
    assert told.metadata == {
        "provider": "main",
        "provider_status": "400",
        "provider_type": "t",
        "provider_param": "p",
        "provider_code": "c",
    }
    assert told.field == "p"
    google = error({"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}})
    assert google.metadata["provider_code"] == "INVALID_ARGUMENT"
    assert error({"message": "m", "code": 3051}).metadata["provider_code"] == "3051"


@pytest.mark.parametrize("status", [401, 402, 403])
def test_our_key_and_our_bill_are_not_the_clients_fault(status):
    told = error({"error": {"message": "Incorrect API key provided: sk-1234"}}, status)
    assert (type(told), told.reason) == (Unavailable, "PROVIDER_REFUSED_CREDENTIALS")
    assert "sk-1234" not in told.message


@pytest.mark.parametrize("status", [400, 405, 413, 422, 451])
def test_what_is_wrong_with_the_request_is_the_clients_to_know(status):
    assert isinstance(error({"message": "m"}, status), InvalidArgument)


@pytest.mark.parametrize("status", [302, 408, 409, 424, 425, 500, 502, 503, 504, 524, 529])
def test_what_may_pass_is_unavailable(status):
    told = error({"message": "m"}, status)
    assert (type(told), told.reason) == (Unavailable, "PROVIDER_FAILED")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.5", 0.5), ("", None), ("-1", None), ("1e9", None), ("nan", None)],
)
def test_a_time_to_wait_is_a_number_of_seconds_within_reason(header, seconds):
    assert error({}, 429, retry_after=header).retry_after_s == seconds
    assert error({}, 503, retry_after=header).retry_after_s == seconds

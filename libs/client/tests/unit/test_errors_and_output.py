"""Errors as sentences and exit codes; money and times as text."""

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from infermesh import (
    AuthenticationError,
    CacheStats,
    ConflictError,
    DeadlineExceededError,
    InfermeshError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    Tier,
    UnavailableError,
)
from infermesh.cli import output
from infermesh.cli.exits import exit_code, sentence_of


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InvalidRequestError, 2),
        (AuthenticationError, 3),
        (PermissionDeniedError, 3),
        (UnavailableError, 4),
        (DeadlineExceededError, 4),
        (NotFoundError, 1),
        (RateLimitError, 1),
        (ConflictError, 1),
        (InternalError, 1),
        (InfermeshError, 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(kind: type[InfermeshError], code: int) -> None:
    assert exit_code(kind("x")) == code
    assert issubclass(kind, InfermeshError)


def test_an_error_survives_the_way_to_another_process() -> None:
    error = RateLimitError(
        "slow down", reason="RATE_LIMITED", request_id="r", retry_after_s=2.5, metadata={"a": "b"}
    )
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is RateLimitError
    assert vars(copied) == vars(error)


def test_a_sentence_says_when_to_try_again_and_what_to_quote() -> None:
    error = RateLimitError("Too fast.", reason="RATE_LIMITED", request_id="r1", retry_after_s=1.5)
    assert sentence_of(error, "m:1") == ("Too fast. Try again in 1.5 s. (RATE_LIMITED, request r1)")


def test_a_sentence_names_the_mesh_only_when_the_mesh_did_not_speak() -> None:
    grpcs_own = UnavailableError("Connection refused", reason="UNAVAILABLE")
    the_meshs = UnavailableError("The provider is down.", reason="PROVIDER_DOWN")
    late = DeadlineExceededError("Deadline Exceeded", reason="DEADLINE_EXCEEDED")
    assert sentence_of(grpcs_own, "m:1").startswith("The mesh at m:1 cannot be reached: Conn")
    assert sentence_of(the_meshs, "m:1") == "The provider is down. (PROVIDER_DOWN)"
    assert sentence_of(late, "m:1").startswith("The mesh at m:1 did not answer in time")


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (None, "USD", "unknown"),
        (Decimal("0"), "USD", "$0"),
        (Decimal("1.25E-7"), "USD", "$0.000000125"),
        (Decimal("-0.5"), "USD", "-$0.5"),
        (Decimal("12.50"), "EUR", "12.50 EUR"),
        (Decimal("1E+3"), "", "$1000"),
        (
            Decimal("123456789012345678901234567890.000000000000001"),
            "USD",
            "$123456789012345678901234567890.000000000000001",
        ),
    ],
)
def test_money_is_shown_exactly(amount: Decimal | None, currency: str, text: str) -> None:
    assert output.money(amount, currency) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(0.04, "0.0 ms"), (9.96, "10.0 ms"), (10, "10 ms"), (1234.5, "1234 ms")],
)
def test_durations_are_shown_in_milliseconds(duration_ms: float, text: str) -> None:
    assert output.milliseconds(duration_ms) == text


def test_json_holds_money_as_exact_text_and_unknown_as_null(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_json(
        {
            "cost": Decimal("1E-7"),
            "saved": None,
            "tier": Tier.EXACT,
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "path": Path("/a"),
            "stats": (CacheStats(1, 2, 3, 4),),
            "flag": True,
        }
    )
    assert json.loads(capsys.readouterr().out) == {
        "cost": "0.0000001",
        "saved": None,
        "tier": "exact",
        "when": "2026-01-02T00:00:00+00:00",
        "path": "/a",
        "stats": [{"entries": 1, "stored_bytes": 2, "limit_bytes": 3, "epoch": 4}],
        "flag": True,
    }


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        output.plain(object())


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert output.printable("a\x1b[2Jb\r\x07\n\tc é") == "a�[2Jb��\n\tc é"

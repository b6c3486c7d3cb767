"""How long a provider asks to be left alone, as providers say it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_router.domain.resilience.cooldown import exhausted_s, refusal_s

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset": str(int(NOW_S) + 30)}, 30.0),
        ({"x-ratelimit-reset": str((int(NOW_S) + 30) * 1000)}, 30.0),
        ({"ratelimit-reset": "12"}, 12.0),
        ({"anthropic-ratelimit-requests-reset": "2026-03-01T12:00:20Z"}, 20.0),
        ({"anthropic-ratelimit-tokens-reset": "2026-03-01T13:00:20+01:00"}, 20.0),
        ({"retry-after": "5", "x-ratelimit-reset-tokens": "60s"}, 5.0),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"x-ratelimit-reset-requests": "5 apples"}, None),
    ],
)
def test_a_refusal_is_believed_as_to_how_long(headers, seconds):
    found = refusal_s(headers, NOW_S)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_of_several_limits_the_one_that_is_used_up_counts():
    headers = {
        "x-ratelimit-remaining-requests": "99",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "40s",
    }
    assert refusal_s(headers, NOW_S) == 40
    headers["x-ratelimit-remaining-tokens"] = "12"
    assert refusal_s(headers, NOW_S) == 1, "which one refused is not told"


def test_the_providers_own_clock_counts_for_its_times():
    skewed = NOW + timedelta(hours=2)
    headers = {
        "date": format_datetime(skewed, usegmt=True),
        "retry-after": format_datetime(skewed + timedelta(seconds=15), usegmt=True),
    }
    assert refusal_s(headers, NOW_S) == 15


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}, 2.0),
        (
            {
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-03-01T12:00:05Z",
            },
            5.0,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "8s",
            },
            8.0,
        ),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "2s"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-reset-requests": "2s"}, None),
        ({"content-length": "0", "retry-after": "9"}, None),
        ({}, None),
    ],
)
def test_an_answer_that_uses_a_limit_up_tells_until_when(headers, seconds):
    assert exhausted_s(headers, NOW_S) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text()))
def test_no_header_whatever_it_holds_is_an_error(headers):
    for value in list(headers.values()):
        headers["x-ratelimit-remaining"] = "0"
        headers["x-ratelimit-reset"] = value
    found = refusal_s(headers, NOW_S)
    assert found is None or 0 <= found < float("inf")

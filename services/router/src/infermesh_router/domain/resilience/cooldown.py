"""How long a provider asks to be left alone, out of the headers of its answers.

Sources: RFC 9110 section 10.2.3 (Retry-After) and section 6.6.1 (Date); OpenAI "Rate limits"
(x-ratelimit-*, resets as "6m0s" or "120ms", and retry-after-ms); Anthropic "Rate limits"
(anthropic-ratelimit-*, resets as RFC 3339 times).
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNITS_S = {
    "d": 86_400.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
# A number this large is no number of seconds to wait but a time since 1970: in seconds, or, from
# the second bound on, in milliseconds.
_LEAST_EPOCH_S = 1e9
_LEAST_EPOCH_MS = 1e12


def refusal_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds that a refusal asks to wait; None when its headers do not say.

    Retry-After counts before the rate-limit headers. Of these, a limit that is used up counts
    before the others, whose shortest is taken: which of them refused is not told.

    Args:
        headers: of the response; looked up in lower case.
        now_s: `time.time()`, for times of the clock; the response's own Date counts before it.
    """
    now_s = _now_s(headers, now_s)
    milliseconds = _seconds(headers.get("retry-after-ms", ""), now_s)
    if milliseconds is not None:
        return milliseconds / 1000
    if (stated := _seconds(headers.get("retry-after", ""), now_s)) is not None:
        return stated
    if (used_up := exhausted_s(headers, now_s)) is not None:
        return used_up
    return min(_resets_s(headers, now_s), default=None)


def exhausted_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds until a limit that this answer has used up allows calls again; None when none is.

    Args: as of `refusal_s`.
    """
    longest: float | None = None
    for name, value in headers.items():
        # Values first: of every answer, few headers are "0".
        if value != "0" or "ratelimit" not in (name := name.lower()) or "remaining" not in name:
            continue
        reset = headers.get(name.replace("remaining", "reset"), "")
        wait_s = _seconds(reset, _now_s(headers, now_s))
        if wait_s is not None and (longest is None or wait_s > longest):
            longest = wait_s
    return longest


def _resets_s(headers: Mapping[str, str], now_s: float) -> Iterator[float]:
    for name, value in headers.items():
        if "ratelimit" in (name := name.lower()) and "reset" in name:
            if (wait_s := _seconds(value, now_s)) is not None:
                yield wait_s


def _now_s(headers: Mapping[str, str], now_s: float) -> float:
    """The provider's clock where it tells the time: ours may differ."""
    stated = _date_s(headers.get("date", ""))
    return now_s if stated is None else stated


def _seconds(value: str, now_s: float) -> float | None:
    """Seconds from now on, out of a number, a duration or a time; None for anything else."""
    value = value.strip()
    try:
        number = float(value)
    except ValueError:
        wait_s = _duration_s(value)
        if wait_s is None and (at_s := _date_s(value)) is not None:
            wait_s = at_s - now_s
        return None if wait_s is None else max(0.0, wait_s)
    if not math.isfinite(number) or number < 0:
        return None
    if number >= _LEAST_EPOCH_MS:
        number /= 1000
    return max(0.0, number - now_s) if number >= _LEAST_EPOCH_S else number


def _duration_s(value: str) -> float | None:
    """Out of Go's notation, for example "1m30.5s"."""
    if not value or _DURATION.sub("", value):
        return None
    return sum(float(count) * _UNITS_S[unit] for count, unit in _DURATION.findall(value))


def _date_s(value: str) -> float | None:
    """`time.time()` of a date in the notation of HTTP or of RFC 3339."""
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except OverflowError:
        return None

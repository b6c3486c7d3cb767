"""Versions such as "0.1.0" or "v1.2.3-rc1"."""

import re


def is_older(one: str, other: str) -> bool:
    """Whether `one` is older; False when either is no version. What follows the numbers does not
    count."""
    first, second = _numbers(one), _numbers(other)
    return first is not None and second is not None and first < second


def _numbers(version: str) -> tuple[int, int, int] | None:
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if match is None:
        return None
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)

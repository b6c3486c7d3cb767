"""The `x-infermesh-cache` header: directives in the manner of HTTP's Cache-Control (RFC 9111)."""

from infermesh_common.errors import InvalidArgument
from infermesh_router.domain.request import CacheControl

HEADER = "x-infermesh-cache"
_FLAGS = {
    "bypass": "bypass",
    "refresh": "refresh",
    "only-if-cached": "only_if_cached",
    "no-store": "no_store",
}
_SECONDS = {"max-age": "max_age_s", "ttl": "ttl_s"}
_LONGEST_S = 10 * 365 * 24 * 3600


def parse_cache_control(header: str) -> CacheControl:
    """The directives in `header`, for example "refresh, max-age=60".

    Raises:
        InvalidArgument: INVALID_CACHE_CONTROL, unknown, malformed or contradictory directives.
    """
    flags: dict[str, bool] = {}
    seconds: dict[str, int] = {}
    for directive in filter(None, (part.strip().lower() for part in header.split(","))):
        name, separator, value = directive.partition("=")
        if name in _FLAGS and not separator:
            flags[_FLAGS[name]] = True
        elif name in _SECONDS and value.isascii() and value.isdigit() and len(value) < 12:
            seconds[_SECONDS[name]] = min(int(value), _LONGEST_S)
        else:
            known = ", ".join([*_FLAGS, *(f"{name}=<seconds>" for name in _SECONDS)])
            raise _invalid(f"Unknown directive in {HEADER}; known are: {known}.")
    return check(
        CacheControl(**flags, max_age_s=seconds.get("max_age_s"), ttl_s=seconds.get("ttl_s"))
    )


def check(control: CacheControl) -> CacheControl:
    """`control` itself, when it does not contradict itself.

    Raises:
        InvalidArgument: INVALID_CACHE_CONTROL.
    """
    if control.only_if_cached and (control.bypass or control.refresh):
        raise _invalid("only-if-cached contradicts bypass and refresh.")
    if control.ttl_s == 0:
        raise _invalid("ttl must be positive; use no-store to keep nothing.")
    return control


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument("INVALID_CACHE_CONTROL", message, field=HEADER)

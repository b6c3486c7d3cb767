"""Parameters of the edge: complete, of the right kind, in range, or refused with a reason."""

import dataclasses
import ipaddress
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import yaml

from infermesh_envoy.errors import ParameterError

# A grpc-timeout header has at most eight digits; milliseconds of a day have as many.
LONGEST_S = 86400.0
_TOGETHER = (
    ("tls_cert_path", "tls_key_path"),
    ("mesh_cert_path", "mesh_key_path", "mesh_ca_path"),
    ("otlp_host", "otlp_port"),
    ("stats_address", "stats_port"),
)
_MAY_BE_ZERO = frozenset({"listen_port", "admin_port", "xff_trusted_hops", "retries"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyParameters:
    """Everything the bootstrap depends on; what each value means is said in `defaults.yaml`.

    Durations end in `_s` (seconds, more than 0 and at most a day), sizes in `_bytes` or `_kib`.
    A listen or admin port of 0 lets the kernel choose.

    Raises:
        ParameterError: values of a wrong type, out of range, or that contradict each other.
    """

    listen_address: str
    listen_port: int
    admin_address: str
    admin_port: int
    router_host: str
    router_port: int
    cache_host: str
    cache_port: int
    governance_host: str
    governance_port: int
    analytics_host: str
    analytics_port: int
    # STATIC takes hosts as IP addresses, STRICT_DNS as names.
    cluster_type: Literal["STATIC", "STRICT_DNS"]
    # File of the protobuf descriptor set, see `descriptor_path()`.
    descriptor_path: str
    access_log_path: str
    tls_cert_path: str | None
    tls_key_path: str | None
    otlp_host: str | None
    otlp_port: int | None
    stats_address: str | None
    stats_port: int | None
    mesh_cert_path: str | None
    mesh_key_path: str | None
    mesh_ca_path: str | None
    # Folder of the files that `secret_files` makes.
    sds_path: str | None
    requests_per_second: int | None
    client_requests_per_second: int | None
    trace_sampling_percent: float
    xff_trusted_hops: int
    max_request_bytes: int
    max_response_bytes: int
    max_request_headers_kib: int
    max_connections: int
    max_concurrent_streams: int
    max_upstream_requests: int
    max_heap_bytes: int | None
    retries: int
    retry_budget_percent: float
    min_retry_concurrency: int
    client_connection_max_age_s: float
    request_receive_timeout_s: float
    unary_timeout_s: float
    infer_timeout_s: float
    stream_max_duration_s: float
    stream_idle_timeout_s: float
    upstream_connect_timeout_s: float
    upstream_keepalive_interval_s: float
    upstream_keepalive_timeout_s: float
    upstream_health_checks: bool
    upstream_health_interval_s: float
    dns_refresh_s: float

    @property
    def has_certificates(self) -> bool:
        """Whether any are used."""
        return self.tls_cert_path is not None or self.mesh_cert_path is not None

    def __post_init__(self) -> None:
        problems = list(_wrong_types(self)) or [*_out_of_range(self), *_contradictions(self)]
        if problems:
            raise ParameterError(problems)


def _wrong_types(parameters: EnvoyParameters) -> Iterator[str]:
    for name, hint in _hints().items():
        value = getattr(parameters, name)
        if typing.get_origin(hint) is Literal:
            choices = typing.get_args(hint)
            if value not in choices:
                yield f"{name}: must be one of {', '.join(choices)}, not {value!r}"
            continue
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        accepted = (*kinds, int) if float in kinds else kinds
        # True is an int to Python, and a mistake here.
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join("null" if k is types.NoneType else k.__name__ for k in kinds)
            yield f"{name}: must be {wanted}, not {value!r}"


def _out_of_range(parameters: EnvoyParameters) -> Iterator[str]:
    for name in _hints():
        value = getattr(parameters, name)
        if value == "":
            yield f"{name}: must not be empty"
        elif isinstance(value, bool) or not isinstance(value, int | float):
            continue
        elif name.endswith("_percent"):
            if not 0 <= value <= 100:
                yield f"{name}: must be from 0 to 100, not {value}"
        elif name.endswith("_s"):
            if not (math.isfinite(value) and 0.001 <= value <= LONGEST_S):
                yield f"{name}: must be from 0.001 to {LONGEST_S:.0f} seconds, not {value}"
        else:
            least = 0 if name in _MAY_BE_ZERO else 1
            most = 65535 if name.endswith("_port") else 2**31 - 1
            most = 2**53 if name == "max_heap_bytes" else most
            if not least <= value <= most:
                yield f"{name}: must be from {least} to {most}, not {value}"


def _contradictions(parameters: EnvoyParameters) -> Iterator[str]:
    for names in _TOGETHER:
        if len({getattr(parameters, name) is None for name in names}) == 2:
            how_many = "both" if len(names) == 2 else "all"
            yield f"{' and '.join(names)}: state {how_many} or none"
    if parameters.sds_path is None and parameters.has_certificates:
        yield "sds_path: must say where the files that name the certificates are"
    for name in ("listen_address", "admin_address", "stats_address"):
        address = getattr(parameters, name)
        if address is not None and ip_address(address) is None:
            yield f"{name}: must be an IP address, not {address!r}"
    admin = ip_address(parameters.admin_address)
    if admin is not None and not admin.is_loopback:
        yield f"admin_address: must be a loopback address, not {parameters.admin_address!r}"
    if parameters.stats_port is not None and parameters.admin_port == 0:
        yield "stats_port: needs an admin_port other than 0"
    if parameters.cluster_type == "STATIC":
        for name in (name for name in _hints() if name.endswith("_host")):
            host = getattr(parameters, name)
            if host is not None and ip_address(host) is None:
                yield f"{name}: must be an IP address with cluster_type STATIC, not {host!r}"


def ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `text` is, None when it is a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@cache
def _hints() -> dict[str, type]:
    return typing.get_type_hints(EnvoyParameters)


def default_values() -> dict[str, object]:
    """What a deployment may leave out, from `defaults.yaml`."""
    text = resources.files("infermesh_envoy").joinpath("defaults.yaml").read_text()
    values: dict[str, object] = yaml.safe_load(text)
    return values


def parameters_from(values: Mapping[str, object]) -> EnvoyParameters:
    """`values` over the defaults.

    Raises:
        ParameterError: unknown or missing names, or what `EnvoyParameters` refuses.
    """
    names = [field.name for field in dataclasses.fields(EnvoyParameters)]
    given = {**default_values(), **values}
    problems = [f"{name}: unknown" for name in given if name not in names]
    problems += [f"{name}: missing" for name in names if name not in given]
    if problems:
        raise ParameterError(problems)
    # Checked by EnvoyParameters itself, value by value.
    return EnvoyParameters(**typing.cast(dict[str, typing.Any], given))

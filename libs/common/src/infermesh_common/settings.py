"""Frozen, typed settings, read once at boot.

A field has no default in code: what a deployment decides stands in `defaults.yaml` beside the
settings of each service, and those files are what local mode and the chart start from.

Order, later wins: infermesh_common/defaults.yaml, <service>/defaults.yaml, the `common` and the
`<service>` section of the file that INFERMESH_CONFIG names (when it is a directory: of every *.yaml
in it, in order of their names), environment variables INFERMESH_<SERVICE>__<FIELD>[__<SUBFIELD>].
"""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)


class Settings(BaseModel):
    """Base of all settings: immutable, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SettingsError(Exception):
    """The settings cannot be used. The message says which and why, without their values."""


class ServerSettings(Settings):
    """How a service listens."""

    listen_address: str
    health_address: str | None
    metrics_address: str
    max_message_bytes: PositiveInt
    max_concurrent_rpcs: PositiveInt
    max_connection_age_ms: PositiveInt
    max_connection_age_grace_ms: PositiveInt
    default_deadline_ms: PositiveInt
    drain_ms: NonNegativeInt
    stop_grace_ms: NonNegativeInt
    reflection: bool


class MtlsSettings(Settings):
    """Files, as PEM, of the certificate by which services prove themselves to each other."""

    certificate_file: Path
    key_file: Path
    ca_file: Path


class IdentitySettings(Settings):
    """How callers are identified."""

    internal_token_file: Path
    max_snapshot_age_ms: PositiveInt


class RedisSettings(Settings):
    """How Redis is reached."""

    url: str
    password_file: Path | None
    connect_timeout_ms: PositiveInt
    operation_timeout_ms: PositiveInt
    max_connections: PositiveInt


class BreakerSettings(Settings):
    """When a failing dependency is left alone."""

    failure_threshold: PositiveInt
    open_ms: PositiveInt
    max_concurrent: PositiveInt


class TelemetrySettings(Settings):
    """Logs and traces."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    log_flush_interval_ms: Annotated[int, Field(ge=0)]
    otlp_endpoint: str | None
    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)]


class TargetSettings(Settings):
    """Where the other services are, as gRPC targets."""

    router: str
    cache: str
    governance: str
    analytics: str


class VaultAuthSettings(Settings):
    """How a service signs in to Vault: with the token of its ServiceAccount.

    Attributes:
        mount: where Vault's kubernetes authentication is mounted, for example "kubernetes".
        role: of this service there.
        token_file: the token; read again at each login.
    """

    mount: str
    role: str
    token_file: Path


class VaultSettings(Settings):
    """How Vault or OpenBao is reached.

    Attributes:
        address: URL, without a slash at its end.
        auth: see `VaultAuthSettings`.
        kv_mount: where the KV engine, version 2, is mounted.
        ca_file: CA of its certificate, as PEM; None for those of the operating system.
        timeout_ms: longest wait for one answer.
    """

    address: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+[^\s@?#/]$")]
    auth: VaultAuthSettings
    kv_mount: str
    ca_file: Path | None
    timeout_ms: PositiveInt


class SecretsSettings(Settings):
    """Where the secrets stand that resources refer to.

    Attributes:
        poll_ms: time between two looks at Vault.
        stale_after_ms: for so long the value read last is used while its source cannot be read.
        kubernetes_namespace: namespace of Kubernetes Secrets; None where there are none.
        vault: None where there is none.
    """

    poll_ms: PositiveInt
    stale_after_ms: PositiveInt
    kubernetes_namespace: str | None
    vault: VaultSettings | None


class CommonSettings(Settings):
    """What every service needs to know.

    Attributes:
        resources_dir: directory of the YAML files that declare resources, or
        resources_namespace: namespace whose custom resources are followed; exactly one of both.
    """

    server: ServerSettings
    mtls: MtlsSettings | None
    identity: IdentitySettings
    redis: RedisSettings
    breaker: BreakerSettings
    telemetry: TelemetrySettings
    targets: TargetSettings
    secrets: SecretsSettings
    resources_dir: Path | None
    resources_namespace: str | None

    @model_validator(mode="after")
    def _resources_have_one_place(self) -> "CommonSettings":
        if (self.resources_dir is None) == (self.resources_namespace is None):
            raise ValueError("give either resources_dir or resources_namespace")
        return self


T = TypeVar("T", bound=CommonSettings)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, Mapping):
            merged[name] = _merge(old, value)
        else:
            merged[name] = value
    return merged


def _from_environment(service: str, environment: Mapping[str, str]) -> dict[str, Any]:
    prefix = f"INFERMESH_{service.upper()}__"
    values: dict[str, Any] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(prefix):
            continue
        value = _parse(text, name)
        for part in reversed(name.removeprefix(prefix).lower().split("__")):
            value = {part: value}
        values = _merge(values, value)
    return values


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # The parser's own words quote the text, which may hold a secret.
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{where} is not valid YAML{line}") from None


def _read(text: str, where: str) -> dict[str, Any]:
    return _section({where: _parse(text, where)}, where)


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of the settings; empty where nothing is said."""
    part = content.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise SettingsError(f"{name} must hold a mapping")
    return part


def _read_path(path: Path, service: str) -> dict[str, Any]:
    """What the file, or the files in the directory, of the deployment say for `service`."""
    if not path.is_dir():
        return _read_file(path, service)
    if not (files := sorted(path.glob("*.yaml"))):
        raise SettingsError(f"INFERMESH_CONFIG names {path}: there is no *.yaml in it")
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, _read_file(file, service))
    return merged


def _read_file(path: Path, service: str) -> dict[str, Any]:
    try:
        file = _read(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise SettingsError(f"INFERMESH_CONFIG names {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8") from None
    return _merge(_section(file, "common"), _section(file, service))


def load_settings(
    kind: type[T],
    service: str,
    *,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Reads the settings of `service`.

    Raises:
        SettingsError: a field is missing, unknown or of the wrong type; names each of them.
    """
    environment = os.environ if environment is None else environment
    merged: dict[str, Any] = {}
    for package in ("infermesh_common", f"infermesh_{service}"):
        text = resources.files(package).joinpath("defaults.yaml").read_text("utf-8")
        merged = _merge(merged, _read(text, f"defaults of {package}"))
    if path := environment.get("INFERMESH_CONFIG"):
        merged = _merge(merged, _read_path(Path(path), service))
    merged = _merge(merged, _from_environment(service, environment))
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        # Not chained: pydantic's own message shows the values.
        raise SettingsError(f"settings of {service}: " + "; ".join(faults)) from None


def read_secret(path: Path) -> str:
    """The secret in a file, without surrounding white space.

    Raises:
        SettingsError: the file cannot be read or is empty.
    """
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise SettingsError(f"secret file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"secret file {path} is not UTF-8") from None
    if not secret:
        raise SettingsError(f"secret file {path} is empty")
    return secret

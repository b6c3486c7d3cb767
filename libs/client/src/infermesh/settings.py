"""How to reach a mesh."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from infermesh.errors import InvalidRequestError

# gRPC makes at most five attempts, whatever a service config says.
# https://github.com/grpc/proposal/blob/master/A6-client-retries.md
MOST_RETRIES = 4
_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("localhost", "127.", "[::1]")


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How to verify the mesh.

    Args:
        root_certificates_file: PEM file of the authorities to trust; None: those of gRPC.
        server_name: name the certificate must be for; empty: that of the address.
    """

    root_certificates_file: Path | str | None = None
    server_name: str = ""

    def root_certificates(self) -> bytes | None:
        """Contents of the file.

        Raises:
            InvalidRequestError: ROOT_CERTIFICATES_UNREADABLE.
        """
        if self.root_certificates_file is None:
            return None
        try:
            return Path(self.root_certificates_file).read_bytes()
        except OSError as error:
            raise InvalidRequestError(
                f"The root certificates cannot be read from {self.root_certificates_file}: "
                f"{error.strerror}.",
                reason="ROOT_CERTIFICATES_UNREADABLE",
            ) from error


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """One connection to a mesh.

    Args:
        target: host:port.
        tls: None for plain text.
        api_key: empty to send none.
        timeout_s: deadline of a call that names none, in seconds.
        max_retries: retries of a call that fails with UNAVAILABLE.
    """

    target: str
    tls: TlsOptions | None
    api_key: str = field(repr=False)
    timeout_s: float
    max_retries: int

    @property
    def is_loopback(self) -> bool:
        """Whether the mesh is on this machine."""
        return self.target.startswith(_LOOPBACK)


def connection_settings(
    address: str,
    api_key: str | None,
    *,
    timeout_s: float,
    max_retries: int,
    tls: TlsOptions | None,
) -> ConnectionSettings:
    """Checks what a client was given.

    Args:
        address: "https://host[:port]", "http://host[:port]" (plain text) or "host:port" (plain
            text without `tls`).
        api_key: None or empty to send none.
        timeout_s: in seconds.
        max_retries: 0 to `MOST_RETRIES`.
        tls: how to verify the mesh.

    Raises:
        InvalidRequestError: INVALID_ADDRESS, INVALID_API_KEY, INVALID_TIMEOUT, INVALID_MAX_RETRIES.
    """
    target, encrypted = _target(address)
    if encrypted is False and tls is not None:
        raise InvalidRequestError(
            f"{address} is plain text, to which TLS options do not apply; use https://.",
            reason="INVALID_ADDRESS",
        )
    key = (api_key or "").strip()
    if not key.isascii() or not key.isprintable():
        # Not quoted: it is a secret, even a mistyped one.
        raise InvalidRequestError(
            "The API key holds characters that no API key has.", reason="INVALID_API_KEY"
        )
    if not 0 <= max_retries <= MOST_RETRIES:
        raise InvalidRequestError(
            f"max_retries must be between 0 and {MOST_RETRIES}, not {max_retries}.",
            reason="INVALID_MAX_RETRIES",
        )
    return ConnectionSettings(
        target=target,
        tls=(tls or TlsOptions()) if encrypted or tls is not None else None,
        api_key=key,
        timeout_s=checked_timeout(timeout_s),
        max_retries=max_retries,
    )


def checked_timeout(timeout_s: float) -> float:
    """`timeout_s` itself.

    Raises:
        InvalidRequestError: INVALID_TIMEOUT, it is not positive or not finite.
    """
    if not 0 < timeout_s < float("inf"):
        raise InvalidRequestError(
            f"timeout_s must be a positive number of seconds, not {timeout_s}.",
            reason="INVALID_TIMEOUT",
        )
    return timeout_s


def _target(address: str) -> tuple[str, bool | None]:
    """host:port, and whether the scheme asks for TLS (None: there is no scheme)."""
    text = address.strip()
    scheme, separator, _ = text.partition("://")
    parts = urlsplit(text if separator else f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    default = _PORTS.get(scheme) if separator else None
    if separator and default is None or not parts.hostname or port == 0 or parts.username:
        raise _invalid_address(address)
    if parts.path.strip("/") or parts.query or parts.fragment or (port or default) is None:
        raise _invalid_address(address)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port or default}", scheme == "https" if separator else None


def _invalid_address(address: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{address!r} is not the address of a mesh; it looks like https://host:port or host:port.",
        reason="INVALID_ADDRESS",
    )

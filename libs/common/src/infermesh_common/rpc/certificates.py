"""Mutual TLS between services: one certificate a process, read again when its files change."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import structlog

from infermesh_common.settings import MtlsSettings, SettingsError
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)
Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Bundle:
    """Contents of the three files, as PEM.

    Attributes:
        certificate: ours, with what is between it and the CA.
        key: of the certificate.
        authorities: who may have signed the certificates of others.
    """

    certificate: bytes
    key: bytes
    authorities: bytes


class Certificates:
    """The certificate by which a process proves itself, as server and as client.

    Connections that exist keep the certificate that they were made with; a server ends them after
    `server.max_connection_age_ms`, a channel is made anew (`Channels.renew`).

    Args:
        files: where they stand.
        metrics: counts what was read.
        poll_s: how often the files are looked at. Polling, because what mounts secrets swaps a
            symbolic link above them.

    Raises:
        SettingsError: they cannot be read, or do not belong together.
    """

    def __init__(self, files: MtlsSettings, metrics: Metrics, *, poll_s: float = 1.0) -> None:
        self._files = files
        self._reads = metrics.counter("infermesh_certificate_reads_total")
        self._poll_s = poll_s
        self._seen = _stamp(files)
        self.bundle = _read(files)

    def server_credentials(self) -> grpc.ServerCredentials:
        """For one port: clients without a certificate of the CA are refused, and each new
        connection gets the certificate in force."""
        shown = self.bundle

        def newer() -> grpc.ServerCertificateConfiguration | None:
            # Called by gRPC's own threads, at every handshake.
            nonlocal shown
            if shown is self.bundle:
                return None
            shown = self.bundle
            return _configuration(shown)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(shown),
            # None stands for "as before", of which the types do not know.
            cast("Callable[[], grpc.ServerCertificateConfiguration]", newer),
            require_client_authentication=True,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Of the certificate in force. A channel refuses a server whose certificate does not have
        the host of the channel's target as a subject alternative name."""
        bundle = self.bundle
        return grpc.ssl_channel_credentials(bundle.authorities, bundle.key, bundle.certificate)

    async def follow(self, renewed: Callable[[grpc.ChannelCredentials], None]) -> None:
        """Until cancelled: reads the files when they change and hands on what channels need.

        Files that cannot be used, as when only one of them is written yet, change nothing.
        """
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                stamp = _stamp(self._files)
                if stamp == self._seen:
                    continue
                self._seen = stamp
                bundle = await asyncio.to_thread(_read, self._files)
            except SettingsError as error:
                self._reads.labels("failed").inc()
                _log.error("certificate_unusable", reason=str(error))
                # Once for one state of the files; one that changed while it was read is read again.
                continue
            if bundle != self.bundle:
                self.bundle = bundle
                self._reads.labels("renewed").inc()
                _log.info("certificate_renewed", file=str(self._files.certificate_file))
                renewed(self.channel_credentials())


def _configuration(bundle: Bundle) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(bundle.key, bundle.certificate)], bundle.authorities
    )


def _paths(files: MtlsSettings) -> tuple[Path, Path, Path]:
    return files.certificate_file, files.key_file, files.ca_file


def _stamp(files: MtlsSettings) -> Stamp:
    try:
        states = [path.stat() for path in _paths(files)]
    except OSError as error:
        raise SettingsError(f"mtls: {error.filename}: {error.strerror}") from error
    return tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states)


def _read(files: MtlsSettings) -> Bundle:
    """The contents, known to belong together: of one moment, the key that of the certificate."""
    before = _stamp(files)
    try:
        bundle = Bundle(*[path.read_bytes() for path in _paths(files)])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # A password, so that an encrypted key is an error and not a question at the terminal.
        context.load_cert_chain(files.certificate_file, files.key_file, password="")
        context.load_verify_locations(cadata=bundle.authorities.decode("ascii"))
    except ssl.SSLError as error:
        raise SettingsError(f"mtls: the files do not belong together: {error.reason}") from error
    except OSError as error:
        raise SettingsError(f"mtls: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"mtls: {files.ca_file} is not PEM") from error
    if _stamp(files) != before:
        raise SettingsError("mtls: the files changed while they were read")
    return bundle

"""Certificates for tests, made by openssl, in folders like those that secrets are mounted in."""

import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path

from infermesh_common.settings import MtlsSettings

_NUMBERS = itertools.count(1)
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
LOOPBACK = ("IP:127.0.0.1", "DNS:localhost")


class MountedSecret:
    """A folder whose files change all at once, as a mounted Secret does: they are links into a
    folder that a link names, and that link is replaced.

    Args:
        folder: where; is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, files: dict[str, bytes]) -> None:
        """Replaces all files."""
        version = self.folder / f"..version-{next(_NUMBERS)}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.rename(self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")

    @property
    def mtls(self) -> MtlsSettings:
        """Settings that name its files."""
        return MtlsSettings(
            certificate_file=self.folder / "tls.crt",
            key_file=self.folder / "tls.key",
            ca_file=self.folder / "ca.crt",
        )


class CertificateAuthority:
    """A CA of its own.

    Args:
        folder: a folder of the test's own, for its files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = next(_NUMBERS)
        self._certificate, self._key = self._file("ca.crt"), self._file("ca.key")
        _openssl("-subj", f"/CN=authority {self._number}", *_NEW_KEY, *self._out("ca"))

    @property
    def certificate(self) -> bytes:
        """Its own, as PEM."""
        return self._certificate.read_bytes()

    def issue(self, names: Sequence[str] = LOOPBACK) -> dict[str, bytes]:
        """A new certificate for these subject alternative names, as the files `tls.crt`, `tls.key`
        and `ca.crt`."""
        name = f"leaf-{next(_NUMBERS)}"
        _openssl(
            *("-CA", str(self._certificate), "-CAkey", str(self._key)),
            *("-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", f"subjectAltName={','.join(names)}"),
            *_NEW_KEY,
            *self._out(name),
        )
        return {
            "tls.crt": self._file(f"{name}.crt").read_bytes(),
            "tls.key": self._file(f"{name}.key").read_bytes(),
            "ca.crt": self.certificate,
        }

    def _file(self, name: str) -> Path:
        return self._folder / f"{self._number}-{name}"

    def _out(self, name: str) -> tuple[str, ...]:
        key, certificate = self._file(f"{name}.key"), self._file(f"{name}.crt")
        return "-keyout", str(key), "-out", str(certificate)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", "req", "-x509", *arguments], check=True, capture_output=True)

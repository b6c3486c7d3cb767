"""How pip is set up on this machine, for builds: handed over as secrets, so that nothing of it
stays in an image."""

import configparser
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

_KEPT = ("index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "retries")
"""Settings that mean the same in a container; others may name files of this machine."""


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What a build needs to know.

    Attributes:
        text: of a pip.conf.
        certificates: file with the authorities to trust; None: those of the base image.
    """

    text: str
    certificates: Path | None


def pip_settings(environment: Mapping[str, str], home: Path, system: Path) -> PipSettings:
    """The settings in force, of files and of variables; the latter win.

    Args:
        environment: variables.
        home: of the user.
        system: the file for all users, /etc/pip.conf.
    """
    found: dict[str, str] = {}
    files = [system, home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    if "PIP_CONFIG_FILE" in environment:
        files.append(Path(environment["PIP_CONFIG_FILE"]))
    for file in files:
        parser = configparser.RawConfigParser()
        parser.read(file)
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= dict(parser.items(section))
    for name in (*_KEPT, "cert"):
        value = environment.get(f"PIP_{name.upper().replace('-', '_')}")
        if value:
            found[name] = value
    kept = configparser.RawConfigParser()
    kept["global"] = {name: found[name] for name in _KEPT if name in found}
    text = io.StringIO()
    kept.write(text)
    certificates = Path(found["cert"]) if "cert" in found else None
    return PipSettings(text.getvalue(), certificates)


@contextmanager
def as_secrets(settings: PipSettings) -> Iterator[list[str]]:
    """Options of a build that hand them over; their file is there while the block runs."""
    with TemporaryDirectory(prefix="infermesh-images-") as folder:
        file = Path(folder) / "pip.conf"
        file.touch(mode=0o600)
        file.write_text(settings.text, "utf-8")
        options = ["--secret", f"id=pip,src={file}"]
        if settings.certificates is not None and settings.certificates.is_file():
            options += ["--secret", f"id=ca,src={settings.certificates}"]
        yield options

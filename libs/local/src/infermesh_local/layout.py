"""Where things stand in the state folder."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from infermesh_local.errors import StateUnusable

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
# A unix socket's path holds at most 103 bytes on macOS and 107 on Linux; supervisord binds
# `<path>.<pid>` first.
_LONGEST_SOCKET_PATH_BYTES = 103 - len(".4194304")

# What the configuration formats of supervisord and Redis and database URLs cannot express.
_CANNOT_STAND = re.compile(r"[\x00-\x1f\x7f\"'\\?%]|\s[;#]")


@dataclass(frozen=True)
class StateLayout:
    """Paths of one mesh.

    Attributes:
        root: the state folder, absolute and without symbolic links.
    """

    root: Path

    @classmethod
    def at(cls, folder: Path) -> "StateLayout":
        """The layout of a state folder, which need not exist."""
        return cls(folder.expanduser().resolve())

    @property
    def config_file(self) -> Path:
        """The settings of all services."""
        return self.root / "infermesh.yaml"

    @property
    def secrets(self) -> Path:
        """Passwords and keys, one file each."""
        return self.root / "secrets"

    @property
    def resources(self) -> Path:
        """The YAML resources."""
        return self.root / "resources"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """What the embedded stores keep."""
        return self.root / "data"

    @property
    def run(self) -> Path:
        """What concerns one run: pid file, socket, ports, generated configurations."""
        return self.root / "run"

    @property
    def pid_file(self) -> Path:
        """Process id of the supervisor."""
        return self.run / "supervisord.pid"

    @property
    def ports_file(self) -> Path:
        """Ports of the run that is under way, or of the last one."""
        return self.run / "ports.json"

    @property
    def lock_file(self) -> Path:
        """Held by the command that starts or stops the mesh."""
        return self.run / "lock"

    @property
    def supervisor_config(self) -> Path:
        """Configuration of the supervisor."""
        return self.run / "supervisord.conf"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor itself logs."""
        return self.logs / "supervisord.log"

    @property
    def socket(self) -> Path:
        """The supervisor's socket: in the state folder, or, where that path is too long for a
        unix socket, in a folder of the user's own in /tmp."""
        path = self.run / "supervisord.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH_BYTES:
            return path
        # Always the same one, whatever TMPDIR says, so that every command finds it.
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path("/tmp") / f"infermesh-{os.getuid()}-{digest}" / "s"

    def log_of(self, process: str) -> Path:
        """Log file of a process."""
        return self.logs / f"{process}.log"

    def create(self) -> None:
        """Makes the folders, each for the user alone.

        The root keeps the permissions it has when it exists: it may be a folder of other use.

        Raises:
            StateUnusable: a folder cannot be made, or is not the user's own.
        """
        if _CANNOT_STAND.search(str(self.root)):
            raise StateUnusable(
                self.root,
                "its path holds a quote, a backslash, a question mark, a percent sign, a control"
                " character, or ; or # after a space",
            )
        try:
            self.root.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        except OSError as error:
            raise StateUnusable(self.root, _reason(error)) from error
        for folder in (self.secrets, self.logs, self.data, self.run, self.socket.parent):
            _make_private(folder)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        # Of the link itself: in /tmp others could have put one there.
        if folder.lstat().st_uid != os.getuid():
            raise StateUnusable(folder, "it belongs to another user")
        folder.chmod(PRIVATE_FOLDER)
    except OSError as error:
        raise StateUnusable(folder, _reason(error)) from error


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()

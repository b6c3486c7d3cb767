"""Whether the content or the database is to blame decides between aside and again."""

import sqlite3

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from infermesh_analytics.adapters.outbound.sql.failures import describe, refuses_content

errors = psycopg.errors


@pytest.mark.parametrize(
    "cause",
    [
        sqlite3.IntegrityError("CHECK constraint failed"),
        sqlite3.DataError("string or blob too big"),
        psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        errors.CheckViolation(),
        errors.NumericValueOutOfRange(),
        errors.ProgramLimitExceeded(),
        errors.RaiseException(),
    ],
)
def test_content_is_to_blame(cause: Exception) -> None:
    assert refuses_content(DBAPIError("INSERT", None, cause))


@pytest.mark.parametrize(
    "cause",
    [
        sqlite3.OperationalError("database is locked"),
        sqlite3.DatabaseError("database disk image is malformed"),
        psycopg.OperationalError("connection refused"),
        errors.DiskFull(),
        errors.AdminShutdown(),
        errors.ReadOnlySqlTransaction(),
        errors.UndefinedTable(),
        errors.InsufficientPrivilege(),
        errors.DeadlockDetected(),
        errors.InternalError_(),
    ],
)
def test_the_database_is_to_blame_and_nothing_is_put_aside(cause: Exception) -> None:
    assert not refuses_content(DBAPIError("INSERT", None, cause))


def test_a_description_tells_the_kind_and_nothing_of_the_content() -> None:
    error = DBAPIError("INSERT", None, errors.CheckViolation("tenant acme spent 5"))
    assert describe(error) == "CheckViolation 23514"
    assert describe(OSError("/data")) == "OSError"

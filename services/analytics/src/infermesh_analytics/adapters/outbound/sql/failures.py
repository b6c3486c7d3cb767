"""Whose fault a database error is: the content's, or the database's."""

import sqlite3

from sqlalchemy.exc import DBAPIError

# Classes of SQLSTATE that blame the content of a statement: data exception, integrity constraint
# violation, program limit exceeded (a key too long for an index), raised by a trigger.
# https://www.postgresql.org/docs/18/errcodes-appendix.html
_CONTENT_CLASSES = ("22", "23", "54", "P0")


def refuses_content(error: DBAPIError) -> bool:
    """Whether the same statement would fail again on a healthy database.

    Anything not known to be the content's fault is the database's: an event is rather tried
    again for ever than put aside because a table was locked, missing or read-only.
    """
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return isinstance(cause, (sqlite3.IntegrityError, sqlite3.DataError))
    # Not loaded where the database is SQLite: it takes several megabytes.
    import psycopg

    if not isinstance(cause, psycopg.Error):
        return False
    if cause.sqlstate is None:
        # The driver itself could not encode a value.
        return isinstance(cause, psycopg.DataError)
    return cause.sqlstate.startswith(_CONTENT_CLASSES)


def describe(error: Exception) -> str:
    """What may be logged of an error: its type, and the database's own code for it."""
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return f"{type(cause).__name__} {code}" if code else type(cause).__name__

"""SQLite's errors as ours."""

from __future__ import annotations

import sqlite3

from planner.errors import BusyError, InputError, PlannerError, SpaceError


def database_error(error: sqlite3.Error, what: str, path: str, message: str) -> PlannerError:
    """What went wrong with a database: a full disk, another run, or else `message`. `what` is a person's name for it.

    >>> print(database_error(sqlite3.OperationalError("no such table"), "the catalogue", "c.sqlite", "is no catalogue"))
    c.sqlite: is no catalogue: reason='no such table'
    """
    # The extended code's low byte is the kind.
    kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if kind in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return SpaceError(f"{what} {message}", path=path, reason=str(error))
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BusyError(f"{what} is locked by another run", path=path, reason=str(error))
    return InputError(message, path=path, reason=str(error))

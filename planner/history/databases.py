"""A database in a file of its own, in SQLite, and SQLite's errors as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Self

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


LOCK_TIMEOUT_S = 30.0


class Database:
    """A database that only this program writes; use as a context manager.

    Args:
        path: its file, which is made where there is none.
        name: a person's word for it, as in "is not a NAME".
        version: that of its schema; later versions only add tables.
        tables: what a file of the first version has at least.
        schema: makes the tables that are lacking.

    Raises:
        InputError: the file cannot be opened, is something else, or is of another version.
        SpaceError: the disk is full.
        BusyError: another process kept the file locked for long.
    """

    def __init__(self, path: Path, *, name: str, version: int, tables: Collection[str], schema: str) -> None:
        self._path = str(path)
        self._name = name
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=LOCK_TIMEOUT_S)
        except sqlite3.Error as error:
            raise database_error(error, f"the {name}", self._path, "cannot be opened") from error
        try:
            self._prepare(version, tables, schema)
        except sqlite3.Error as error:
            self.close()
            raise database_error(error, f"the {name}", self._path, f"is not a {name}") from error
        except InputError:
            self.close()
            raise

    def _prepare(self, version: int, known: Collection[str], schema: str) -> None:
        """Make the tables of a new file; refuse a file of something else before anything is written to it."""
        found = self._connection.execute("PRAGMA user_version").fetchone()[0]
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if (found != 0 or tables) and not tables >= set(known):
            reason = "it is a database of something else"
            raise InputError(f"is not a {self._name}", path=self._path, reason=reason)
        if found not in range(version + 1):
            raise InputError(f"is a {self._name} of another version", path=self._path, got=found, known=version)
        self._connection.execute("PRAGMA journal_mode = WAL")
        if found < version:
            # Immediate: of two processes that open a new file, the second waits and then finds the tables.
            script = f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;"
            self._connection.executescript(script)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def write(self, statement: str, values: Iterable[object] = ()) -> None:
        """Run a statement that writes.

        Raises:
            InputError: it cannot be written.
            SpaceError: the disk is full.
            BusyError: another process kept the file locked for long.
        """
        try:
            self._connection.execute(statement, tuple(values))
        except sqlite3.IntegrityError:
            # Values that no table takes are a defect, and no matter of the file.
            raise
        except sqlite3.Error as error:
            raise database_error(error, f"the {self._name}", self._path, "cannot be written") from error

"""What clients download without a delta, remembered by pair: objects and their files never change.

A cache in one SQLite file, safe to delete. It belongs to one folder of objects: one that was made anew is measured
anew, as its files may be packed in another way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from planner.history.databases import database_error

MOST_PAIRS = 1_000_000
"""Pairs that are kept at most, some 160 MB; where there are more, only tonight's stay."""

_VERSION = 1
_SCHEMA = """
DROP TABLE IF EXISTS pulls;
DROP TABLE IF EXISTS origin;
CREATE TABLE pulls (
    base BLOB NOT NULL, target BLOB NOT NULL, pull_bytes INTEGER NOT NULL, PRIMARY KEY (base, target)
) STRICT, WITHOUT ROWID;
CREATE TABLE origin (device INTEGER NOT NULL, inode INTEGER NOT NULL) STRICT;
"""

Pair = tuple[str, str]
"""Base and target."""

Measure = Callable[[str, str], int]
"""The bytes of a pair's full pull."""


def recall_pull_bytes(
    path: Path, objects: Path, pairs: Iterable[Pair], measure: Measure, *, most_pairs: int = MOST_PAIRS
) -> dict[Pair, int]:
    """The bytes of each pair's full pull, in the pairs' order: as remembered in the file at `path`, else measured.

    A file that is damaged or of another version or origin is begun anew.

    Raises:
        RepositoryError: as `measure`.
        SpaceError: the disk is full.
        BusyError: another process kept the file locked for long.
    """
    wanted = list(dict.fromkeys(pairs))
    try:
        return _recall(path, objects, wanted, measure, most_pairs)
    except sqlite3.OperationalError as error:
        raise database_error(error, "the sizes of full pulls", str(path), "cannot be used") from error
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
        return _recall(path, objects, wanted, measure, most_pairs)


def _recall(path: Path, objects: Path, wanted: list[Pair], measure: Measure, most_pairs: int) -> dict[Pair, int]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        _prepare(connection, objects)
        known = {
            (base.hex(), target.hex()): pull_bytes
            for base, target, pull_bytes in connection.execute("SELECT base, target, pull_bytes FROM pulls")
        }
        found = {pair: known[pair] if pair in known else measure(*pair) for pair in wanted}
        fresh = [pair for pair in wanted if pair not in known]
        if fresh:
            connection.execute("BEGIN IMMEDIATE")
            if len(known) + len(fresh) > most_pairs:
                connection.execute("DELETE FROM pulls")
                fresh = wanted[:most_pairs]
            rows = ((bytes.fromhex(base), bytes.fromhex(target), found[base, target]) for base, target in fresh)
            connection.executemany("INSERT OR REPLACE INTO pulls VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
    return found


def _prepare(connection: sqlite3.Connection, objects: Path) -> None:
    """Make the tables of a new file, and drop what another folder of objects told."""
    # What a crash loses is measured again.
    connection.execute("PRAGMA synchronous = NORMAL")
    status = objects.stat()
    origin = (status.st_dev, status.st_ino)
    is_ours = connection.execute("PRAGMA user_version").fetchone()[0] == _VERSION
    if not is_ours or connection.execute("SELECT device, inode FROM origin").fetchone() != origin:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        connection.execute("INSERT INTO origin VALUES (?, ?)", origin)

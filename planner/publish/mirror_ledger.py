"""What a mirror has of a repository: one SQLite file, of which little is in memory however many objects there are.

`kept` is what this program uploaded, written after each upload and so never ahead of the mirror; a file that is about
to be replaced loses its digest first. `here` and `there` are this run's listings of the repository and of the mirror.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from planner.history.databases import database_error
from planner.publish.mirror_order import Stage

_NAME = "the mirror's ledger"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    path TEXT PRIMARY KEY, stage INTEGER NOT NULL, bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, digest TEXT
) WITHOUT ROWID;
CREATE TEMP TABLE here (
    path TEXT PRIMARY KEY, stage INTEGER NOT NULL, bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, digest TEXT
) WITHOUT ROWID;
CREATE TEMP TABLE there (path TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE work (number INTEGER PRIMARY KEY, path TEXT NOT NULL, stage INTEGER NOT NULL);
"""
# What differs: the mirror has no file of this size, or another content than was uploaded last.
_UPLOADS = """
INSERT INTO work (path, stage)
SELECT here.path, here.stage FROM here LEFT JOIN there USING (path) LEFT JOIN kept USING (path)
WHERE there.bytes IS NOT here.bytes OR here.digest IS NULL OR kept.digest IS NOT here.digest
ORDER BY here.stage, here.path
"""
# Only what was uploaded from here: whatever else is at the URL is somebody else's.
_REMOVALS = """
INSERT INTO work (path, stage)
SELECT kept.path, kept.stage FROM kept JOIN there USING (path) LEFT JOIN here USING (path)
WHERE here.path IS NULL ORDER BY kept.stage DESC, kept.path
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of the repository; `digest` is None where it is not known yet."""

    path: str
    stage: Stage
    file_bytes: int
    mtime_ns: int
    digest: str | None


class Ledger:
    """The ledger in a file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open or create.

        Raises:
            InputError: it is no ledger.
            SpaceError: the disk is full.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._run("PRAGMA journal_mode = WAL")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._run(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def known_digest(self, path: str, file_bytes: int, mtime_ns: int) -> str | None:
        """The digest of a file that did not change since it was uploaded."""
        row = self._run(
            "SELECT digest FROM kept WHERE path = ? AND bytes = ? AND mtime_ns = ?", path, file_bytes, mtime_ns
        ).fetchone()
        return row[0] if row else None

    def note_here(self, entries: Iterable[Entry]) -> None:
        """Note files of the repository."""
        rows = ((one.path, int(one.stage), one.file_bytes, one.mtime_ns, one.digest) for one in entries)
        self._run_many("INSERT OR REPLACE INTO here VALUES (?, ?, ?, ?, ?)", rows)

    def note_there(self, files: Iterable[tuple[str, int]]) -> None:
        """Note files of the mirror, with their sizes in bytes."""
        self._run_many("INSERT OR REPLACE INTO there VALUES (?, ?)", files)

    def plan_uploads(self) -> int:
        """Choose what differs; how many files."""
        return self._plan(_UPLOADS)

    def plan_removals(self) -> int:
        """Choose what was uploaded and is gone from the repository; how many files."""
        return self._plan(_REMOVALS)

    def plan_nothing(self) -> int:
        """Choose nothing: 0 files."""
        self._run("DELETE FROM work")
        return 0

    def batches(self, most: int) -> Iterator[list[str]]:
        """The paths of what was chosen, in order, so many at once; all of a batch are of one stage."""
        last = 0
        while row := self._run("SELECT stage FROM work WHERE number > ? ORDER BY number LIMIT 1", last).fetchone():
            rows = self._run(
                "SELECT number, path FROM work WHERE number > ? AND stage = ? ORDER BY number LIMIT ?",
                *(last, row[0], most),
            ).fetchall()
            last = rows[-1][0]
            yield [path for _, path in rows]

    def read(self, path: str) -> Entry:
        """What was noted of a file of the repository."""
        row = self._run("SELECT path, stage, bytes, mtime_ns, digest FROM here WHERE path = ?", path).fetchone()
        return Entry(path=row[0], stage=Stage(row[1]), file_bytes=row[2], mtime_ns=row[3], digest=row[4])

    def expect(self, entries: Sequence[Entry]) -> None:
        """Files are about to be uploaded: until they are, nobody knows what the mirror has of them."""
        rows = ((one.path, int(one.stage), one.file_bytes, one.mtime_ns) for one in entries)
        self._run_many("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, NULL)", rows)

    def keep(self, entries: Sequence[Entry]) -> None:
        """Files were uploaded."""
        rows = ((one.path, int(one.stage), one.file_bytes, one.mtime_ns, one.digest) for one in entries)
        self._run_many("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?)", rows)

    def forget(self, paths: Sequence[str]) -> None:
        """Files were removed."""
        self._run_many("DELETE FROM kept WHERE path = ?", ((path,) for path in paths))

    def _plan(self, query: str) -> int:
        self._run("DELETE FROM work")
        return self._run(query).rowcount

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise database_error(error, _NAME, str(self._path), "cannot be used") from error

    def _run_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._run("BEGIN")
        try:
            self._connection.executemany(statement, rows)
        except BaseException as error:
            self._run("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise database_error(error, _NAME, str(self._path), "cannot be used") from error
            raise
        self._run("COMMIT")

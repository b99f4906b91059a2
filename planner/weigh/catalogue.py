"""The catalogue: every weight that was ever measured, and every artifact that was proven, in SQLite.

A weight is keyed by its candidate and its status. A candidate names its codec, and a codec whose output
changes gets a new name: so it is measured again, and nothing else is. Writing is one short transaction per
row: a killed run keeps what it measured.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from planner.errors import InputError
from planner.history.databases import database_error
from planner.weigh.candidates import Candidate, Need, Weight, WeightStatus

_SCHEMA_VERSION = 2
_TABLES = frozenset({"weights", "artifacts", "failures"})
_LOCK_TIMEOUT_S = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS weights (
    base TEXT NOT NULL, target TEXT NOT NULL, codec TEXT NOT NULL,
    wire_bytes INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,
    server_cpu_s REAL NOT NULL, client_cpu_s REAL NOT NULL, peak_memory_bytes INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('measured', 'projected')),
    PRIMARY KEY (base, target, codec, status)
) STRICT;
CREATE TABLE IF NOT EXISTS artifacts (
    base TEXT NOT NULL, target TEXT NOT NULL, codec TEXT NOT NULL,
    digest TEXT NOT NULL, wire_bytes INTEGER NOT NULL,
    PRIMARY KEY (base, target, codec)
) STRICT;
CREATE TABLE IF NOT EXISTS failures (
    base TEXT NOT NULL, target TEXT NOT NULL, codec TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (base, target, codec)
) STRICT;
CREATE TABLE IF NOT EXISTS needs (
    base TEXT NOT NULL, target TEXT NOT NULL, codec TEXT NOT NULL, key TEXT NOT NULL,
    stored_bytes INTEGER NOT NULL, server_cpu_s REAL NOT NULL,
    PRIMARY KEY (base, target, codec, key)
) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A built delta that was applied to its base and gave its target; `digest` is of all its files."""

    candidate: Candidate
    digest: str
    wire_bytes: int


class Catalogue:
    """The catalogue in one file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open or create.

        Raises:
            InputError: the file cannot be opened, is no catalogue, or is one of another version.
            SpaceError: the disk is full.
            BusyError: another process kept the file locked for long.
        """
        self._path = str(path)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=_LOCK_TIMEOUT_S)
        except sqlite3.Error as error:
            raise database_error(error, "the catalogue", self._path, "cannot be opened") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise database_error(error, "the catalogue", self._path, "is not a catalogue") from error
        except InputError:
            self.close()
            raise

    def _prepare(self) -> None:
        """Make the tables of a new file; refuse a file of something else before anything is written to it."""
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if (version != 0 or tables) and not tables >= _TABLES:
            raise InputError("is not a catalogue", path=self._path, reason="it is a database of something else")
        if version not in range(_SCHEMA_VERSION + 1):
            raise InputError("is a catalogue of another version", path=self._path, got=version, known=_SCHEMA_VERSION)
        self._connection.execute("PRAGMA journal_mode = WAL")
        if version < _SCHEMA_VERSION:
            # Later versions only add tables.
            # Immediate: of two processes that open a new file, the second waits and then finds the tables.
            script = f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            self._connection.executescript(script)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _write(self, statement: str, values: Iterable[object]) -> None:
        try:
            self._connection.execute(statement, tuple(values))
        except sqlite3.OperationalError as error:
            raise database_error(error, "the catalogue", self._path, "cannot be written") from error

    def record_weight(self, candidate: Candidate, weight: Weight) -> None:
        """Keep a weight; a measured one never replaces a projected one, they stand side by side."""
        self._write(
            "INSERT OR REPLACE INTO weights VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *_key(candidate),
                weight.wire_bytes,
                weight.stored_bytes,
                weight.server_cpu_s,
                weight.client_cpu_s,
                weight.peak_memory_bytes,
                str(weight.status),
            ),
        )

    def weights(self, status: WeightStatus = WeightStatus.MEASURED) -> dict[Candidate, Weight]:
        """Every weight of one status."""
        rows = self._connection.execute("SELECT * FROM weights WHERE status = ? ORDER BY 1, 2, 3", (str(status),))
        return {
            Candidate(base=base, target=target, codec=codec): Weight(
                wire_bytes=wire_bytes,
                stored_bytes=stored_bytes,
                server_cpu_s=server_cpu_s,
                client_cpu_s=client_cpu_s,
                peak_memory_bytes=peak_memory_bytes,
                status=WeightStatus(status_text),
            )
            for (
                base,
                target,
                codec,
                wire_bytes,
                stored_bytes,
                server_cpu_s,
                client_cpu_s,
                peak_memory_bytes,
                status_text,
            ) in rows
        }

    def record_artifact(self, artifact: Artifact) -> None:
        """Remember a proven artifact."""
        values = (*_key(artifact.candidate), artifact.digest, artifact.wire_bytes)
        self._write("INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?)", values)

    def artifacts(self) -> dict[Candidate, Artifact]:
        """Every artifact that was proven, whether its files are still there or not."""
        rows = self._connection.execute("SELECT * FROM artifacts ORDER BY 1, 2, 3")
        found = [
            Artifact(candidate=Candidate(base=base, target=target, codec=codec), digest=digest, wire_bytes=wire_bytes)
            for base, target, codec, digest, wire_bytes in rows
        ]
        return {artifact.candidate: artifact for artifact in found}

    def record_needs(self, candidate: Candidate, needs: Iterable[Need]) -> None:
        """Keep what of a candidate's weight others may share, in place of what was kept before."""
        rows = [(*_key(candidate), need.key, need.stored_bytes, need.server_cpu_s) for need in needs]
        self._write("BEGIN IMMEDIATE", ())
        try:
            self._write("DELETE FROM needs WHERE base = ? AND target = ? AND codec = ?", _key(candidate))
            for row in rows:
                self._write("INSERT INTO needs VALUES (?, ?, ?, ?, ?, ?)", row)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._write("COMMIT", ())

    def needs(self) -> dict[Candidate, tuple[Need, ...]]:
        """For each candidate that has any, what others may share, by key."""
        found: dict[Candidate, tuple[Need, ...]] = {}
        for base, target, codec, key, stored_bytes, server_cpu_s in self._connection.execute(
            "SELECT * FROM needs ORDER BY 1, 2, 3, 4"
        ):
            candidate = Candidate(base=base, target=target, codec=codec)
            need = Need(key=key, stored_bytes=stored_bytes, server_cpu_s=server_cpu_s)
            found[candidate] = (*found.get(candidate, ()), need)
        return found

    def record_failure(self, candidate: Candidate, reason: str) -> None:
        """Remember that a candidate cannot be built, so that no night tries it again."""
        self._write("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (*_key(candidate), reason))

    def failures(self) -> dict[Candidate, str]:
        """Candidates that could not be built, with the reason."""
        rows = self._connection.execute("SELECT * FROM failures ORDER BY 1, 2, 3")
        return {Candidate(base=base, target=target, codec=codec): reason for base, target, codec, reason in rows}


def _key(candidate: Candidate) -> tuple[str, str, str]:
    return candidate.base, candidate.target, candidate.codec

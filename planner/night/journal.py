"""The journal: what a night has begun, so that the next one knows what a killed one left, in SQLite.

Every entry is on the disk before what it announces is done. Nothing is read back from it to find out what is built
or published: files tell that. It knows what files cannot: which attempts were made, since when a delta is retired, and
how the nights before ended.

    runs       one row per run: when it began, and how it ended (no end: it was killed, or it still runs)
    steps      what each run began, in order
    attempts   deltas that were tried and not made, or were being made when a run was killed
    retired    deltas that no route names any more, since when, and how far their removal is
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from planner.history.databases import Database
from planner.night.clock import Moment
from planner.weigh.candidates import Candidate

_SCHEMA_VERSION = 1
_TABLES = frozenset({"runs", "steps", "attempts", "retired"})
_KEPT_RUNS = 400
_SCHEMA = """
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, verb TEXT NOT NULL, pid INTEGER NOT NULL,
    wall_s REAL NOT NULL, boot_s REAL NOT NULL, boot_id TEXT NOT NULL, ended TEXT
) STRICT;
CREATE TABLE steps (run INTEGER NOT NULL, at TEXT NOT NULL, step TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE attempts (
    base TEXT NOT NULL, target TEXT NOT NULL, codec TEXT NOT NULL,
    run INTEGER NOT NULL, failed_runs INTEGER NOT NULL, killed_runs INTEGER NOT NULL, is_running INTEGER NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY (base, target, codec)
) STRICT;
CREATE TABLE retired (
    base TEXT NOT NULL, target TEXT NOT NULL, codec TEXT NOT NULL, state TEXT NOT NULL, run INTEGER NOT NULL,
    wall_s REAL NOT NULL, boot_s REAL NOT NULL, boot_id TEXT NOT NULL, PRIMARY KEY (base, target, codec)
) STRICT;
"""

_MOST_WAIT_RUNS = 32
_KILLS_TO_DEFER = 3
"""Runs that were killed while one delta was being made, after which it is suspected."""


class RetirementState(StrEnum):
    """How far a delta's removal is."""

    RETIRED = "retired"
    """No route names it; it is whole, for clients that are under way."""
    UNLINKED = "unlinked"
    """The file that clients fetch first is gone; the others are there for those that have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """A delta on its way out, in its state since a moment and a run."""

    candidate: Candidate
    state: RetirementState
    run: int
    since: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRun:
    """A run that did not end: when it began, the last thing that it began, and the deltas that it was making."""

    run: int
    began: Moment
    last_step: str
    making: tuple[Candidate, ...]


class Journal(Database):
    """The journal in one file; use as a context manager. Only the holder of the work folder's lock writes."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises as `Database`."""
        super().__init__(path, name="journal", version=_SCHEMA_VERSION, tables=_TABLES, schema=_SCHEMA)

    def _prepare(self, version: int, known: Collection[str], schema: str) -> None:
        super()._prepare(version, known, schema)
        # Each entry is on the disk when it was made: that is what it is for.
        self._connection.execute("PRAGMA synchronous = FULL")

    # -- runs --------------------------------------------------------------------------------------------------

    def begin_run(self, verb: str, now: Moment) -> int:
        """Number a new run; what a dead one was making counts against those deltas."""
        run = int(self._connection.execute("SELECT coalesce(max(run), 0) + 1 FROM runs").fetchone()[0])
        self.write("UPDATE attempts SET killed_runs = killed_runs + 1, is_running = 0 WHERE is_running")
        self.write("UPDATE runs SET ended = 'killed' WHERE ended IS NULL")
        values = (run, verb, os.getpid(), now.wall_s, now.boot_s, now.boot_id)
        self.write("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, NULL)", values)
        for table in ("steps", "runs"):
            self.write(f"DELETE FROM {table} WHERE run <= ?", (run - _KEPT_RUNS,))  # noqa: S608 - our own names
        return run

    def end_run(self, run: int, how: str) -> None:
        """How a run ended."""
        self.write("UPDATE runs SET ended = ? WHERE run = ?", (how, run))

    def begin_step(self, run: int, now: Moment, step: str, detail: str = "") -> None:
        """What a run is about to do."""
        self.write("INSERT INTO steps VALUES (?, ?, ?, ?)", (run, now.iso, step, detail))

    def steps(self, run: int) -> list[tuple[str, str]]:
        """What a run began, with details, in order."""
        rows = self._connection.execute("SELECT step, detail FROM steps WHERE run = ? ORDER BY rowid", (run,))
        return [(step, detail) for step, detail in rows]

    def last_run(self) -> tuple[int, Moment] | None:
        """The newest run's number, and when it began."""
        row = self._connection.execute(
            "SELECT run, wall_s, boot_s, boot_id FROM runs ORDER BY run DESC LIMIT 1"
        ).fetchone()
        return None if row is None else (row[0], Moment(wall_s=row[1], boot_s=row[2], boot_id=row[3]))

    def dead_run(self) -> DeadRun | None:
        """The newest run, where it did not end; ask before the next one begins, and under the lock."""
        row = self._connection.execute(
            "SELECT run, wall_s, boot_s, boot_id, ended FROM runs ORDER BY run DESC LIMIT 1"
        ).fetchone()
        if row is None or row[4] is not None:
            return None
        steps = self.steps(row[0])
        making = self._connection.execute("SELECT base, target, codec FROM attempts WHERE is_running ORDER BY 1, 2, 3")
        return DeadRun(
            run=row[0],
            began=Moment(wall_s=row[1], boot_s=row[2], boot_id=row[3]),
            last_step=steps[-1][0] if steps else "",
            making=tuple(Candidate(base=base, target=target, codec=codec) for base, target, codec in making),
        )

    # -- attempts ------------------------------------------------------------------------------------------------

    def begin_attempt(self, candidate: Candidate, run: int) -> None:
        """A delta is about to be made."""
        self.write(
            "INSERT INTO attempts VALUES (?, ?, ?, ?, 0, 0, 1, '') "
            "ON CONFLICT DO UPDATE SET is_running = 1, run = excluded.run",
            (*_key(candidate), run),
        )

    def end_attempt(self, candidate: Candidate, reason: str = "", *, counts: bool = True) -> None:
        """It was made (no reason), or not; a reason `counts` once per night against the delta."""
        if not reason:
            self.write("DELETE FROM attempts WHERE base = ? AND target = ? AND codec = ?", _key(candidate))
            return
        self.write(
            "UPDATE attempts SET is_running = 0, reason = ?, failed_runs = failed_runs + ? "
            "WHERE base = ? AND target = ? AND codec = ?",
            (reason, int(counts), *_key(candidate)),
        )

    def drop_attempts(self) -> None:
        """Nothing runs any more: what was being made was ended on purpose, and nothing speaks against it."""
        self.write("UPDATE attempts SET is_running = 0 WHERE is_running")

    def deferred(self, run: int) -> dict[Candidate, str]:
        """Deltas that failed in nights before and are not tried again in this one, with the reason.

        After failing in one night a delta waits for one night, then two, four, and so on.
        """
        rows = self._connection.execute(
            "SELECT base, target, codec, run, failed_runs, killed_runs, reason FROM attempts ORDER BY 1, 2, 3"
        )
        found = {}
        for base, target, codec, last_run, failed_runs, killed_runs, reason in rows:
            suspected = failed_runs + max(0, killed_runs - _KILLS_TO_DEFER + 1)
            wait_runs = min(2 ** (suspected - 1), _MOST_WAIT_RUNS) if suspected else 0
            if wait_runs and run - last_run <= wait_runs:
                why = reason or f"{killed_runs} nights were killed while it was being made"
                found[Candidate(base=base, target=target, codec=codec)] = f"waits for {wait_runs} nights: {why}"
        return found

    def has_failed(self) -> bool:
        """Whether some delta failed before and is to be tried again, tonight or in another night."""
        return (
            self._connection.execute("SELECT 1 FROM attempts WHERE failed_runs + killed_runs > 0").fetchone()
            is not None
        )

    # -- retirement ----------------------------------------------------------------------------------------------

    def retire(self, candidate: Candidate, state: RetirementState, run: int, now: Moment) -> None:
        """A delta goes into a state now."""
        values = (*_key(candidate), str(state), run, now.wall_s, now.boot_s, now.boot_id)
        self.write("INSERT OR REPLACE INTO retired VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def forget_retired(self, candidate: Candidate) -> None:
        """It is in use again, or gone."""
        self.write("DELETE FROM retired WHERE base = ? AND target = ? AND codec = ?", _key(candidate))

    def retired(self) -> dict[Candidate, Retirement]:
        """All that is on its way out."""
        rows = self._connection.execute("SELECT * FROM retired ORDER BY 1, 2, 3")
        found = [
            Retirement(
                candidate=Candidate(base=base, target=target, codec=codec),
                state=RetirementState(state),
                run=run,
                since=Moment(wall_s=wall_s, boot_s=boot_s, boot_id=boot_id),
            )
            for base, target, codec, state, run, wall_s, boot_s, boot_id in rows
        ]
        return {one.candidate: one for one in found}


def _key(candidate: Candidate) -> tuple[str, str, str]:
    return candidate.base, candidate.target, candidate.codec

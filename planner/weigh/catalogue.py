"""The catalogue: every weight that was ever measured, and every artifact that was proven, in SQLite.

A weight is keyed by its candidate and its status. A candidate names its codec, and a codec whose output
changes gets a new name: so it is measured again, and nothing else is. Writing is one short transaction per
row: a killed run keeps what it measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planner.history.databases import Database
from planner.weigh.candidates import Candidate, Need, Weight, WeightStatus

_SCHEMA_VERSION = 2
_TABLES = frozenset({"weights", "artifacts", "failures"})
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


class Catalogue(Database):
    """The catalogue in one file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises as `Database`."""
        super().__init__(path, name="catalogue", version=_SCHEMA_VERSION, tables=_TABLES, schema=_SCHEMA)
        self._known: dict[WeightStatus, dict[Candidate, Weight]] = {}
        self._version = 0

    def record_weight(self, candidate: Candidate, weight: Weight) -> None:
        """Keep a weight; a measured one never replaces a projected one, they stand side by side."""
        self.record_weights({candidate: weight})

    def record_weights(self, weights: Mapping[Candidate, Weight]) -> None:
        """Keep several weights, all or none of them: a night projects tens of thousands."""
        rows = [
            (
                *_key(candidate),
                weight.wire_bytes,
                weight.stored_bytes,
                weight.server_cpu_s,
                weight.client_cpu_s,
                weight.peak_memory_bytes,
                str(weight.status),
            )
            for candidate, weight in weights.items()
        ]
        with self._transaction():
            for row in rows:
                self.write("INSERT OR REPLACE INTO weights VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        for status in {weight.status for weight in weights.values()}:
            self._known.pop(status, None)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Inside, everything is written or nothing."""
        self.write("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self.write("COMMIT")

    def state(self) -> tuple[int, ...]:
        """Numbers that change whenever something is recorded."""
        tables = ("weights", "artifacts", "failures", "needs")
        counts = [f"(SELECT count(*) FROM {one}), (SELECT max(rowid) FROM {one})" for one in tables]  # noqa: S608
        row = self._connection.execute(f"SELECT {', '.join(counts)}").fetchone()
        return tuple(number or 0 for number in row)

    def weights(self, status: WeightStatus = WeightStatus.MEASURED) -> dict[Candidate, Weight]:
        """Every weight of one status; read once, until this connection or another one writes."""
        # SQLite's number for what other connections have written.
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if version != self._version:
            self._version, self._known = version, {}
        if status not in self._known:
            self._known[status] = self._read_weights(status)
        return dict(self._known[status])

    def _read_weights(self, status: WeightStatus) -> dict[Candidate, Weight]:
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
        self.write("INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?)", values)

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
        with self._transaction():
            self.write("DELETE FROM needs WHERE base = ? AND target = ? AND codec = ?", _key(candidate))
            for row in rows:
                self.write("INSERT INTO needs VALUES (?, ?, ?, ?, ?, ?)", row)

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
        self.write("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (*_key(candidate), reason))

    def failures(self) -> dict[Candidate, str]:
        """Candidates that could not be built, with the reason."""
        rows = self._connection.execute("SELECT * FROM failures ORDER BY 1, 2, 3")
        return {Candidate(base=base, target=target, codec=codec): reason for base, target, codec, reason in rows}


def _key(candidate: Candidate) -> tuple[str, str, str]:
    return candidate.base, candidate.target, candidate.codec

"""What was worked out about file contents, kept by their checksums: differences, sketches, sizes when packed.

Each difference between two contents is made once, whichever delta asks for it, tonight or later. This is a cache: what
is lost or of another version is made again, and every delta is proved however its pieces were come by.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import zstandard

from planner.delta.bsdiff import Content
from planner.delta.pairing import Sketch
from planner.errors import RepositoryError
from planner.history.databases import database_error

ENGINE_VERSION = 3
"""To be raised whenever `bsdiff.diff`, `pairing.sketch` or the estimates give other results."""

_LOCK_TIMEOUT_S = 60.0
# Estimates need order, not precision: level 3 ranks streams as xz does and reads 300 MB a second.
_LEVEL = 3
_PACKED_AT_ONCE_BYTES = 1 << 24
_NAME = "the pool of differences"
_TABLES = ("differences", "wholes", "sketches", "looks")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS differences (
    source BLOB NOT NULL, target BLOB NOT NULL, packed BLOB, stream_bytes INTEGER NOT NULL,
    estimated_bytes INTEGER, is_copies INTEGER NOT NULL, payload_bytes INTEGER NOT NULL, core_s REAL NOT NULL,
    PRIMARY KEY (source, target)
) STRICT;
CREATE TABLE IF NOT EXISTS wholes (
    object BLOB PRIMARY KEY, packed_bytes INTEGER NOT NULL, is_text INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS looks (
    target BLOB NOT NULL, source BLOB NOT NULL, raw REAL NOT NULL, density REAL, is_text INTEGER NOT NULL,
    new_bytes INTEGER NOT NULL, PRIMARY KEY (target, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS differences_into ON differences (target);
CREATE TABLE IF NOT EXISTS sketches (object BLOB PRIMARY KEY, minima BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""


KnownContents = dict[bytes, tuple[int, int, int]]
"""By content: how many differences into it are known, the number of the newest one, and how many were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference's form (copies, or a bsdiff stream), what it takes of a part's payload, and of a packed part.

    `estimated_bytes` is None where the difference is not worth having.
    """

    is_copies: bool
    payload_bytes: int
    estimated_bytes: int | None
    core_s: float


@dataclass(frozen=True, slots=True)
class Stream:
    """A bsdiff stream or copies, packed by `pack`, and its size before."""

    packed: bytes
    stream_bytes: int

    @classmethod
    def of(cls, stream: bytes) -> Stream:
        """A stream, packed."""
        return cls(pack(stream), len(stream))


@dataclass(frozen=True, slots=True)
class Whole:
    """What is known of a content: its size when packed, and whether it looks like text."""

    packed_bytes: int
    is_text: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is seen of a difference without making it.

    `raw` is in proportion to its bytes, `density` their ratio where it was sampled; `is_text` and `new_bytes` are the
    new content's.
    """

    raw: float
    density: float | None
    is_text: bool
    new_bytes: int


class DifferencePool:
    """The pool in one SQLite file, or in memory; processes may share a file. Use as a context manager."""

    def __init__(self, path: Path | None = None) -> None:
        """Open or create.

        Raises:
            SpaceError: the disk is full.
            BusyError: another process kept the file locked for long.
        """
        self._path = path
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if path is None or isinstance(error, sqlite3.OperationalError):
                raise database_error(error, _NAME, str(path), "cannot be used") from error
            # Damaged: it is a cache.
            path.unlink()
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path or ":memory:", isolation_level=None, timeout=_LOCK_TIMEOUT_S)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] != ENGINE_VERSION:
                drops = "".join(f"DROP TABLE IF EXISTS {table};" for table in _TABLES)
                connection.executescript(
                    f"BEGIN IMMEDIATE; {drops} {_SCHEMA} PRAGMA user_version = {ENGINE_VERSION}; COMMIT;"
                )
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @property
    def path(self) -> Path | None:
        """The pool's file; None for one in memory."""
        return self._path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # -- differences ---------------------------------------------------------------------------------------------

    def find(self, source: str, target: str) -> Difference | None:
        """What is known of a difference; None where it was never tried."""
        row = self._row(
            "SELECT is_copies, payload_bytes, estimated_bytes, core_s FROM differences WHERE source = ? AND target = ?",
            *_key(source, target),
        )
        if row is None:
            return None
        return Difference(is_copies=bool(row[0]), payload_bytes=row[1], estimated_bytes=row[2], core_s=row[3])

    def read_stream(self, source: str, target: str) -> bytes:
        """The stream or the copies of a difference that `find` found.

        Raises:
            RepositoryError: it is gone or damaged; without it, it is made again.
        """
        row = self._row(
            "SELECT packed, stream_bytes FROM differences WHERE source = ? AND target = ?", *_key(source, target)
        )
        if row is None or row[0] is None:
            raise RepositoryError("is not in the pool of differences", source=source, target=target)
        try:
            return zstandard.ZstdDecompressor().decompress(row[0], max_output_size=row[1])
        except zstandard.ZstdError as error:
            self._write("DELETE FROM differences WHERE source = ? AND target = ?", *_key(source, target))
            raise RepositoryError("is damaged in the pool", source=source, target=target) from error

    def keep(self, source: str, target: str, stream: Stream | None, difference: Difference) -> None:
        """Keep a difference, with its stream unless it is not worth having."""
        self._write(
            "INSERT OR REPLACE INTO differences VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(*_key(source, target), stream.packed if stream else None, stream.stream_bytes if stream else 0),
            *(difference.estimated_bytes, int(difference.is_copies), difference.payload_bytes, difference.core_s),
        )

    def differences_into(self, target: str) -> dict[str, Difference]:
        """What is known of the differences that make one content, by source."""
        rows = self._rows(
            "SELECT source, is_copies, payload_bytes, estimated_bytes, core_s FROM differences WHERE target = ?",
            bytes.fromhex(target),
        )
        return {
            row[0].hex(): Difference(
                is_copies=bool(row[1]), payload_bytes=row[2], estimated_bytes=row[3], core_s=row[4]
            )
            for row in rows
        }

    # -- projections ---------------------------------------------------------------------------------------------

    def looks(self, target: str) -> dict[str, Look]:
        """What was seen of the differences that would make one content, by source."""
        rows = self._rows(
            "SELECT source, raw, density, is_text, new_bytes FROM looks WHERE target = ?", bytes.fromhex(target)
        )
        return {row[0].hex(): Look(raw=row[1], density=row[2], is_text=bool(row[3]), new_bytes=row[4]) for row in rows}

    def keep_looks(self, target: str, looks: Mapping[str, Look]) -> None:
        """Keep what was seen of the differences that would make one content."""
        for source, look in looks.items():
            self._write(
                "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?)",
                *(bytes.fromhex(target), bytes.fromhex(source)),
                *(look.raw, look.density, int(look.is_text), look.new_bytes),
            )

    def known_contents(self) -> KnownContents:
        """How much is known of the differences into each content: the same again means that nothing has changed."""
        made = self._rows("SELECT target, count(*), max(rowid) FROM differences GROUP BY target")
        seen = self._rows("SELECT target, count(*) FROM looks GROUP BY target")
        found = {target: (count, newest, 0) for target, count, newest in made}
        return found | {target: (*found.get(target, (0, 0, 0))[:2], count) for target, count in seen}

    # -- contents ------------------------------------------------------------------------------------------------

    def whole(self, checksum: str, measure: Callable[[], Whole]) -> Whole:
        """What is known of a content; measured where it is new."""
        row = self._row("SELECT packed_bytes, is_text FROM wholes WHERE object = ?", bytes.fromhex(checksum))
        if row is not None:
            return Whole(row[0], bool(row[1]))
        found = measure()
        self._write(
            "INSERT OR REPLACE INTO wholes VALUES (?, ?, ?)",
            *(bytes.fromhex(checksum), found.packed_bytes, int(found.is_text)),
        )
        return found

    def sketch(self, checksum: str, make: Callable[[], Sketch]) -> Sketch:
        """A content's sketch; made where it is new."""
        row = self._row("SELECT minima FROM sketches WHERE object = ?", bytes.fromhex(checksum))
        if row is not None:
            return np.frombuffer(row[0], np.int64)
        found = make()
        self._write("INSERT OR REPLACE INTO sketches VALUES (?, ?)", bytes.fromhex(checksum), found.tobytes())
        return found

    # -- keeping it small ----------------------------------------------------------------------------------------

    def trim(self, most_bytes: int) -> int:
        """Drop the differences that were made first until the others take no more than so many bytes; how many went."""
        self._write(
            """
            DELETE FROM differences WHERE rowid IN (
                SELECT rowid FROM (
                    SELECT rowid, sum(coalesce(length(packed), 0) + 100) OVER (ORDER BY rowid DESC) AS total
                    FROM differences
                ) WHERE total > ?
            )
            """,
            most_bytes,
        )
        return int(self._connection.execute("SELECT changes()").fetchone()[0])

    def _row(self, query: str, *values: object) -> tuple | None:  # type: ignore[type-arg]
        try:
            row: tuple | None = self._connection.execute(query, values).fetchone()  # type: ignore[type-arg]
        except sqlite3.Error as error:
            raise database_error(error, _NAME, str(self._path), "cannot be used") from error
        return row

    def _rows(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise database_error(error, _NAME, str(self._path), "cannot be used") from error

    def _write(self, statement: str, *values: object) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise database_error(error, _NAME, str(self._path), "cannot be used") from error


def _key(source: str, target: str) -> tuple[bytes, bytes]:
    return bytes.fromhex(source), bytes.fromhex(target)


def pack(content: Content) -> bytes:
    """A fast compression, whose size ranks streams as a part's does; never more than the content and 22 bytes."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False, write_checksum=True).compress(content)


def packed_bytes(content: Content) -> int:
    """How long `pack` makes it, to within some bytes for long ones: of those nothing is kept."""
    if len(content) <= _PACKED_AT_ONCE_BYTES:
        return len(pack(content))
    packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    places = range(0, len(content), _PACKED_AT_ONCE_BYTES)
    packed = (len(packer.compress(content[at : at + _PACKED_AT_ONCE_BYTES])) for at in places)
    return sum(packed) + len(packer.flush())

"""Terms of pairs, remembered from night to night: what a pair's weight is a sum of changes only with what was made.

A cache in one SQLite file beside the pool of differences, safe to delete. A pair's terms follow from the trees of its
commits, which never change, and from what the pool knows of the target's contents; with the terms it is kept how much
that was. Where it is more or less now, the terms of all pairs into the commits with that content are worked out again.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path

from planner.delta.difference_pool import ENGINE_VERSION, DifferencePool, KnownContents
from planner.history.databases import database_error
from planner.history.records import History

Pair = tuple[str, str]
"""Base and target."""

PairTerms = tuple[float, ...]
"""The terms of all quantities of one pair, one after the other."""

VERSION = 1
"""To be raised whenever other terms are worked out of the same pool."""

_USER_VERSION = 1000 * VERSION + ENGINE_VERSION

MOST_PAIRS = 500_000
"""Pairs that are kept at most, some 130 MB; where there are more, only the last ones asked for stay."""

_SCHEMA = """
DROP TABLE IF EXISTS terms;
DROP TABLE IF EXISTS contents;
CREATE TABLE terms (
    base BLOB NOT NULL, target BLOB NOT NULL, numbers BLOB NOT NULL, PRIMARY KEY (base, target)
) STRICT, WITHOUT ROWID;
CREATE TABLE contents (
    content BLOB PRIMARY KEY, differences INTEGER NOT NULL, newest INTEGER NOT NULL, looks INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


class TermsMemory:
    """What is remembered beside a pool; nothing beside one in memory."""

    def __init__(self, pool: DifferencePool, history: History) -> None:
        self._pool = pool
        self._history = history
        self._path = pool.path.with_name("terms.sqlite") if pool.path else None

    def recall(self) -> dict[Pair, PairTerms]:
        """The terms that still hold; of a damaged file none.

        Raises:
            SpaceError: the disk is full.
            BusyError: another process kept the file locked for long.
        """
        if self._path is None or not self._path.exists():
            return {}
        try:
            known, then = _read(self._path)
        except sqlite3.OperationalError as error:
            raise database_error(error, "the terms of projections", str(self._path), "cannot be used") from error
        except (sqlite3.DatabaseError, ValueError):
            self._path.unlink()
            return {}
        now = self._pool.known_contents()
        touched = {content for content in then.keys() | now.keys() if then.get(content) != now.get(content)}
        stale = find_commits_with(self._history, {content.hex() for content in touched})
        commits = self._history.commits.keys()
        return {pair: terms for pair, terms in known.items() if pair[1] in commits and pair[1] not in stale}

    def keep(self, terms: Mapping[Pair, PairTerms], asked: Collection[Pair]) -> None:
        """Keep the terms of these pairs, or of those in `asked` where they are too many, with what the pool knows now.

        Raises:
            SpaceError: the disk is full.
            BusyError: another process kept the file locked for long.
        """
        if self._path is None:
            return
        kept = terms if len(terms) <= MOST_PAIRS else {pair: terms[pair] for pair in asked}
        try:
            _write(self._path, kept, self._pool.known_contents())
        except sqlite3.Error as error:
            raise database_error(error, "the terms of projections", str(self._path), "cannot be used") from error


def find_commits_with(history: History, contents: Collection[str]) -> set[str]:
    """The commits of which some file has one of these contents (checksums). Linear in all trees."""
    if not contents:
        return set()
    known: dict[str, bool] = {}

    def has_any(tree: str) -> bool:
        found = known.get(tree)
        if found is None:
            node = history.trees[tree]
            below = [has_any(child) for child in node.dirs.values()]
            found = known[tree] = any(below) or any(file in contents for file in node.files.values())
        return found

    return {commit.checksum for commit in history.commits.values() if has_any(commit.tree)}


def _read(path: Path) -> tuple[dict[Pair, PairTerms], KnownContents]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] != _USER_VERSION:
            return {}, {}
        known = {
            (base.hex(), target.hex()): tuple(array("d", numbers))
            for base, target, numbers in connection.execute("SELECT base, target, numbers FROM terms")
        }
        then = {
            row[0]: row[1:] for row in connection.execute("SELECT content, differences, newest, looks FROM contents")
        }
    return known, then


def _write(path: Path, terms: Mapping[Pair, PairTerms], contents: KnownContents) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # What a crash loses is worked out again.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_USER_VERSION};")
        connection.executemany(
            "INSERT INTO terms VALUES (?, ?, ?)",
            (
                (bytes.fromhex(base), bytes.fromhex(target), array("d", numbers).tobytes())
                for (base, target), numbers in terms.items()
            ),
        )
        rows = ((content, *known) for content, known in contents.items())
        connection.executemany("INSERT INTO contents VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
